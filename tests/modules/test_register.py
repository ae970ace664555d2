"""XEP-0077: before login, after login, and every error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from jabberd.core.accounts import AccountHooks, AccountService
from jabberd.core.derive import DeriveBusy, Deriver
from jabberd.core.ports import AccountsApi, RegisterApi
from jabberd.modules import register
from jabberd.storage.api import Account, StorageFull
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, read_stanza
from tests.modules.host import RecordingSession, World

NS = "jabber:iq:register"
ALICE = JID.parse("alice@example.com")
LOCAL = ("127.0.0.1", True, False)
REMOTE = ("192.0.2.1", False, True)
PLAIN = ("192.0.2.1", False, False)


class House:
    """A host with accounts, and registration with these options."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deriver = Deriver(workers=1)

        def close(jid: JID, error: StreamError) -> None:
            for session in world.host.sessions(jid):
                session.close(error)

        self.accounts = AccountService(
            world.stores,
            self.deriver,
            {"example.com"},
            now=world.clock,
            iterations=1,
            hooks=AccountHooks(close=close),
        )
        world.host.registry.ports[AccountsApi] = self.accounts

    def open(self, options: register.Options) -> RegisterApi:
        """Load the module."""
        self.world.load("register", register.load(self.world.host, options))
        return self.world.host.require(RegisterApi)

    async def says(self, session: RecordingSession, kind: str, inner: str, to: str = "") -> str:
        """Send a request after login; the answer."""
        address = f" to='{to}'" if to else ""
        await self.world.says(
            session, f"<iq type='{kind}' id='r'{address}><query xmlns='{NS}'>{inner}</query></iq>"
        )
        (text,) = session.take()
        return text


@pytest_asyncio.fixture
async def house(world: World) -> AsyncIterator[House]:
    house = House(world)
    yield house
    house.deriver.close()


def _iq(kind: str, inner: str = "", to: str = "") -> Iq:
    address = f" to='{to}'" if to else ""
    text = f"<iq type='{kind}' id='reg1'{address}><query xmlns='{NS}'>{inner}</query></iq>"
    iq = read_stanza(text.encode())
    assert isinstance(iq, Iq)
    return iq


def _login(username: str = "bill", password: str = "Calliope") -> str:
    return f"<username>{username}</username><password>{password}</password>"


def _condition(iq: Iq) -> str:
    """Type, legacy code and condition of an error."""
    assert (iq.type, iq.id) == ("error", "reg1")
    (error,) = iq.payload()
    return f"{error.get('type')} {error.get('code')} {next(iter(error)).name}"


def _form(kind: str, **fields: str) -> str:
    values = "".join(f"<field var='{k}'><value>{v}</value></field>" for k, v in fields.items())
    return (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{kind}</value></field>{values}</x>"
    )


# Before login


@pytest.mark.asyncio
async def test_fields_then_registration(house: House) -> None:
    api = house.open(register.Options())
    fields = await api.before_login(_iq("get", to="example.com"), *LOCAL)
    assert (fields.type, fields.id, fields.to, str(fields.from_)) == (
        "result",
        "reg1",
        None,
        "example.com",
    )
    (query,) = fields.payload()
    assert [child.name for child in query] == ["instructions", "username", "password", "x"]
    done = await api.before_login(_iq("set", _login()), *LOCAL)
    assert done.to_bytes() == b"<iq type='result' id='reg1'/>"
    assert await house.accounts.check_password(JID.parse("bill@example.com"), "Calliope")


@pytest.mark.asyncio
async def test_registration_by_form(house: House) -> None:
    api = house.open(register.Options())
    form = _form(NS, username="Bill", password="Calliope")
    assert (await api.before_login(_iq("set", form), *LOCAL)).type == "result"
    # The name is prepared as every localpart is.
    assert await house.accounts.check_password(JID.parse("bill@example.com"), "Calliope")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("", "modify 406 not-acceptable"),
        ("<username>bill</username>", "modify 406 not-acceptable"),
        ("<username>bill</username><password/>", "modify 406 not-acceptable"),
        ("<username/><password>x</password>", "modify 406 not-acceptable"),
        (_login("bill@example.com"), "modify 406 not-acceptable"),
        (_login("a b"), "modify 406 not-acceptable"),
        (_login("x" * 1024), "modify 406 not-acceptable"),
        (_login("bill", "x" * 2000), "modify 406 not-acceptable"),
        (_login("bill", "\u0085"), "modify 406 not-acceptable"),
        (_login("alice"), "cancel 409 conflict"),
        (_login("ALICE"), "cancel 409 conflict"),
        ("<remove/>", "wait 400 unexpected-request"),
    ],
)
async def test_what_cannot_be_registered(house: House, inner: str, condition: str) -> None:
    api = house.open(register.Options())
    assert _condition(await api.before_login(_iq("set", inner), *LOCAL)) == condition
    assert await house.accounts.count("example.com") == 3


@pytest.mark.asyncio
async def test_malformed_and_misdirected_requests(house: House) -> None:
    api = house.open(register.Options())
    empty = Iq(type="set", id="reg1")
    assert _condition(await api.before_login(empty, *LOCAL)) == "modify 400 bad-request"
    elsewhere = _iq("set", _login(), to="other.example")
    assert _condition(await api.before_login(elsewhere, *LOCAL)) == "cancel 503 service-unavailable"


SERVICE = "cancel 503 service-unavailable"
INSECURE = "modify 401 not-authorized"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("enabled", "local", "remote", "plain"),
    [
        ("loopback", None, SERVICE, SERVICE),
        ("all", None, None, INSECURE),
        ("off", SERVICE, SERVICE, SERVICE),
    ],
)
async def test_who_may(
    house: House, enabled: str, local: str | None, remote: str | None, plain: str | None
) -> None:
    assert enabled in {"loopback", "all", "off"}
    options = {
        "loopback": register.Options(),
        "all": register.Options(enabled="all"),
        "off": register.Options(enabled="off"),
    }
    api = house.open(options[enabled])
    for number, (where, refused) in enumerate(((LOCAL, local), (REMOTE, remote), (PLAIN, plain))):
        assert api.offered(where[1], where[2]) is (refused is None)
        for iq in (_iq("get"), _iq("set", _login(f"new{number}"))):
            answer = await api.before_login(iq, *where)
            if refused is None:
                assert answer.type == "result"
            else:
                assert _condition(answer) == refused


@pytest.mark.asyncio
async def test_reserved_names_are_for_this_machine(house: House) -> None:
    api = house.open(register.Options(enabled="all"))
    refused = await api.before_login(_iq("set", _login("Admin")), *REMOTE)
    assert _condition(refused) == "modify 406 not-acceptable"
    assert (await api.before_login(_iq("set", _login("admin")), *LOCAL)).type == "result"


async def _try(api: RegisterApi, name: str, address: str) -> str:
    answer = await api.before_login(_iq("set", _login(name)), address, False, True)
    return answer.type if answer.type == "result" else _condition(answer)


TOO_MANY = "wait 406 not-acceptable"


@pytest.mark.asyncio
async def test_attempts_per_address(house: House) -> None:
    api = house.open(register.Options(enabled="all", per_address=2, period_seconds=600))
    assert await _try(api, "a1", "192.0.2.1") == "result"
    assert await _try(api, "a1", "192.0.2.1") == "cancel 409 conflict"  # an attempt as well
    assert await _try(api, "a2", "192.0.2.1") == TOO_MANY
    assert await _try(api, "a3", "::ffff:192.0.2.1") == TOO_MANY  # the same address
    assert await _try(api, "a4", "192.0.2.2") == "result"
    assert await _try(api, "a5", "2001:db8::1") == "result"
    assert await _try(api, "a6", "2001:db8::2:3:4:5") == "result"
    assert await _try(api, "a7", "2001:db8::ffff:3:4:5") == TOO_MANY  # the same /64
    assert await _try(api, "a8", "2001:db8:0:1::1") == "result"
    house.world.clock.pass_(599)
    assert await _try(api, "b1", "192.0.2.1") == TOO_MANY
    house.world.clock.pass_(1)
    assert await _try(api, "b2", "192.0.2.1") == "result"


@pytest.mark.asyncio
async def test_attempts_in_all(house: House) -> None:
    api = house.open(register.Options(enabled="all", per_host=3))
    for number in range(3):
        assert await _try(api, f"a{number}", f"192.0.2.{number}") == "result"
    assert await _try(api, "b", "192.0.2.100") == TOO_MANY
    house.world.clock.at -= 10_000  # set back: nobody waits for hours
    assert await _try(api, "b", "192.0.2.100") == "result"


@pytest.mark.asyncio
async def test_requests_that_lack_something_are_no_attempts(house: House) -> None:
    api = house.open(register.Options(enabled="all", per_address=1))
    for _ in range(3):
        assert (
            _condition(await api.before_login(_iq("set"), *REMOTE)) == "modify 406 not-acceptable"
        )
    assert await _try(api, "a", "192.0.2.1") == "result"


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [StorageFull("disk full"), DeriveBusy("busy")])
async def test_the_server_is_in_trouble(house: House, failure: Exception) -> None:
    class Broken(AccountService):
        async def add(self, jid: JID, password: str) -> Account:
            raise failure

    broken = Broken(house.world.stores, house.deriver, {"example.com"}, now=house.world.clock)
    house.world.host.registry.ports[AccountsApi] = broken
    api = house.open(register.Options())
    answer = await api.before_login(_iq("set", _login()), *LOCAL)
    assert _condition(answer) == "wait 500 resource-constraint"


# After login


@pytest_asyncio.fixture
async def alice(house: House) -> RecordingSession:
    house.open(register.Options())
    await house.accounts.set_password(ALICE, "theglobe")
    return await house.world.login("alice/desk")


def _error(text: str) -> str:
    (error,) = parse(text.encode())
    assert isinstance(error, Element)
    return f"{error.get('type')} {error.get('code')} {next(iter(error)).name}"


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["", "example.com", "alice@example.com"])
async def test_who_is_registered(house: House, alice: RecordingSession, to: str) -> None:
    text = await house.says(alice, "get", "", to)
    (query,) = parse(text.encode())
    assert isinstance(query, Element)
    assert [child.name for child in query] == [
        "registered",
        "instructions",
        "username",
        "password",
    ]
    assert query.child_text(NS, "username") == "alice"
    assert query.child_text(NS, "password") == ""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "inner",
    [
        _login("alice", "groundlings"),
        _login("Alice", "groundlings"),
        _form(
            f"{NS}:changepassword",
            username="alice@example.com",
            old_password="theglobe",
            password="groundlings",
        ),
    ],
)
async def test_change_password(house: House, alice: RecordingSession, inner: str) -> None:
    text = await house.says(alice, "set", inner, "example.com")
    assert text == "<iq from='example.com' to='alice@example.com/desk' type='result' id='r'/>"
    assert await house.accounts.check_password(ALICE, "groundlings")
    assert not await house.accounts.check_password(ALICE, "theglobe")
    assert not alice.ended


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("", "modify 400 bad-request"),
        ("<password>x</password>", "modify 400 bad-request"),
        ("<username>alice</username>", "modify 400 bad-request"),
        ("<username>alice</username><password/>", "modify 400 bad-request"),
        (_login("bob", "x"), "cancel 403 forbidden"),
        (_login("alice@other.example", "x"), "cancel 403 forbidden"),
        (_login("a b", "x"), "modify 406 not-acceptable"),
        (_login("alice", "x" * 2000), "modify 406 not-acceptable"),
        (
            _form(f"{NS}:changepassword", username="alice", old_password="no", password="x"),
            "modify 401 not-authorized",
        ),
    ],
)
async def test_passwords_that_are_not_changed(
    house: House, alice: RecordingSession, inner: str, condition: str
) -> None:
    text = await house.says(alice, "set", inner)
    assert _error(text) == condition
    assert "<query" not in text  # §3.3: the request is not returned
    assert await house.accounts.check_password(ALICE, "theglobe")


@pytest.mark.asyncio
async def test_no_password_over_an_open_line(house: House, alice: RecordingSession) -> None:
    alice.facts = replace(alice.facts, address="192.0.2.1", tls="")
    text = await house.says(alice, "set", _login("alice", "x"))
    assert _error(text) == "modify 401 not-authorized"
    alice.facts = replace(alice.facts, address="::1")
    assert "type='result'" in await house.says(alice, "set", _login("alice", "x"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "inner",
    ["<remove/>", _form(f"{NS}:cancel", username="alice@example.com", password="theglobe")],
)
async def test_cancel(house: House, alice: RecordingSession, inner: str) -> None:
    phone = await house.world.login("alice/phone")
    bob = await house.world.login("bob/home")
    text = await house.says(alice, "set", inner)
    # The result comes first, then the stream error (§3.2).
    assert text == "<iq to='alice@example.com/desk' type='result' id='r'/>"
    for session in (alice, phone):
        assert session.error is not None
        assert session.error.condition is StreamCondition.NOT_AUTHORIZED
    assert not bob.ended
    assert not await house.accounts.exists(ALICE)


class Ordered(RecordingSession):
    """Notes what happens, in order."""

    def close(self, error: StreamError | None = None) -> None:
        self.seen = len(self.inbox)
        super().close(error)


@pytest.mark.asyncio
async def test_the_result_is_written_before_the_stream_ends(house: House) -> None:
    house.open(register.Options())
    session = Ordered(JID.parse("alice@example.com/desk"))
    house.world.host.bind(session)
    await house.says(session, "set", "<remove/>")
    assert session.ended
    assert session.seen == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("<remove/><username>alice</username>", "modify 400 bad-request"),
        (
            _form(f"{NS}:cancel", username="alice", password="wrong"),
            "modify 401 not-authorized",
        ),
        (_form(f"{NS}:cancel", username="bob", password="theglobe"), "cancel 403 forbidden"),
    ],
)
async def test_what_does_not_cancel(
    house: House, alice: RecordingSession, inner: str, condition: str
) -> None:
    assert _error(await house.says(alice, "set", inner)) == condition
    assert await house.accounts.check_password(ALICE, "theglobe")
    assert not alice.ended


@pytest.mark.asyncio
async def test_switched_off(house: House) -> None:
    options = register.Options(enabled="off", change_password=False, cancel=False)
    house.open(options)
    assert register.load(house.world.host, options).features == []
    alice = await house.world.login("alice/desk")
    for inner in ("<remove/>", _login("alice", "x")):
        assert _error(await house.says(alice, "set", inner)) == "cancel 405 not-allowed"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "inner", "condition"),
    [
        ("get", "", "service-unavailable"),
        ("set", "<remove/>", "registration-required"),
        ("set", _login("alice", "x"), "registration-required"),
    ],
)
async def test_strangers_from_elsewhere(
    house: House, alice: RecordingSession, kind: str, inner: str, condition: str
) -> None:
    other = house.world.domain("other.example")
    await house.world.arrives(
        f"<iq from='alice@other.example/x' to='example.com' type='{kind}' id='r'>"
        f"<query xmlns='{NS}'>{inner}</query></iq>"
    )
    (text,) = other.take()
    assert f"<{condition} " in text
    assert await house.accounts.check_password(ALICE, "theglobe")


@pytest.mark.asyncio
async def test_an_account_that_is_gone_already(house: House, alice: RecordingSession) -> None:
    await house.world.stores.erase(ALICE.text)
    text = await house.says(alice, "set", _login("alice", "x"))
    assert _error(text) == "auth 407 registration-required"
