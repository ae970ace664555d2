"""XEP-0352 Client State Indication: whether somebody is looking at a client."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.frames import Nonza

FEATURE: Final = f"<csi xmlns='{ns.CSI}'/>".encode()
"""Among the stream features after login (§4.1)."""


def read(nonza: Nonza) -> bool | None:
    """What a client says of itself (§4.2).

    Returns:
        True for `<active/>`, False for `<inactive/>`, None for anything else.
    """
    if nonza.ns != ns.CSI:
        return None
    return {"active": True, "inactive": False}.get(nonza.name)
