"""XEP-0157."""

from __future__ import annotations

import pytest

from jabberd.modules import contact
from tests.modules.host import World


@pytest.mark.asyncio
async def test_the_form_of_the_example(world: World) -> None:
    options = contact.Options(
        abuse=("mailto:abuse@shakespeare.lit", "xmpp:abuse@shakespeare.lit"),
        feedback=("http://shakespeare.lit/feedback.php",),
        status=("https://status.shakespeare.lit",),
        support=("xmpp:admins@shakespeare.lit?message", "mailto:a@b.example?subject=Help"),
    )
    (form,) = contact.load(world.host, options).forms
    assert form.to_bytes().decode() == (
        "<x xmlns='jabber:x:data' type='result'>"
        "<field var='FORM_TYPE' type='hidden'>"
        "<value>http://jabber.org/network/serverinfo</value></field>"
        "<field var='abuse-addresses' type='list-multi'>"
        "<value>mailto:abuse@shakespeare.lit</value><value>xmpp:abuse@shakespeare.lit</value></field>"
        "<field var='feedback-addresses' type='list-multi'>"
        "<value>http://shakespeare.lit/feedback.php</value></field>"
        "<field var='status-addresses' type='list-multi'>"
        "<value>https://status.shakespeare.lit</value></field>"
        "<field var='support-addresses' type='list-multi'>"
        "<value>xmpp:admins@shakespeare.lit?message</value>"
        "<value>mailto:a@b.example?subject=Help</value></field></x>"
    )


@pytest.mark.asyncio
async def test_without_addresses_there_is_no_form(world: World) -> None:
    assert contact.load(world.host, contact.Options()).forms == ()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("abuse@example.com", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("", "must begin with"),
        ("mailto:abuse", "NAME@DOMAIN"),
        ("mailto:@example.com", "NAME@DOMAIN"),
        ("mailto:a b@example.com", "NAME@DOMAIN"),
        ("xmpp:", "is not an XMPP address"),
        ("xmpp:@example.com", "is not an XMPP address"),
        ("https://", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://exa mple.com", "is not a URL"),
    ],
)
def test_addresses_are_checked(address: str, problem: str) -> None:
    with pytest.raises(ValueError, match="security") as caught:
        contact.Options(security=(address,))
    assert problem in str(caught.value)
