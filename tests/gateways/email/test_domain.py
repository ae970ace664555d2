"""Mode "domain" between a real Postfix and a real Dovecot."""

from __future__ import annotations

import asyncio
import email.policy
import itertools
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jabberd.gateways.email.domain import Domain
from jabberd.gateways.email.network import Options, load
from jabberd.gateways.events import Arrived, Event, Failed, File, Read, Text, Trouble
from jabberd.gateways.transport import Login, Network, NotDone, NotTaken, SignUpRefused
from tests.gateways.email.conftest import Mailbox
from tests.gateways.email.post_office import arrived, letter, said, send
from tests.gateways.email.servers import MAIL, OURS, REFUSED, Postfix
from tests.gateways.email.site import MemorySite
from tests.ports import free_port

pytestmark = pytest.mark.asyncio
ROMEO, JULIET = "romeo@jabber.example", "juliet@jabber.example"
_NUMBERS = itertools.count()


def text(body: str = "Hi", **more: Any) -> Text:
    return Text(f"t-{next(_NUMBERS)}", body, at=1_790_000_000.0, **more)


def options(postfix: Postfix, **more: Any) -> Options:
    facts: dict[str, Any] = {
        "mail_domain": OURS,
        "lmtp": f"127.0.0.1:{postfix.lmtp_port}",
        "relay": f"127.0.0.1:{postfix.port}",
        "relay_security": "none",
        "hold_seconds": 0,
        **more,
    }
    return Options(**facts)


@asynccontextmanager
async def started(site: MemorySite, options: Options) -> AsyncIterator[Network]:
    network = load(options)
    await network.start(site)
    for user, name in ((ROMEO, "Romeo"), (JULIET, "")):
        login = await network.sign_up(user, {"name": name}, {}, site)
        assert isinstance(login, Login)
        site.logins[user] = login
    try:
        yield network
    finally:
        await network.stop()


async def say(site: MemorySite, network: Network, to: str, what: Text, user: str = ROMEO) -> str:
    return await network.transport(user, site.logins[user], site).send_text(to, what)


async def test_a_mail_there_and_an_answer_back(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        site.logins[ROMEO] = Login(f"romeo@{OURS}", {"name": "Romeo Ö", "signature": "R."})
        first = await say(site, network, mailbox.address, text("Grüße\nund mehr"))
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert mail["From"] == f"Romeo Ö <romeo@{OURS}>"
        assert mail["Message-ID"] == first
        assert mail["Subject"] == "Grüße"
        assert mail["Auto-Submitted"] is None
        assert said(mail) == "Grüße\nund mehr\n\n-- \nR.\n"
        answer = letter(
            f"Nurse <{mailbox.address}>", f"romeo@{OURS}", "Re: Grüße",
            "Yes.\n\nOn Monday, Romeo wrote:\n> Grüße\n", In_Reply_To=first, References=first,
        )  # fmt: skip
        await asyncio.to_thread(send, postfix, mailbox.address, f"romeo@{OURS}", answer)
        event = await site.next(ROMEO, Arrived)
        assert (event.contact, event.name) == (mailbox.address, "Nurse")
        assert (event.body, event.subject, event.replies_to) == ("Yes.", "", first)
        assert event.id == answer["Message-ID"]
        assert event.thread
        assert event.solicited


async def test_our_unknown_user_bounces_to_the_sender(postfix: Postfix, mailbox: Mailbox) -> None:
    async with started(MemorySite(), options(postfix)):
        mail = letter(mailbox.address, f"nobody@{OURS}", "Hi", "Hi")
        await asyncio.to_thread(send, postfix, mailbox.address, f"nobody@{OURS}", mail)
        (bounce,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert bounce.get_content_type() == "multipart/report"
        assert b"Status: 5.1.1" in bounce.as_bytes()


async def test_their_unknown_user_fails_the_right_message(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        await say(site, network, f"unknown1@{MAIL}", text(), JULIET)
        id_ = await say(site, network, f"unknown2@{MAIL}", text())
        event = await site.next(ROMEO, Failed)
        assert (event.contact, event.id) == (f"unknown2@{MAIL}", id_)
        assert event.trouble is Trouble.NO_SUCH_CONTACT
        assert "unknown2" in event.text
        other = await site.next(JULIET, Failed)
        assert other.contact == f"unknown1@{MAIL}"


async def test_a_recipient_refused_at_once(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        id_ = await say(site, network, f"somebody@{REFUSED}", text())
        event = await site.next(ROMEO, Failed)
        assert (event.contact, event.id) == (f"somebody@{REFUSED}", id_)
        assert event.trouble is Trouble.FORBIDDEN
        assert "Not wanted" in event.text


async def test_addresses_that_are_not_ascii(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        mail = letter("Amme <ämme@größe.example>", f"romeo@{OURS}", "Grüße", "Gruß")
        await asyncio.to_thread(
            send, postfix, "ämme@größe.example", f"romeo@{OURS}", mail, "SMTPUTF8"
        )
        event = await site.next(ROMEO, Arrived)
        assert (event.contact, event.name) == ("ämme@größe.example", "Amme")
        # Dovecot takes no such addresses, and Postfix says so.
        await say(site, network, f"ämme@{MAIL}", text())
        assert (await site.next(ROMEO, Failed)).contact == f"ämme@{MAIL}"


async def test_two_recipients_with_two_verdicts(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()

    def refuse(user: str, _event: Event) -> None:
        if user == JULIET:
            raise NotTaken("she has blocked you", lasting=True)

    site.refuse = refuse
    async with started(site, options(postfix)):
        mail = letter(mailbox.address, f"romeo@{OURS}", "Both", "Hi")
        to = [f"romeo@{OURS}", f"juliet@{OURS}"]
        await asyncio.to_thread(send, postfix, mailbox.address, to, mail)
        assert (await site.next(ROMEO, Arrived)).subject == "Both"
        (bounce,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert b"she has blocked you" in bounce.as_bytes()
        assert b"juliet@" in bounce.as_bytes()
        assert b"Final-Recipient: rfc822; romeo@" not in bounce.as_bytes()


async def test_files_both_ways(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite({"https://up.example/1": b"\x89PNG\r\n", "https://up.example/2": b"x" * 900})
    async with started(site, options(postfix, attach_bytes=500)) as network:
        files = (
            File("https://up.example/1", "a ü.png", "image/png"),
            File("https://up.example/2", "large.bin", size=900),
            File("https://elsewhere.example/3"),
        )
        await say(site, network, mailbox.address, text("", files=files))
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        (attached,) = mail.iter_attachments()
        assert attached.get_filename() == "a ü.png"
        assert attached.get_content_type() == "image/png"
        assert attached.get_content() == b"\x89PNG\r\n"
        assert said(mail) == "large.bin: https://up.example/2\nhttps://elsewhere.example/3\n"

        mail = letter(mailbox.address, f"romeo@{OURS}", "File", "Here")
        data = bytes(range(256)) * 20_000  # 5 MB
        mail.add_attachment(data, maintype="application", subtype="pdf", filename="Ä.pdf")
        await asyncio.to_thread(send, postfix, mailbox.address, f"romeo@{OURS}", mail)
        event = await site.next(ROMEO, Arrived)
        (file,) = event.attachments
        assert (file.name, file.media_type, file.data) == ("Ä.pdf", "application/pdf", data)
        assert event.body == "Here"


async def test_a_mail_comes_later_where_nobody_takes_it(postfix: Postfix, mailbox: Mailbox) -> None:
    mail = letter(mailbox.address, f"romeo@{OURS}", "Later", "Hi")
    await asyncio.to_thread(send, postfix, mailbox.address, f"romeo@{OURS}", mail)
    site = MemorySite()
    refused = asyncio.Event()

    def refuse(_user: str, _event: Event) -> None:
        if not refused.is_set():
            refused.set()
            raise NotTaken("the server is down")

    site.refuse = refuse
    async with started(site, options(postfix)):
        event = await site.next(ROMEO, Arrived)
        assert event.subject == "Later"
        assert refused.is_set()


async def test_a_mail_that_is_too_large_is_refused_for_each(
    postfix: Postfix, mailbox: Mailbox
) -> None:
    site = MemorySite()
    async with started(site, options(postfix, mail_bytes=100_000)):
        mail = letter(mailbox.address, f"romeo@{OURS}", "Large", "x" * 70 + "\n" + "y\n" * 90_000)
        to = [f"romeo@{OURS}", f"juliet@{OURS}"]
        await asyncio.to_thread(send, postfix, mailbox.address, to, mail)
        (bounce,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert bounce.as_bytes().count(b"Action: failed") == 2


async def test_lines_written_soon_after_each_other_become_one_mail(
    postfix: Postfix, mailbox: Mailbox
) -> None:
    site = MemorySite()
    async with started(site, options(postfix, hold_seconds=600)) as network:
        first = await say(site, network, mailbox.address, text("One"))
        second = await say(site, network, mailbox.address, text("Tow"))
        await say(site, network, mailbox.address, text("Two", replaces=second))
        assert second != first
    site.ahead = 700.0
    async with started(site, options(postfix)) as network:
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert mail["Message-ID"] == first
        assert said(mail) == "One\nTwo\n"
        # An answer to either of them is one to the mail.
        await say(site, network, mailbox.address, text("Three", replies_to=second))
        found = await arrived(mailbox.server, mailbox.name, mailbox.password, 2)
        assert found[1]["In-Reply-To"] == first
        # One that is corrected too late is followed by its correction.
        await say(site, network, mailbox.address, text("Won", replaces=first))
        found = await arrived(mailbox.server, mailbox.name, mailbox.password, 3)
        assert found[2]["In-Reply-To"] == first
        assert said(found[2]) == "Correction:\nWon\n"


async def test_what_waits_survives_a_restart(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    what = text("After all")
    async with started(site, options(postfix, relay=f"127.0.0.1:{free_port()}")) as network:
        id_ = await say(site, network, mailbox.address, what)
        assert await say(site, network, mailbox.address, what) == id_
    site.ahead = 3_600.0
    async with started(site, options(postfix)) as network:
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert mail["Message-ID"] == id_
        # Handed over once more, it is known.
        assert await say(site, network, mailbox.address, what) == id_
        assert not [record for record in site.records.all.values() if record.space == "spool"]


async def test_what_waits_too_long_comes_back(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    nobody = options(postfix, relay=f"127.0.0.1:{free_port()}", retry_hours=1)
    async with started(site, nobody) as network:
        id_ = await say(site, network, mailbox.address, text())
    site.ahead = 4_000.0
    async with started(site, nobody):
        event = await site.next(ROMEO, Failed)
        assert (event.contact, event.id) == (mailbox.address, id_)
        assert event.trouble is Trouble.TIMEOUT


async def test_a_report_that_it_was_read(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        site.logins[ROMEO] = Login(f"romeo@{OURS}", {"receipts": "true"})
        id_ = await say(site, network, mailbox.address, text("Read?", receipt=True))
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        assert mail["Disposition-Notification-To"] == f"romeo@{OURS}"
        report = (
            f"From: {mailbox.address}\r\nTo: romeo@{OURS}\r\nSubject: Read\r\n"
            "Message-ID: <mdn1@mail.example>\r\nMIME-Version: 1.0\r\n"
            "Content-Type: multipart/report; report-type=disposition-notification;\r\n"
            ' boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nRead.\r\n'
            "--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
            f"Final-Recipient: rfc822;{mailbox.address}\r\nOriginal-Message-ID: {id_}\r\n"
            "Disposition: manual-action/MDN-sent-manually; displayed\r\n\r\n--b--\r\n"
        )
        await asyncio.to_thread(send, postfix, "", f"romeo@{OURS}", report.encode())
        assert await site.next(ROMEO, Read) == Read(mailbox.address, id_)


@pytest.mark.parametrize(
    ("sender", "more", "why"),
    [
        (f"romeo@{OURS}", {}, "5.7.1"),
        ("a@b.example", {"X_Spam_Flag": "YES"}, "5.7.1"),
        ("a@b.example", {"Authentication_Results": "mx.example; dmarc=fail"}, "5.7.26"),
        ("", {}, "5.1.7"),
    ],
)
async def test_mails_that_are_not_wanted(
    postfix: Postfix, sender: str, more: dict[str, str], why: str
) -> None:
    site = MemorySite()
    async with started(site, options(postfix, authserv_id="mx.example")) as network:
        mail = letter(sender or "nobody", f"romeo@{OURS}", "Hi", "Hi", **more)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await _lmtp(network, mail.as_bytes(policy=email.policy.SMTP), f"romeo@{OURS}")
        assert why.encode() in refused.value.smtp_error
    assert site.events == []


async def _lmtp(network: Network, mail: bytes, to: str, sender: str = "a@b.example") -> None:
    """Hand a mail over as the MTA does."""
    assert isinstance(network, Domain)
    port = int(network.listening["lmtp"].rpartition(":")[2])

    def hand_over() -> None:
        with smtplib.LMTP("127.0.0.1", port) as client:
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            code, said = client.rcpt(to)
            if code != 250:
                raise smtplib.SMTPRecipientsRefused({to: (code, said)})
            code, said = client.data(mail)
            if code != 250:
                raise smtplib.SMTPDataError(code, said)

    await asyncio.to_thread(hand_over)


async def test_recipients_that_are_refused(postfix: Postfix) -> None:
    site = MemorySite()
    expected = {
        f"nobody@{OURS}": (550, b"5.1.1"),
        "somebody@elsewhere.example": (550, b"5.7.1"),
        f"postmaster@{OURS}": (550, b"5.1.1"),
    }
    async with started(site, options(postfix)) as network:
        for to, (code, status) in expected.items():
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                await _lmtp(network, b"From: a@b.example\r\n\r\nHi\r\n", to)
            assert refused.value.recipients[to][0] == code
            assert status in refused.value.recipients[to][1]


async def test_addresses_that_lead_to_a_user(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix, postmaster="juliet")) as network:
        for number, (to, user) in enumerate(
            [
                (f"Romeo@{OURS.upper()}", ROMEO),
                (f"romeo+lists@{OURS}", ROMEO),
                (f"postmaster@{OURS}", JULIET),
            ]
        ):
            mail = f"From: a@b.example\r\nMessage-ID: <{number}@b.example>\r\n\r\nHi\r\n".encode()
            await _lmtp(network, mail, to)
            assert (await site.next(user, Arrived)).body == "Hi"


async def test_own_mails_that_come_back_end_there(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        await say(site, network, mailbox.address, text())
        (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await _lmtp(network, mail.as_bytes(), f"romeo@{OURS}")
        assert b"5.4.6" in refused.value.smtp_error
        looped = b"Received: by x\r\n" * 51 + b"From: a@b.example\r\n\r\nHi\r\n"
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await _lmtp(network, looped, f"romeo@{OURS}")
        assert b"5.4.6" in refused.value.smtp_error
    assert site.events == []


async def test_strangers_only_where_they_are_wanted(postfix: Postfix, mailbox: Mailbox) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        site.logins[ROMEO] = Login(f"romeo@{OURS}", {"strangers": "false"})
        mail = letter(mailbox.address, f"romeo@{OURS}", "Hi", "Hi").as_bytes()
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await _lmtp(network, mail, f"romeo@{OURS}")
        assert b"strangers" in refused.value.smtp_error
        await say(site, network, mailbox.address, text())
        await arrived(mailbox.server, mailbox.name, mailbox.password)
        await _lmtp(network, mail, f"romeo@{OURS}")
        assert (await site.next(ROMEO, Arrived)).contact == mailbox.address


async def test_too_many_mails(postfix: Postfix) -> None:
    site = MemorySite()
    limits = options(postfix, mails_per_hour=1, mails_per_minute=1)
    async with started(site, limits) as network:
        await say(site, network, f"a@{REFUSED}", text())
        with pytest.raises(NotDone) as refused:
            await say(site, network, f"b@{REFUSED}", text())
        assert refused.value.trouble is Trouble.NOT_ALLOWED
        await _lmtp(network, b"From: a@b.example\r\n\r\n1\r\n", f"romeo@{OURS}")
        with pytest.raises(smtplib.SMTPDataError) as later:
            await _lmtp(network, b"From: a@b.example\r\n\r\n2\r\n", f"romeo@{OURS}")
        assert later.value.smtp_code == 450
        await _lmtp(network, b"From: c@b.example\r\n\r\n3\r\n", f"romeo@{OURS}")


async def test_old_mails_are_forgotten(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        await _lmtp(network, b"From: a@b.example\r\n\r\nHi\r\n", f"romeo@{OURS}")
    assert any(record.owner == ROMEO for record in site.records.all.values())
    site.ahead = 181 * 86_400.0
    async with started(site, options(postfix)):
        async with asyncio.timeout(10):
            while any(r.owner == ROMEO for r in site.records.all.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_no_mail_to_ourselves(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        with pytest.raises(NotDone) as refused:
            await say(site, network, f"juliet@{OURS}", text())
        assert refused.value.trouble is Trouble.NOT_ALLOWED


async def test_signing_up(postfix: Postfix) -> None:
    site = MemorySite()
    async with started(site, options(postfix)) as network:
        again = await network.sign_up(ROMEO, {"name": "R"}, {}, site)
        assert again == Login(f"romeo@{OURS}", {"name": "R"})
        with pytest.raises(SignUpRefused, match="Somebody else"):
            await network.sign_up("romeo@other.example", {}, {}, site)
        with pytest.raises(SignUpRefused, match="operator"):
            await network.sign_up("postmaster@jabber.example", {}, {}, site)
        with pytest.raises(SignUpRefused, match="characters"):
            await network.sign_up(f"{'x' * 70}@jabber.example", {}, {}, site)
