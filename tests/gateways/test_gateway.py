"""The framework, as users see it: slixmpp on one side, the example network on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from jabberd.xmpp.jid import JID
from tests.gateways.place import GATEWAY, Place, approve, join, place, register
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio
MARKERS: Final = "urn:xmpp:chat-markers:0"
REACT: Final = "urn:xmpp:reactions:0"
ROSTERX: Final = "http://jabber.org/protocol/rosterx"


@pytest_asyncio.fixture
async def here() -> AsyncIterator[Place]:
    async with place() as made:
        yield made


async def test_a_message_goes_there_and_back(here: Place) -> None:
    juliet = await here.client()
    await join(juliet, "Juliet")
    await juliet.event("message", lambda m: "Welcome" in m["body"])
    juliet.client.send_message(f"nobody@{GATEWAY}", "Wherefore art thou?", mtype="chat")
    error = await juliet.event("message_error")
    assert error["error"]["condition"] == "item-not-found"
    juliet.client.send_message(f"echo@{GATEWAY}", "Art thou?", mtype="chat")
    answer = await juliet.event("message", lambda m: m["body"] == "Art thou?")
    assert answer["from"] == f"echo@{GATEWAY}/example"


async def said(client: Slix) -> str:
    return str((await client.event("message", lambda m: m["from"].bare == GATEWAY))["body"])


async def test_everything_by_chat(here: Place) -> None:
    juliet = await here.client()

    async def ask(text: str) -> str:
        juliet.client.send_message(GATEWAY, text, mtype="chat")
        return await said(juliet)

    assert "register: begin" in await ask("help")
    assert "not registered" in await ask("status")
    assert "you are not registered" in await ask("add echo")
    assert "Name" in await ask("register")
    assert "Password" in await ask("Juliet")
    assert "contact list" in await ask("pass")
    assert "Welcome" in await ask("-")
    assert "registered as Juliet" in await said(juliet)
    assert "registered as Juliet" in await ask("status")
    assert f"echo@{GATEWAY}" in await ask("add echo")
    assert f"echo@{GATEWAY}" in await ask("contacts")
    assert "Removed" in await ask("remove echo")
    assert "no contacts" in await ask("contacts")
    assert "encrypted" in await ask("policy")
    assert "I do not know" in await ask("sing")
    assert "unregister yes" in await ask("unregister")
    assert "not registered any more" in await ask("unregister yes")
    assert "not registered" in await ask("status")


@pytest.mark.parametrize("wrong", ["", "wrong"])
async def test_a_wrong_password_is_refused_at_once(here: Place, wrong: str) -> None:
    await (await here.person("Juliet")).close()
    juliet = await here.client()
    with pytest.raises(IqError) as refused:
        await register(juliet, "Juliet", wrong)
    expected = "not-authorized" if wrong else "not-acceptable"
    assert refused.value.iq["error"]["condition"] == expected
    assert GATEWAY not in here.server.running.assembly.hosts
    with pytest.raises(IqError) as unknown:
        await juliet.client.plugin["xep_0030"].get_info(f"echo@{GATEWAY}", timeout=WAIT)
    assert unknown.value.iq["error"]["condition"] == "registration-required"


async def test_an_account_belongs_to_one_user(here: Place) -> None:
    juliet, nurse = await here.client(), await here.client("nurse")
    await register(juliet, "Juliet")
    with pytest.raises(IqError) as refused:
        await register(nurse, "Juliet", "Juliet")
    assert refused.value.iq["error"]["condition"] == "conflict"


async def test_what_the_gateway_says_it_is(here: Place) -> None:
    juliet = await here.client()
    disco = juliet.client.plugin["xep_0030"]
    items = await disco.get_items("localhost", timeout=WAIT)
    assert GATEWAY in {str(item[0]) for item in items["disco_items"]["items"]}
    info = (await disco.get_info(GATEWAY, timeout=WAIT))["disco_info"]
    assert {one[:2] for one in info["identities"]} == {("gateway", "example")}
    assert {"jabber:iq:register", "jabber:iq:gateway"} <= info["features"]
    fields = {
        field["var"]: field["value"]
        for form in info.xml.findall("{jabber:x:data}x")
        for field in _form(form)
    }
    assert fields["auth_data"] == "plain"
    await join(juliet, "Juliet")
    info = (await disco.get_info(f"echo@{GATEWAY}", timeout=WAIT))["disco_info"]
    assert "urn:xmpp:receipts" in info["features"]


def _form(x: Any) -> list[dict[str, str]]:
    return [
        {"var": one.get("var"), "value": one.findtext("{jabber:x:data}value") or ""}
        for one in x.findall("{jabber:x:data}field")
    ]


async def test_prompt_turns_a_name_into_an_address(here: Place) -> None:
    juliet = await here.client()
    iq = juliet.client.make_iq_get("jabber:iq:gateway", ito=GATEWAY)
    answer = await iq.send(timeout=WAIT)
    assert answer.xml.findtext("{*}query/{*}prompt") == "Name"

    async def address(text: str) -> str:
        asking = juliet.client.make_iq_set(ito=GATEWAY)
        query = ET.SubElement(asking.xml, "{jabber:iq:gateway}query")
        ET.SubElement(query, "{jabber:iq:gateway}prompt").text = text
        told = await asking.send(timeout=WAIT)
        return str(told.xml.findtext("{*}query/{*}jid"))

    assert await address(" friar laurence ") == rf"friar\20laurence@{GATEWAY}"
    with pytest.raises(IqError) as refused:
        await address("12!")
    assert refused.value.iq["error"]["condition"] == "item-not-found"


async def test_nobody_of_this_name_can_be_added(here: Place) -> None:
    await here.person("Romeo")
    juliet = await here.client()
    await join(juliet, "Juliet")
    juliet.client.send_presence(pto=f"romeo@{GATEWAY}", ptype="subscribe")
    refused = await juliet.event("presence_error", lambda p: p["from"].bare == f"romeo@{GATEWAY}")
    assert refused["error"]["condition"] == "item-not-found"  # the network tells cases apart


async def test_a_contact_agrees_and_shows_itself(here: Place) -> None:
    romeo = await here.person("romeo")
    juliet = await here.client()
    await join(juliet, "Juliet")
    contact = f"romeo@{GATEWAY}"
    juliet.client.send_presence(pto=contact, ptype="subscribe")
    await romeo.happened("asks", lambda t: t["from"] == "Juliet")
    await romeo.line.ask("answer", id="Juliet", allow=True)
    await juliet.event("presence_subscribed", lambda p: p["from"].bare == contact)
    shown = await juliet.event("presence_available", lambda p: p["from"].bare == contact)
    assert shown["status"] == "here"
    await romeo.line.ask("presence", show="dnd", status="in exile")
    shown = await juliet.event("presence_dnd", lambda p: p["from"].bare == contact)
    assert shown["status"] == "in exile"
    await romeo.line.ask("add", id="Juliet", name="")
    await approve(juliet, contact)
    juliet.client.send_presence(pshow="xa", pstatus="asleep")
    seen = await romeo.happened("presence", lambda t: t["show"] == "xa")
    assert seen["status"] == "asleep"
    await romeo.close()
    await juliet.event("presence_unavailable", lambda p: p["from"].bare == contact)


async def test_all_that_goes_with_a_message(here: Place) -> None:
    romeo = await here.person("romeo")
    juliet = await here.client()
    await join(juliet, "Juliet")
    contact = f"romeo@{GATEWAY}"
    message = juliet.client.make_message(contact, "O Romeo", mtype="chat")
    message["id"] = "first"
    message["request_receipt"] = True
    message["chat_state"] = "active"
    message.send()
    heard = await romeo.happened("message")
    assert heard["text"] == "O Romeo"
    receipt = await juliet.event("receipt_received")
    assert receipt["receipt"] == "first"
    await romeo.line.ask("read", to="Juliet", id=heard["id"])
    marker = await juliet.event("marker_displayed")
    assert marker.xml.find(f"{{{MARKERS}}}displayed").get("id") == "first"
    await romeo.line.ask("react", to="Juliet", id=heard["id"], emojis=["🌹"])
    reaction = await juliet.event("reactions")
    assert reaction.xml.find(f"{{{REACT}}}reactions").get("id") == "first"
    await romeo.line.ask("typing", to="Juliet", typing="composing")
    await juliet.event("chatstate_composing")
    reply = await romeo.line.ask("send", to="Juliet", id="1", text="I", replies_to=heard["id"])
    answer = await juliet.event("message", lambda m: m["body"] == "I")
    assert answer.xml.find("{urn:xmpp:reply:0}reply").get("id") == "first"
    # What the client says about it is said of the network's own message.
    juliet.client.plugin["xep_0444"].send_reactions(contact, answer["id"], ["❤"])
    assert (await romeo.happened("reacted"))["id"] == reply["id"]
    correction = juliet.client.make_message(contact, "O Romeo, Romeo!", mtype="chat")
    correction["replace"]["id"] = "first"
    correction.send()
    corrected = await romeo.happened("message")
    assert (corrected["text"], corrected["replaces"]) == ("O Romeo, Romeo!", heard["id"])
    composing = juliet.client.make_message(contact, mtype="chat")
    composing["chat_state"] = "composing"
    composing.send()
    await romeo.happened("typing", lambda t: t["typing"] == "composing")


async def test_what_is_encrypted_is_returned(here: Place) -> None:
    juliet = await here.client()
    await join(juliet, "Juliet")
    message = juliet.client.make_message(f"echo@{GATEWAY}", "cannot be read", mtype="chat")
    ET.SubElement(message.xml, "{eu.siacs.conversations.axolotl}encrypted")
    message.send()
    error = await juliet.event("message_error")
    assert error["error"]["condition"] == "not-acceptable"
    assert here.far.world.sent == []


async def test_messages_wait_for_a_network_that_is_away(here: Place) -> None:
    juliet = await here.client()
    await join(juliet, "Juliet")
    port = here.far.port
    await here.far.stop()
    await juliet.event("presence_dnd", lambda p: p["from"] == GATEWAY)
    juliet.write(f"echo@{GATEWAY}", *(str(number) for number in range(20)))
    await here.far.start("127.0.0.1", port)
    assert (await juliet.bodies("19"))[-20:] == [str(number) for number in range(20)]
    assert [text for _, to, text in here.far.world.sent if to == "echo"] == [
        str(number) for number in range(20)
    ]


async def test_logging_in_and_out_by_presence(here: Place) -> None:
    romeo = await here.person("romeo")
    juliet = await here.client()
    await join(juliet, "Juliet")
    await romeo.line.ask("add", id="Juliet", name="")
    await approve(juliet, f"romeo@{GATEWAY}")
    await romeo.happened("presence", lambda t: t["show"] == "")
    juliet.client.send_presence(ptype="unavailable")
    await romeo.happened("presence", lambda t: t["show"] == "unavailable")
    juliet.client.send_presence()
    await romeo.happened("presence", lambda t: t["show"] == "")


async def test_strangers_are_told_to_register(here: Place) -> None:
    nurse = await here.client("nurse")
    nurse.client.send_message(f"echo@{GATEWAY}", "Madam!", mtype="chat")
    error = await nurse.event("message_error")
    assert error["error"]["condition"] == "registration-required"


async def roster(client: Slix) -> dict[str, tuple[str, str]]:
    """Whom a client has in the roster, with name and subscription."""
    answer = await client.client.make_iq_get("jabber:iq:roster").send(timeout=WAIT)
    return {
        item.get("jid"): (item.get("name") or "", item.get("subscription"))
        for item in answer.xml.iter("{jabber:iq:roster}item")
    }


async def test_contacts_there_are_contacts_here(here: Place) -> None:
    friend = await here.person("Juliet")
    await friend.line.ask("add", id="echo", name="Echo")
    await friend.close()
    juliet = await here.client()
    await join(juliet, "Juliet")
    contact = f"echo@{GATEWAY}"
    await juliet.event("roster_update", lambda iq: contact in iq["roster"]["items"])
    assert await roster(juliet) == {
        GATEWAY: ("Example network", "both"),
        contact: ("Echo", "both"),
    }
    # What was agreed is remembered: nobody is asked again, and nothing is written again.
    juliet.client.send_presence(ptype="unavailable")
    juliet.client.send_presence()
    await juliet.event("presence_available", lambda p: p["from"] == GATEWAY)
    assert juliet.seen("presence_subscribe") == []


async def test_unregistering_leaves_nothing_behind(here: Place) -> None:
    friend = await here.person("Juliet")
    await friend.line.ask("add", id="echo", name="Echo")
    await friend.close()
    juliet = await here.client()
    await join(juliet, "Juliet")
    await juliet.event("roster_update", lambda iq: f"echo@{GATEWAY}" in iq["roster"]["items"])
    await juliet.client.plugin["xep_0077"].cancel_registration(jid=GATEWAY, timeout=WAIT)
    assert await roster(juliet) == {}
    records = here.server.running.assembly.stores.records(GATEWAY)
    for space in ("login", "contact", "outbox", "here", "there", "spelling"):
        assert await records.everyone(space) == []


async def test_who_says_no_writes_the_roster_alone(here: Place) -> None:
    friend = await here.person("Juliet")
    await friend.line.ask("add", id="echo", name="Echo")
    await friend.close()
    juliet = await here.client()
    juliet.watch("proposal", f"{{jabber:client}}message/{{{ROSTERX}}}x")
    await register(juliet, "Juliet", manage=False)
    await approve(juliet, GATEWAY)
    proposal = await juliet.event("proposal")
    items = proposal.xml.findall(f"{{{ROSTERX}}}x/{{{ROSTERX}}}item")
    assert [(item.get("action"), item.get("jid")) for item in items] == [("add", f"echo@{GATEWAY}")]


async def test_what_was_said_from_elsewhere_is_ours_too(here: Place) -> None:
    juliet = await here.client()
    other = await here.client(resource="two")
    await other.client.plugin["xep_0280"].enable(timeout=WAIT)
    await join(juliet, "Juliet")
    elsewhere = {
        "on": "message", "from": "echo", "text": "from my telephone", "id": "own1", "own": True,
        "at": None,
    }  # fmt: skip
    here.far.world.tell("Juliet", elsewhere)
    carbon = await other.event("carbon_sent")
    inside = carbon["carbon_sent"]
    assert (inside["to"], inside["body"]) == (f"echo@{GATEWAY}", "from my telephone")
    assert here.far.world.sent == []  # it was there already


async def test_nothing_is_left_of_an_account_that_is_erased(here: Place) -> None:
    romeo = await here.person("romeo")
    juliet = await here.client()
    await join(juliet, "Juliet")
    await romeo.line.ask("add", id="Juliet", name="")
    await approve(juliet, f"romeo@{GATEWAY}")
    await romeo.happened("presence", lambda t: t["show"] == "")
    await here.server.running.assembly.accounts.delete(JID.parse("juliet@localhost"))
    await romeo.happened("presence", lambda t: t["show"] == "unavailable")
    records = here.server.running.assembly.stores.records(GATEWAY)
    for space in ("login", "contact", "spelling"):
        assert await records.everyone(space) == []
    nurse = await here.client("nurse")
    await register(nurse, "Juliet")  # the account there belongs to nobody here any more


async def test_passwords_are_not_tried_out(here: Place) -> None:
    await (await here.person("Juliet")).close()
    juliet = await here.client()
    conditions = []
    for number in range(11):
        with pytest.raises(IqError) as refused:
            await register(juliet, "Juliet", f"guess {number}")
        conditions.append(refused.value.iq["error"]["condition"])
    assert conditions == ["not-authorized"] * 10 + ["resource-constraint"]
