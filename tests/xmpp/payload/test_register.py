"""XEP-0077: requests as the examples have them."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.payload import register
from jabberd.xmpp.payload.register import Request

CHANGE = """<x xmlns='jabber:x:data' type='submit'>
<field type='hidden' var='FORM_TYPE'><value>jabber:iq:register:{form}</value></field>
<field type='text-single' var='username'><value>bill@shakespeare.lit</value></field>
<field type='text-private' var='old_password'><value>theglobe</value></field>
<field type='text-private' var='password'><value>groundlings</value></field>
</x>"""


def _query(inner: str) -> Element:
    return parse(f"<query xmlns='jabber:iq:register'>{inner}</query>".encode())


@pytest.mark.parametrize(
    ("inner", "request_"),
    [
        (
            "<username>bill</username><password>Calliope</password><email>x</email>",
            Request("bill", "Calliope", None, remove=False, alone=False),
        ),
        ("<password/>", Request("", "", None, remove=False, alone=True)),
        ("<remove/>", Request("", "", None, remove=True, alone=True)),
        ("<remove/><username>bill</username>", Request("bill", "", None, remove=True, alone=False)),
        (
            CHANGE.format(form="changepassword"),
            Request("bill@shakespeare.lit", "groundlings", "theglobe", remove=False, alone=True),
        ),
        # The form goes before the fields (§4).
        (
            "<username>a</username>" + CHANGE.format(form="changepassword"),
            Request("bill@shakespeare.lit", "groundlings", "theglobe", remove=False, alone=False),
        ),
        # The password of a cancellation proves who asks; it is never one to set.
        (
            CHANGE.format(form="cancel"),
            Request("bill@shakespeare.lit", "", "groundlings", remove=True, alone=True),
        ),
    ],
)
def test_read(inner: str, request_: Request) -> None:
    assert register.read(_query(inner)) == request_


def test_blank_has_the_fields_and_the_same_as_a_form() -> None:
    assert register.blank("Please.").to_bytes().decode() == (
        "<query xmlns='jabber:iq:register'><instructions>Please.</instructions>"
        "<username/><password/><x xmlns='jabber:x:data' type='form'><title>Registration</title>"
        "<instructions>Please.</instructions>"
        "<field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>"
        "<field var='username' type='text-single' label='User name'><required/></field>"
        "<field var='password' type='text-private' label='Password'><required/></field>"
        "</x></query>"
    )


def test_registered_shows_no_password() -> None:
    assert register.registered("juliet", "Hello.").to_bytes().decode() == (
        "<query xmlns='jabber:iq:register'><registered/><instructions>Hello.</instructions>"
        "<username>juliet</username><password/></query>"
    )
