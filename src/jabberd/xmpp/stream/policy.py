"""What a receiving stream must know of its host and its connection to negotiate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Policy as SaslPolicy


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
    """

    domain: JID
    sasl: SaslPolicy
    starttls: bool
    tls_required: bool
    legacy_auth: bool
    before_login: Callable[[], bytes]
    after_login: Callable[[], bytes]
