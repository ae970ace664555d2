"""What every client's stream begins with: whose host it wants, TLS, and what is offered.

RFC 6120 §4 (streams) and §5 (STARTTLS), the server's side. Logins are in `sasl1` and `sasl2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import LocalError, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import Limits, Nonza, StreamOpened
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Channel, Offer
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, error_reply, qname
from jabberd.xmpp.stream import events, opening
from jabberd.xmpp.stream.base import Stream, attr
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.policy import HostPolicy

_SECURE: Final = Channel(secure=True)
_PLAIN: Final = Channel(secure=False)


class State(Enum):
    """How far the negotiation has come."""

    HEADER = auto()  # a stream header is due
    FEATURES = auto()  # not logged in yet
    SASL = auto()  # inside a SASL exchange
    SASL2 = auto()  # inside a SASL exchange of XEP-0388
    NEXT = auto()  # a task has been given, and its begin is due
    TASK = auto()  # inside a task
    LEGACY = auto()  # a stream without a version, not logged in yet
    BIND = auto()  # logged in, no resource yet
    READY = auto()  # stanzas flow


Rules = Mapping[tuple[State, str], Callable[[Any, Nonza], list[Event]]]
IqRules = Mapping[tuple[State, str], Callable[[Any, Iq], list[Event]]]


class AcceptingStream(Stream):
    """The server's end of a client's stream, as far as the features.

    Args:
        hosts: how a host wants to be logged in to; None for one that is not ours.
        channel: what TLS has settled already.
        before: limits until the peer has logged in.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits, fit to be a localpart.
        pool: parsers shared with other streams of the same thread; its own unless given.
    """

    __slots__ = ("_account", "_after", "_before", "_channel", "_config", "_from", "_hosts",
                 "_offer", "_policy", "_state", "_token")  # fmt: skip

    def __init__(
        self,
        *,
        hosts: Callable[[JID], HostPolicy | None],
        channel: Channel,
        before: Limits,
        after: Limits,
        token: Callable[[], str],
        pool: Pool | None = None,
    ) -> None:
        super().__init__(ns.CLIENT, before, pool)
        self._hosts = hosts
        self._channel = channel
        self._before = before
        self._after = after
        self._token = token
        self._state = State.HEADER
        self._account: JID | None = None  # as whom the peer has logged in
        self._forget()

    def _forget(self) -> None:
        """Nothing is known yet, or any more, of what only the negotiation needs."""
        self._policy: HostPolicy | None = None
        self._offer: Offer | None = None
        self._config = ""  # the version of what is offered (XEP-0509)
        self._from: JID | None = None  # who the peer says it is

    def _become_ready(self) -> None:
        self._state = State.READY
        self._ready = True
        self._framer.limits = self._after
        self._forget()  # a session lives for days; what only the negotiation needed does not
        self._channel = _SECURE if self._channel.secure else _PLAIN

    @property
    def policy(self) -> HostPolicy:
        """Of the host that the peer wants.

        Raises:
            LocalError: it has not said which.
        """
        if self._policy is None:
            raise LocalError("no stream header yet")
        return self._policy

    @property
    def host(self) -> JID | None:
        """The host that the peer wants; None until it has said which."""
        return self._policy.domain if self._policy else None

    @property
    def is_secure(self) -> bool:
        """Whether the stream is under TLS."""
        return self._channel.secure

    def secured(self, channel: Channel) -> list[Event]:
        """TLS is up: everything learned before is forgotten (RFC 6120 §5.4.3.3)."""
        self._answer()
        self._channel = channel
        self._policy = self._offer = None
        self._pending = b""  # whatever came by now came without TLS
        self._restart()
        self._state = State.HEADER
        return []

    def _demand_tls(self) -> None:
        if self.policy.tls_required and not self._channel.secure:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "TLS is required first")

    def _reply_error(self, iq: Iq, error: StanzaError) -> None:
        self._output.append(self.send(error_reply(iq, error)))

    # Stream headers

    def _opened(self, header: StreamOpened) -> list[Event]:
        policy, error = opening.choose_host(header, self._content, self._hosts, self._account)
        version = opening.major_version(header)
        self._write_header(
            # RFC 6120 §4.9.1.3: a name that is not ours is not repeated.
            (attr("from", policy.domain.text) if policy else " from=''")
            + attr("to", opening.canonical(header.from_))
            + attr("id", self._token())
            + ("" if version == 0 else attr("version", "1.0") + attr("xml:lang", "en"))
        )
        if error is not None:
            raise error
        self._policy = policy
        if version is None:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "the version is 1.0")
        if version == 0:
            return self._opened_legacy()
        self._from = opening.sender(header, self.policy)
        self._offer_features()
        return []

    def _opened_legacy(self) -> list[Event]:
        if self._account is not None or not self.policy.legacy_auth:
            text = "this server wants XMPP 1.0; logins without it are switched off"
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, text)
        self._state = State.LEGACY
        return []

    def _offer_features(self) -> None:
        if self._account is not None:
            self._state = State.BIND
            offered = opening.after_login(self.policy)
        else:
            self._state = State.FEATURES
            self._offer = Offer(self.policy.sasl, self._channel, self.policy.inline.fast)
            offered, self._config = opening.before_login(self.policy, self._channel, self._offer)
        self._output.append(offered)

    # STARTTLS

    def _starttls(self, _nonza: Nonza) -> list[Event]:
        if not self.policy.starttls or self._channel.secure:
            self._output.append(Element(ns.TLS, "failure").to_bytes())
            raise StreamError(StreamCondition.UNSUPPORTED_FEATURE, "no TLS here")
        if self._pending.strip():
            # RFC 6120 §5.4.3.3 throws such bytes away; nothing honest sends them
            # (CVE-2011-0411 and its kin).
            self._pending = b""
            text = "data was sent ahead of TLS"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        self._pending = b""
        self._output.append(Element(ns.TLS, "proceed").to_bytes())
        return self._ask(events.UpgradeToTls())

    RULES: ClassVar[Rules] = {(State.FEATURES, qname(ns.TLS, "starttls")): _starttls}
    """What may be said when, and who takes it; each class adds its own."""
