"""Options, and how users sign up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms.codes import Codes
from jabberd.gateways.sms.hub import Hub
from jabberd.gateways.sms.network import Options, SmsNetwork, load
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.options import backend_of
from jabberd.gateways.transport import (
    BadAddress,
    Capability,
    Login,
    Lost,
    NotDone,
    Question,
    SignUpRefused,
)
from tests.gateways.sms.far import Far, hub
from tests.gateways.sms.site import Place

JULIET = "juliet@example.org"
HERS = "+491700000001"


async def asked(codes: Codes, here: Place, made: Hub, user: str = JULIET) -> Question:
    question = await codes.sign_up(user, {"phone": "0170 0000001"}, {}, here, made)
    assert isinstance(question, Question)
    return question


def code(far: Far) -> str:
    found = re.match(r"(\d{6}) is your code for sms\.example\.", far.sent[-1].text)
    assert found is not None
    return found[1]


def wrong(far: Far) -> str:
    return f"{(int(code(far)) + 1) % 1_000_000:06}"


@pytest.mark.asyncio
async def test_a_number_is_proved_by_a_code() -> None:
    here, far = Place(), Far()
    made, codes = await hub(here, far), Codes(Numbers("DE"), "JABBER")
    question = await asked(codes, here, made)
    assert [one.var for one in question.form.fields] == ["code"]
    assert (far.sent[0].source, far.sent[0].destination) == ("JABBER", HERS)
    assert code(far) not in str(question.state)
    with pytest.raises(SignUpRefused, match="not the code") as caught:
        await codes.sign_up(JULIET, {"code": wrong(far)}, question.state, here, made)
    assert caught.value.wrong_password
    # Another user's answer is of no use.
    other = await codes.sign_up("x@example.org", {"code": code(far)}, question.state, here, made)
    assert isinstance(other, Question)
    spaced = f"{code(far)[:3]} {code(far)[3:]}"
    login = await codes.sign_up(JULIET, {"code": spaced}, question.state, here, made)
    assert login == Login(HERS, {"phone": HERS})
    again = await codes.sign_up(JULIET, {"code": code(far)}, question.state, here, made)
    assert isinstance(again, Question)  # a code is good once
    await made.stop()


@pytest.mark.asyncio
async def test_codes_cannot_be_guessed() -> None:
    here, far = Place(), Far()
    made, codes = await hub(here, far), Codes(Numbers("DE"), "")
    question = await asked(codes, here, made)
    for _ in range(4):
        with pytest.raises(SignUpRefused):
            await codes.sign_up(JULIET, {"code": wrong(far)}, question.state, here, made)
    anew = await codes.sign_up(JULIET, {"code": wrong(far)}, question.state, here, made)
    assert isinstance(anew, Question)
    assert ([one.var for one in anew.form.fields], anew.state) == (["phone"], {})
    late = await codes.sign_up(JULIET, {"code": code(far)}, question.state, here, made)
    assert isinstance(late, Question)
    await made.stop()


@pytest.mark.asyncio
async def test_codes_are_good_for_ten_minutes() -> None:
    here, far = Place(), Far()
    made, codes = await hub(here, far), Codes(Numbers("DE"), "")
    question = await asked(codes, here, made)
    here.clock += 601
    late = await codes.sign_up(JULIET, {"code": code(far)}, question.state, here, made)
    assert isinstance(late, Question)
    await made.stop()


@pytest.mark.asyncio
async def test_codes_are_not_for_flooding_anybody() -> None:
    here, far = Place(), Far()
    made, codes = await hub(here, far), Codes(Numbers("DE"), "")
    for number in range(3):
        await asked(codes, here, made, f"user{number}@example.org")
    with pytest.raises(SignUpRefused, match="this number"):
        await asked(codes, here, made, "user4@example.org")
    for number in range(2, 7):
        answers = {"phone": f"0170 000000{number}"}
        await codes.sign_up(JULIET, answers, {}, here, made)
    with pytest.raises(SignUpRefused, match="too many codes"):
        await codes.sign_up(JULIET, {"phone": "0170 0000008"}, {}, here, made)
    assert len(far.sent) == 8
    await made.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trouble", "passing"),
    [(Lost("away"), True), (NotDone(Trouble.NO_SUCH_CONTACT, "no such number"), False)],
)
async def test_codes_that_cannot_be_sent(trouble: Exception, passing: bool) -> None:
    here, far = Place(), Far(trouble=trouble)
    made, codes = await hub(here, far), Codes(Numbers("DE"), "")
    with pytest.raises(SignUpRefused) as caught:
        await asked(codes, here, made)
    assert caught.value.timeout is passing
    far.link.down("away")
    with pytest.raises(SignUpRefused) as caught:
        await asked(codes, here, made)
    assert caught.value.timeout
    await made.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("number", ["112", "hello", "0900 1234567", "DHL", "+1 212"])
async def test_numbers_that_get_no_code(number: str) -> None:
    here, far = Place(), Far()
    made, codes = await hub(here, far), Codes(Numbers("DE"), "")
    with pytest.raises(SignUpRefused):
        await codes.sign_up(JULIET, {"phone": number}, {}, here, made)
    assert far.sent == []
    await made.stop()


@pytest.mark.asyncio
async def test_users_of_a_shared_number_only_opt_in() -> None:
    given = Options(host="127.0.0.1", registration="shared", number="+491700000009")
    network = load(given)
    assert network.form.fields == ()
    assert await network.sign_up(JULIET, {}, {}, Place()) == Login(JULIET)


def test_what_the_network_says_of_itself() -> None:
    network = load(Options(host="127.0.0.1", country="DE"))
    assert isinstance(network, SmsNetwork)
    assert (network.title, network.identity) == ("SMS", "sms")
    assert network.capabilities == Capability.RECEIPTS | Capability.STANDING
    assert network.canonical(" 0171 1234567 ") == "+491711234567"
    assert network.canonical(network.example) == network.example
    with pytest.raises(BadAddress):
        network.canonical("112")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"backend": "http"},
        {"backend": "spool"},
        {"backend": "spool", "folder": Path("/"), "number": "+491700000001"},
        {"host": "x", "registration": "shared"},
        {"host": "x", "number": "a name that is long"},
        {"host": "x", "password": "a", "password_env": "B"},
        {"host": "x", "password": "123456789"},
        {"host": "x", "system_id": "1234567890123456"},
        {"host": "x", "rate": 0.0},
        {"host": "x", "max_parts": 0},
        {"host": "x", "country": "Germany"},
        {"host": "x", "countries": ("DE", "at")},
    ],
)
def test_options_that_do_not_do(given: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each has its own text
        Options(**given)  # type: ignore[arg-type]  # as the operator wrote it


@pytest.mark.asyncio
async def test_where_the_password_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    monkeypatch.setenv("SMS_PASSWORD", "123456789")
    with pytest.raises(OSError, match="longer than SMPP has"):
        backend_of(Options(host="x", password_env="SMS_PASSWORD"))
    with pytest.raises(OSError, match="SMS_OTHER is not set"):
        backend_of(Options(host="x", password_env="SMS_OTHER"))
    with pytest.raises(FileNotFoundError):
        backend_of(Options(host="x", password_file=file))
    file.write_text("hidden\n")
    for given in (Options(host="x", password="hidden"), Options(host="x", password_file=file)):
        made = backend_of(given)
        assert made._settings.target.bind.password == "hidden"  # type: ignore[attr-defined]  # of SMPP
        assert "hidden" not in repr(given) + repr(made._settings)  # type: ignore[attr-defined]  # the same
