"""XEP-0297 Stanza Forwarding: a stanza inside of another one."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.payload.delay import stamp

_PLAIN: Final = f"<forwarded xmlns='{ns.FORWARD}'>%s</forwarded>".encode()
_DELAYED: Final = (
    f"<forwarded xmlns='{ns.FORWARD}'><delay xmlns='{ns.DELAY}' stamp='%s'/>%s</forwarded>"
).encode()


def forwarded(stanza: bytes, at: float | None = None) -> bytes:
    """The `<forwarded/>` element.

    Args:
        stanza: what is forwarded, as `Stanza.in_namespace` gives it: its namespace has to be
            said (§3.2).
        at: when it was received, seconds since the epoch.
    """
    return _PLAIN % stanza if at is None else _DELAYED % (stamp(at).encode(), stanza)
