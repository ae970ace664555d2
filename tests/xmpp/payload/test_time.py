"""XEP-0202 and XEP-0082."""

from __future__ import annotations

import pytest

from jabberd.xmpp.payload import time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "+00:00"), (-21600, "-06:00"), (19800, "+05:30"), (-12600, "-03:30"), (50400, "+14:00")],
)
def test_offset(seconds: int, text: str) -> None:
    assert time.offset(seconds) == text


def test_the_example_of_the_xep() -> None:
    assert time.element(1166551115.0, -21600).to_bytes().decode() == (
        "<time xmlns='urn:xmpp:time'><tzo>-06:00</tzo><utc>2006-12-19T17:58:35.000Z</utc></time>"
    )
