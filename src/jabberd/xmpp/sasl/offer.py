"""Which mechanisms one stream is offered, and the only maker of those it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import anonymous, external, ht, plain, scram
from jabberd.xmpp.sasl.mechanism import ServerMechanism

MECHANISMS: Final = (external.NAME, *scram.NAMES, plain.NAME, anonymous.NAME)
"""All mechanisms that a host can enable; each SCRAM stands for itself and its -PLUS."""

DEFAULT: Final = (external.NAME, *scram.NAMES, plain.NAME)
"""Those that are enabled where nothing else is said: all but ANONYMOUS (RFC 4505 §5)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a host allows.

    Attributes:
        domain: of the host, prepared.
        secret: of the server, random, kept, and of this use only: decoys are made with it.
        iterations: of PBKDF2, what this server gives to new accounts.
        enabled: names out of `MECHANISMS`, in any order.
    """

    domain: str
    secret: bytes = field(repr=False)
    iterations: int
    enabled: Sequence[str] = DEFAULT


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of one stream's connection.

    Attributes:
        secure: whether it is under TLS.
        bindings: type and data of the channel bindings it has, the preferred type first.
        identities: the XmppAddr names of the client's certificate, if that has been verified.
        version: of TLS, as "TLSv1.3"; empty where it is not known.
    """

    secure: bool
    bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    identities: Sequence[JID] = ()
    version: str = ""


class Offer:
    """What one stream is offered.

    The order is ours, by strength; clients choose. PLAIN and EXTERNAL need TLS, -PLUS needs a
    channel binding, EXTERNAL a certificate with an address of this host.

    Args:
        policy: of the host that the client wants.
        channel: of the stream, as it is now; make a new offer after STARTTLS.
        fast: names out of `ht.BINDINGS`: the mechanisms that may take a token.

    Attributes:
        names: the mechanisms to advertise, in order; may be empty.
        fast: the mechanisms to advertise that take a token (XEP-0484), in order.
        bindings: the types of channel binding to advertise (XEP-0440), in order; leave that
            feature away where there are none.
    """

    __slots__ = ("_channel", "_policy", "bindings", "fast", "names")

    def __init__(self, policy: Policy, channel: Channel, fast: Sequence[str] = ()) -> None:
        enabled = [name for name in scram.NAMES if name in policy.enabled]
        bound = channel.secure and bool(channel.bindings) and bool(enabled)
        names: list[str] = []
        if (
            channel.secure
            and external.NAME in policy.enabled
            and external.usable(policy.domain, channel.identities)
        ):
            names.append(external.NAME)
        if bound:
            names.extend(name + scram.PLUS for name in enabled)
        names.extend(enabled)
        if channel.secure and plain.NAME in policy.enabled:
            names.append(plain.NAME)
        if anonymous.NAME in policy.enabled:
            names.append(anonymous.NAME)
        self.names = tuple(names)
        self.bindings = tuple(channel.bindings) if bound else ()
        self.fast = tuple(
            name
            for name, binding in ht.BINDINGS.items()
            if name in fast and channel.secure and (not binding or binding in channel.bindings)
        )
        self._policy = policy
        self._channel = channel

    def server(self, name: str, token: Callable[[], str]) -> ServerMechanism:
        """Begin an attempt.

        Args:
            name: what the client asked for.
            token: makes unpredictable strings of printable ASCII without a comma, each of at
                least 128 bits and fit to be a localpart: nonces and anonymous users' names.

        Raises:
            SaslError: encryption-required for what would be offered under TLS, and
                invalid-mechanism for all else that was not offered on this stream.
        """
        if name not in self.names:
            if name == plain.NAME and name in self._policy.enabled:
                raise SaslError(SaslCondition.ENCRYPTION_REQUIRED)
            raise SaslError(SaslCondition.INVALID_MECHANISM)
        policy = self._policy
        if name == plain.NAME:
            return plain.server(policy.domain, secret=policy.secret, iterations=policy.iterations)
        if name == external.NAME:
            return external.server(policy.domain, self._channel.identities)
        if name == anonymous.NAME:
            return anonymous.server(policy.domain, token)
        version = self._channel.version if self._channel.secure else ""
        advertised = scram.Advertised(self.names, self.bindings or None, version)
        bindings = self._channel.bindings if self.bindings else {}
        return scram.server(
            name,
            scram.Host(
                policy.domain, policy.secret, policy.iterations, advertised, bindings, token
            ),
        )

    def token_server(self, name: str) -> ServerMechanism:
        """Begin an attempt with a token (XEP-0484 §3.4).

        Args:
            name: what the client asked for.

        Raises:
            SaslError: invalid-mechanism for what was not offered on this stream.
        """
        if name not in self.fast:
            raise SaslError(SaslCondition.INVALID_MECHANISM)
        binding = ht.BINDINGS[name]
        data = self._channel.bindings[binding] if binding else b""
        return ht.server(name, self._policy.domain, data)
