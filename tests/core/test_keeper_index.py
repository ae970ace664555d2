"""Which text an entry is found by: its own, once for both sides of a message."""

from __future__ import annotations

import pytest

from jabberd.core.keeper import Keeper, Ledger
from jabberd.storage.log_api import Flag
from jabberd.storage.memory_log import MemoryLog
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message

_ALICE, _BOB = JID.parse("alice@localhost"), JID.parse("bob@localhost")
_CAROL, _DAVE = JID.parse("carol@localhost"), JID.parse("dave@localhost")


class _Everything:
    searchable = True

    def visible(self, _message: Message, _account: JID, *, outgoing: bool) -> bool:
        return True


@pytest.mark.asyncio
async def test_what_has_no_text_is_not_found_by_another_one() -> None:
    log = MemoryLog(lambda *_: None)
    ledger = Ledger(log, lambda: 1.0)
    keeper = Keeper(JID.parse("localhost"), ledger, lambda: 1.0, _never, _never)
    keeper.rules = _Everything()
    text = Message(_BOB, _ALICE, "1", "chat", children=("body",), inner=b"<body>secret</body>")
    receipt = Message(_DAVE, _CAROL, "2", "chat", inner=b"<received xmlns='urn:xmpp:receipts'/>")
    keys = {}
    for message, to, sender in ((text, _BOB, _ALICE), (receipt, _DAVE, _CAROL)):
        _, parcel = keeper.receive(message, to, int(Flag.VISIBLE), None)
        keys[to] = parcel.key
        keys[sender] = keeper.enter_sent(message, sender)
    await keeper.settled()
    docs = {who: (await log.get(who.text, [key]))[0].doc for who, key in keys.items()}
    assert docs == {_BOB: keys[_BOB], _ALICE: keys[_BOB], _DAVE: 0, _CAROL: 0}


def _never(*_: object) -> None:
    raise AssertionError("nothing is refused, and nothing waits")
