"""Ad-hoc commands: what people can run from a client, one form after another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID

Answers = Mapping[str, tuple[str, ...]]
"""What a person filled into one form, by the field's name."""


@dataclass(frozen=True, slots=True)
class AdHocForm:
    """A command needs to know more (XEP-0050 §2.4.2).

    Attributes:
        form: a data form of type "form".
        last: the command is complete with this one.
    """

    form: Element
    last: bool = True


@dataclass(frozen=True, slots=True)
class AdHocDone:
    """A command is finished.

    Attributes:
        note: a sentence for the person, or an empty string.
        failed: the note says why it could not be done.
        payload: what the command found out, for example a data form of type "result".
    """

    note: str = ""
    failed: bool = False
    payload: Sequence[Element] = ()


@dataclass(frozen=True, slots=True)
class AdHoc:
    """An ad-hoc command.

    Attributes:
        node: identifies it on its host.
        name: for people.
        allowed: whether this full JID may see and run it.
        run: takes who asks, and the answers to all forms so far; going back calls it again with
            fewer of them, so it acts only when it has all it needs. It raises FormError for
            answers that do not do, and StanzaError for anything else.
    """

    node: str
    name: str
    allowed: Callable[[JID], bool]
    run: Callable[[JID, Sequence[Answers]], Awaitable[AdHocForm | AdHocDone]]
