"""XEP-0004: forms as they are on the wire, and submissions that do not fit them."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.payload import forms

ASKED = forms.form(
    [
        forms.Field("name", label="Your name", required=True),
        forms.Field("public", "boolean", "Public?", values=["false"]),
        forms.Field("level", "list-single", "Level", options=[("1", "one"), ("2", "two")]),
        forms.Field("days", "list-multi", "Days", options=[("mo", ""), ("tu", "")]),
    ],
    form_type="jabber:bot",
    title="Bot",
    instructions="Fill it in.",
)


def _submission(fields: str) -> Element:
    return parse(f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>".encode())


def test_a_form_on_the_wire() -> None:
    assert ASKED.to_bytes().decode() == (
        "<x xmlns='jabber:x:data' type='form'><title>Bot</title>"
        "<instructions>Fill it in.</instructions>"
        "<field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field>"
        "<field var='name' type='text-single' label='Your name'><required/></field>"
        "<field var='public' type='boolean' label='Public?'><value>false</value></field>"
        "<field var='level' type='list-single' label='Level'>"
        "<option label='one'><value>1</value></option>"
        "<option label='two'><value>2</value></option></field>"
        "<field var='days' type='list-multi' label='Days'>"
        "<option><value>mo</value></option><option><value>tu</value></option></field></x>"
    )


def test_a_table_has_each_reported_field_in_each_item() -> None:
    table = forms.table(["a", "b"], [["1", "2"], ["3", ""]])
    assert table.to_bytes().decode() == (
        "<x xmlns='jabber:x:data' type='result'><reported>"
        "<field var='a' type='text-single' label='a'/><field var='b' type='text-single' label='b'/>"
        "</reported><item><field var='a'><value>1</value></field>"
        "<field var='b'><value>2</value></field></item>"
        "<item><field var='a'><value>3</value></field><field var='b'><value/></field></item></x>"
    )


def test_answers() -> None:
    given = forms.answers(
        _submission(
            "<field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field>"
            "<field var='days'><value>mo</value><value>tu</value></field>"
            "<field var='name'/><field><value>no name</value></field>"
            "<field var='days'><value>we</value></field>"
        )
    )
    assert given == {"FORM_TYPE": ("jabber:bot",), "days": ("mo", "tu"), "name": ()}


def test_form_type() -> None:
    assert forms.form_type(ASKED) == "jabber:bot"
    assert forms.form_type(_submission("")) == ""


def test_what_fits_is_accepted() -> None:
    forms.check(ASKED, {"name": ["x"], "public": ["1"], "level": ["2"], "days": ["mo", "tu"]})
    forms.check(ASKED, {"name": ["x"], "unknown": ["is", "ignored"]})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Your name: a value is required"),
        ({"name": [""]}, "Your name: a value is required"),
        ({"name": ["x", "y"]}, "Your name: only one value is allowed"),
        ({"name": ["x"], "public": ["yes"]}, "Public?: must be true or false"),
        ({"name": ["x"], "level": ["3"]}, "Level: not one of the options"),
        ({"name": ["x"], "days": ["mo", "su"]}, "Days: not one of the options"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(forms.FormError) as caught:
        forms.check(ASKED, given)
    assert str(caught.value) == message
