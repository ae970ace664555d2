"""What e-mail is, in whichever mode."""

from __future__ import annotations

from typing import Final

from jabberd.gateways.transport import Capability

IDENTITY: Final = "smtp"
"""Type of the disco identity (registry of XEP-0030)."""
PROMPT: Final = "E-mail address"
"""What to ask for when somebody is to be added."""
CAPABILITIES: Final = (
    Capability.STANDING
    | Capability.SUBJECTS
    | Capability.FILES
    | Capability.REPLIES
    | Capability.REPEATABLE
)
"""What mail can do. Whether one has arrived or was read, some tell and most do not."""
