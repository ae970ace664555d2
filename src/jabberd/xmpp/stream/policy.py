"""What a receiving stream must know of its host and its connection to negotiate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Policy as SaslPolicy


@dataclass(frozen=True, slots=True)
class Inline:
    """What may be asked for together with a login by SASL2.

    Attributes:
        bind: namespaces of the features that a new session can have from its beginning
            (XEP-0386 §3.1); None: no resource is bound inline.
        resume: whether sessions can be resumed (XEP-0198 §9.2).
        fast: names out of `ht.BINDINGS`: the mechanisms that tokens are given for, as far as
            the connection has their channel bindings (XEP-0484).
        upgrades: names out of `scram.NAMES`: those that accounts may get keys for (XEP-0480).
    """

    bind: tuple[str, ...] | None = None
    resume: bool = False
    fast: tuple[str, ...] = ()
    upgrades: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """How one host wants to be logged in to on one connection.

    Attributes:
        domain: the host.
        sasl: which mechanisms, and what they need to know.
        starttls: STARTTLS is offered.
        tls_required: nothing else is possible before TLS.
        legacy_auth: jabber:iq:auth is allowed here, as things stand without TLS (XEP-0078).
        before_login: further stream features to offer before login, serialised, when asked for.
        after_login: further stream features to offer after login, serialised, when asked for.
        sasl2: logins by SASL2 are offered, under TLS only (XEP-0388 §3).
        inline: what is offered together with them.
    """

    domain: JID
    sasl: SaslPolicy
    starttls: bool
    tls_required: bool
    legacy_auth: bool
    before_login: Callable[[], bytes]
    after_login: Callable[[], bytes]
    sasl2: bool = False
    inline: Inline = Inline()
