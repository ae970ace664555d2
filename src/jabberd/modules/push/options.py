"""What an operator can choose about notifications."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How often clients that are not there are notified, and what their services are told.

    Attributes:
        seconds: while a client does not come, it is notified at most once in so many seconds.
        max_devices: nodes of push services that one account can have.
        failures: after so many failures in a row a client is not notified any more, until it asks
            for it again or a day has passed; an error that says that it is for ever counts at once.
        include_sender: tell the push service who sent the last message.
        include_body: tell the push service what was in it.
    """

    seconds: float = 30.0
    max_devices: int = 20
    failures: int = 10
    include_sender: bool = False
    include_body: bool = False
