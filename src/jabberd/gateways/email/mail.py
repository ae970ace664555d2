"""What a mail says: the values that `parse` makes of its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from jabberd.gateways.events import Attachment


class Kind(Enum):
    """Why a mail was written."""

    NORMAL = "normal"
    """Somebody wrote it."""
    BOUNCE = "bounce"
    """A server tells what became of a mail (RFC 3464)."""
    DISPOSITION = "disposition"
    """A client tells what became of a mail (RFC 8098)."""
    AUTOMATIC = "automatic"
    """A program wrote or answered it (RFC 3834)."""
    LIST = "list"
    """It came by a mailing list, or is a newsletter."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What our own mail server found about the sender (RFC 8601): its words, or empty.

    Attributes:
        spf: whether the envelope's domain lets the sending host speak for it.
        dkim: whether a signature is good; "pass" where one of several is.
        dmarc: whether one of both is of the domain that From names.
    """

    spf: str = ""
    dkim: str = ""
    dmarc: str = ""

    @property
    def verified(self) -> bool:
        """Whether From is who it says."""
        return self.dmarc == "pass"

    @property
    def forged(self) -> bool:
        """Whether the domain that From names disowns the mail."""
        return self.dmarc == "fail"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that came in.

    Attributes:
        sender: canonical address of From; empty where there is none that is valid.
        sender_name: to show; may be empty.
        to: canonical addresses.
        cc: canonical addresses.
        message_id: with angle brackets, as all identifiers here; empty where there is none.
        in_reply_to: of the mail that this one answers; may be empty.
        references: those before it in the conversation, the oldest first.
        subject: decoded; may be empty.
        date: by the sender's clock.
        kind: why it was written.
        text: what is new in it: without quoted history and signature.
        full_text: all of it.
        attachments: files, in their order.
        received: how many servers it went through.
        verdict: of our own mail server.
        spam: our own mail server thinks that it is.
        answerable: an answer of a program may go to its sender (RFC 3834 §2).
        own_domain: it says that it is from our own domain.
        own_id: its identifier is one of our domain: we wrote it, or somebody says so.
        loop_marks: what gateways that it went through have left in it (`loops.HEADER`).
    """

    sender: str = ""
    sender_name: str = ""
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    message_id: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    subject: str = ""
    date: float | None = None
    kind: Kind = Kind.NORMAL
    text: str = ""
    full_text: str = ""
    attachments: tuple[Attachment, ...] = ()
    received: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    spam: bool = False
    answerable: bool = True
    own_domain: bool = False
    own_id: bool = False
    loop_marks: tuple[str, ...] = ()
