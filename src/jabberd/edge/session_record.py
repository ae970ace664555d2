"""What is kept of a session that outlives the process, beside its stanzas (XEP-0198 §5)."""

from __future__ import annotations

import json
from typing import Any

from jabberd.core.session import SessionState
from jabberd.edge.sm import StreamManagement
from jabberd.storage.log_api import Saved
from jabberd.xmpp.stanza import Presence, read_stanza


def saved(session: SessionState, sm: StreamManagement) -> Saved:
    """A session as the log keeps it."""
    facts = session.facts
    data = {
        "jid": session.jid.text,
        "id": sm.id,
        "seconds": sm.seconds,
        "facts": {
            "address": facts.address,
            "since": facts.since,
            "mechanism": facts.mechanism,
            "tls": facts.tls,
        },
        "presence": session.presence.to_bytes().decode() if session.presence else None,
        "slots": session.kept_slots(),
    }
    return Saved(sm.number, session.jid.bare_text, json.dumps(data).encode())


def presence_of(data: dict[str, Any]) -> Presence | None:
    """The presence in what `saved` wrote.

    Raises:
        ParseError: there is something else.
    """
    text = data["presence"]
    presence = read_stanza(text.encode()) if text else None
    return presence if isinstance(presence, Presence) else None
