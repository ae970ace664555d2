"""Answers to forms, as networks get them."""

from __future__ import annotations

import pytest

from jabberd.gateways.dialogue import _question
from jabberd.gateways.signup import check
from jabberd.gateways.transport import Field, Form
from jabberd.xmpp.error import Condition, StanzaError


@pytest.mark.parametrize(
    ("default", "given", "got"),
    [("true", "", "1"), ("1", "", "1"), ("false", "", "0"), ("0", "yes", "1"), ("true", "no", "0")],
)
def test_yes_and_no_have_one_form(default: str, given: str, got: str) -> None:
    field = Field("strangers", "Take mail from strangers", "boolean", default=default)
    assert check(Form("", "", (field,)), {"strangers": given}) == {"strangers": got}
    shown = "yes" if check(Form("", "", (field,)), {})["strangers"] == "1" else "no"
    assert f"for: {shown}" in _question(field)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        (Field("a", "A", required=True), " "),
        (Field("a", "A", "boolean"), "perhaps"),
        (Field("a", "A", "list-single", options={"x": "X"}), "y"),
        (Field("a", "A"), "a" * 5_000),
    ],
)
def test_what_does_not_do_is_refused(field: Field, given: str) -> None:
    with pytest.raises(StanzaError) as refused:
        check(Form("", "", (field,)), {"a": given})
    assert refused.value.condition is Condition.NOT_ACCEPTABLE
