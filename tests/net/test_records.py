"""SRV records as they stand in the DNS."""

from __future__ import annotations

from pathlib import Path

import pytest

from jabberd.net.clock import SystemClock
from jabberd.net.dns import DnsError, DnsProblem
from jabberd.net.records import Records, Service

from .zone import BINARY, zone

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(BINARY is None, reason="Debian's package dnsmasq-base is not installed"),
]


async def test_services_by_priority(tmp_path: Path) -> None:
    lines = [
        "srv-host=_xmpp-client._tcp.a.example,Two.a.example,5223,20,1",
        "srv-host=_xmpp-client._tcp.a.example,one.a.example,5222,10,1",
        "srv-host=_xmpp-server._tcp.a.example",
        "srv-host=_xmpp-client._tcp.xn--mnchen-3ya.example,m.example,1,0,1",
    ]
    async with zone(tmp_path, lines) as nameserver:
        records = Records(now=SystemClock.monotonic, nameservers=[nameserver])
        assert await records.services("_xmpp-client", "a.example") == [
            Service("one.a.example", 5222, 10),
            Service("two.a.example", 5223, 20),
        ]
        (none,) = await records.services("_xmpp-server", "a.example")
        assert none.host == ""
        assert await records.services("_xmpps-client", "a.example") == []
        assert await records.services("_xmpp-client", "b.example") == []
        (idn,) = await records.services("_xmpp-client", "münchen.example")
        assert idn.host == "m.example"


async def test_a_dns_that_does_not_answer() -> None:
    records = Records(now=SystemClock.monotonic, nameservers=["127.0.0.1:1"], seconds=0.5)
    with pytest.raises(DnsError, match="does not answer about _xmpp-client") as caught:
        await records.services("_xmpp-client", "a.example")
    assert caught.value.problem is DnsProblem.FAILED
