"""XEP-0077 In-Band Registration: what a request says, and the forms that ask for more."""

from __future__ import annotations

from dataclasses import dataclass

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload import forms


@dataclass(frozen=True, slots=True)
class Request:
    """A request of type set.

    Attributes:
        username: as it was sent, or an empty string.
        password: the one to set, or an empty string.
        old_password: the one in force, to prove who asks; None where none was given.
        remove: `<remove/>` is there, or a cancellation form (§3.2).
        alone: it is the only child (XEP-0077 §3.2 asks for that).
    """

    username: str
    password: str
    old_password: str | None
    remove: bool
    alone: bool


def read(query: Element) -> Request:
    """What a request says; a data form goes before the fields of the namespace (§4)."""
    remove = query.find(ns.REGISTER, "remove") is not None
    alone = len(list(query)) == 1
    form = query.find(ns.DATA_FORMS, "x")
    if form is None:
        return Request(
            username=query.child_text(ns.REGISTER, "username") or "",
            password=query.child_text(ns.REGISTER, "password") or "",
            old_password=None,
            remove=remove,
            alone=alone,
        )
    given = {name: "".join(values[:1]) for name, values in forms.answers(form).items()}
    if given.get(forms.FORM_TYPE) == ns.REGISTER_CANCEL:
        # Its password proves who asks; taken as a password change it would set one.
        given["old_password"] = given.pop("password", "")
        remove = True
    return Request(
        username=given.get("username", ""),
        password=given.get("password", ""),
        old_password=given.get("old_password"),
        remove=remove,
        alone=alone,
    )


def blank(instructions: str) -> Element:
    """What somebody has to fill in to register: the old fields, and the same as a form."""
    form = forms.form(
        [
            forms.Field("username", label="User name", required=True),
            forms.Field("password", "text-private", "Password", required=True),
        ],
        form_type=ns.REGISTER,
        title="Registration",
        instructions=instructions,
    )
    return Element(
        ns.REGISTER,
        "query",
        None,
        [
            Element(ns.REGISTER, "instructions", None, [instructions]),
            Element(ns.REGISTER, "username"),
            Element(ns.REGISTER, "password"),
            form,
        ],
    )


def registered(username: str, instructions: str) -> Element:
    """What is on file for somebody who has an account; a password is never on file."""
    return Element(
        ns.REGISTER,
        "query",
        None,
        [
            Element(ns.REGISTER, "registered"),
            Element(ns.REGISTER, "instructions", None, [instructions]),
            Element(ns.REGISTER, "username", None, [username]),
            Element(ns.REGISTER, "password"),
        ],
    )
