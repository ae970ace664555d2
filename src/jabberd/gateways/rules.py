"""What users of a gateway may use up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of one gateway.

    Attributes:
        waiting: messages of one user that wait for the network.
        waiting_bytes: how large they may be together.
        waiting_seconds: how long one waits until its sender gets it back.
        contacts: that one user may have.
        logins: under way at the same time.
        login_seconds: how long one may take.
        verb_seconds: how long the network may take to take a message.
        small_seconds: how long it may take for what can get lost, as who is writing.
        sign_up_seconds: how long a user may think about a question.
        file_bytes: size of a file, in either direction.
    """

    waiting: int = 500
    waiting_bytes: int = 4_194_304
    waiting_seconds: float = 86_400.0
    contacts: int = 2_000
    logins: int = 20
    login_seconds: float = 60.0
    verb_seconds: float = 120.0
    small_seconds: float = 10.0
    sign_up_seconds: float = 900.0
    file_bytes: int = 26_214_400
