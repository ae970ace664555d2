"""The whole server in a process of its own: first run, one owner, reload, stop, accounts."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jabberd.net.certs import make_self_signed
from tests.integration.process import Jabberd, Server
from tests.integration.wire import SASL, Wire, stanza_error, stream_error

CONFIG = """\
data = "data"
[listen]
c2s = ["127.0.0.1:0"]
c2s_tls = []
http = []
https = []
"""
ROSTER = "{jabber:iq:roster}"


@pytest.fixture
def jabberd(tmp_path: Path) -> Jabberd:
    (tmp_path / "jabberd.toml").write_text(CONFIG)
    return Jabberd(tmp_path)


@pytest.fixture
def start(jabberd: Jabberd) -> Iterator[Callable[..., Server]]:
    """Start servers that do not outlive the test; the configuration is `jabberd.toml`."""
    servers: list[Server] = []

    def start(*words: str) -> Server:
        servers.append(jabberd.start(*(words or ("run", "--config", "jabberd.toml"))))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


async def log_in(server: Server, jid: str, password: str) -> Wire:
    wire = await Wire.connect(server.host, server.port)
    account, _, resource = jid.partition("/")
    try:
        await wire.login(account, password, resource or "here")
    except BaseException:
        await wire.cut()
        raise
    return wire


def add(jabberd: Jabberd, account: str, password: str) -> None:
    config = ("--config", "jabberd.toml")
    text = jabberd.out("user", "add", account, *config, stdin=f"{password}\n")
    assert text == f"{account} is added.\n"


def ports_are_free(*ports: int) -> bool:
    for port in ports:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                with socket.socket(family) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
    return True


def test_from_nothing(tmp_path: Path, start: Callable[..., Server], jabberd: Jabberd) -> None:
    """No configuration, no folder: it makes everything, for its owner only."""
    (tmp_path / "jabberd.toml").unlink()
    # The ports of the default may be somebody else's on this machine; all else is default.
    for kind in ("C2S", "C2S_TLS", "HTTP", "HTTPS"):
        jabberd.environment[f"JABBERD_LISTEN__{kind}"] = "127.0.0.1:0"
    server = start("run")
    data = tmp_path / ".local" / "share" / "jabberd"
    lines = server.announced.splitlines()
    assert lines == [
        "Serving localhost",
        f"  clients (STARTTLS): 127.0.0.1:{server.port}",
        *lines[2:5],
        f"  data: {data}",
        "Next: make an account with `jabberd user add you@localhost`, then log in.",
    ]
    kinds = [line.partition(": 127.0.0.1:")[0].strip() for line in lines[2:5]]
    assert kinds == ["clients (TLS)", "HTTP", "HTTPS"]
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert (data / "jabberd.sqlite").exists()
    key = data / "certificates" / "localhost.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert jabberd.out("user", "add", "you@localhost", stdin="pw\n") == "you@localhost is added.\n"
    with socket.create_connection((server.host, server.port), 5):
        pass


def test_the_default_ports(tmp_path: Path, start: Callable[..., Server]) -> None:
    if not ports_are_free(5222, 5223, 5280, 5443):
        # Another server of this machine has them: then the message says so, and what to do.
        done = Jabberd(tmp_path).run("run")
        assert done.returncode == 1
        assert re.search("522|5280|5443", done.stderr)
        assert "the port is taken" in done.stderr
        return
    server = start("run")
    assert "clients (STARTTLS): 127.0.0.1:5222" in server.announced
    assert "clients (TLS): 127.0.0.1:5223" in server.announced
    assert "HTTP: 127.0.0.1:5280" in server.announced
    assert "HTTPS: 127.0.0.1:5443" in server.announced


def test_one_process_per_folder(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    server = start()
    second = jabberd.run("run", "--config", "jabberd.toml")
    assert (second.returncode, second.stdout) == (1, "")
    folder = jabberd.folder / "data"
    assert second.stderr == f"jabberd: the data folder {folder} is in use by process {server.pid}\n"
    server.signal(signal.SIGKILL)
    server.ended()
    # The system lets go of the lock: nothing has to be tidied up by hand.
    third = start()
    assert third.announced.startswith("Serving localhost\n")


def test_a_port_that_is_taken(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    server = start()
    other = jabberd.folder / "other.toml"
    other.write_text(f"data = 'other'\n[listen]\nc2s = ['127.0.0.1:{server.port}']\n")
    refused = jabberd.run("run", "--config", "other.toml")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"127.0.0.1:{server.port}" in refused.stderr
    assert "the port is taken by " in refused.stderr
    assert f"(process {server.pid})" in refused.stderr
    assert "listen.c2s" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.asyncio
async def test_reload(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    server = start()
    add(jabberd, "alice@localhost", "pw")
    config = jabberd.folder / "jabberd.toml"
    async with await log_in(server, "alice@localhost/a", "pw") as wire:
        config.write_text(CONFIG + "[log]\nlevel = 'debug'\n[limits]\nstanza_bytes = 20000\n")
        server.signal(signal.SIGHUP)
        log = server.logged("configuration reloaded")
        assert "log.level" in log
        assert "limits.stanza_bytes" in log
        # Broken: the old state goes on, and it says why.
        config.write_text(CONFIG + "[log]\nlevle = 'info'\n")
        server.signal(signal.SIGHUP)
        log = server.logged("reload refused")
        assert "jabberd.toml:8: log.levle: there is no such key; did you mean 'level'?" in log
        await wire.ping("localhost")
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.open("localhost")
        await wire.features()
        await wire.start_tls("localhost")
        await wire.features()
        await wire.plain("alice", "pw")
        await wire.open("localhost")
        limits = (await wire.features()).find("{urn:xmpp:stream-limits:0}limits")
        assert limits is not None
        assert [child.text for child in limits] == ["20000"]
    # The level of the good one is still in force.
    async with await log_in(server, "alice@localhost/a", "pw"):
        jabberd.out("user", "passwd", "alice@localhost", "--data", "data", stdin="new\n")
    server.logged('"stream closed".*"level": "debug"')
    # The same by command, which answers itself.
    refused = jabberd.run("reload", "--data", "data")
    assert refused.returncode == 1
    assert "the old configuration goes on: " in refused.stderr
    config.write_text(CONFIG)
    assert "Certificates were read again." in jabberd.out("reload", "--data", "data")


@pytest.mark.asyncio
async def test_certificates_are_read_again(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    folder = jabberd.folder

    def renew() -> str:
        for name in ("cert.pem", "key.pem"):
            (folder / name).unlink(missing_ok=True)
        make_self_signed(["localhost"], folder / "cert.pem", folder / "key.pem", now=time.time())
        pem = (folder / "cert.pem").read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

    async def shown() -> str:
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.open("localhost")
            await wire.features()
            tls = await wire.start_tls("localhost")
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            return hashlib.sha256(der).hexdigest()

    first = renew()
    host = "[host.localhost]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n"
    (folder / "jabberd.toml").write_text(CONFIG + host)
    server = start()
    assert await shown() == first
    second = renew()
    assert await shown() == first
    jabberd.out("reload", "--data", "data")
    assert await shown() == second != first
    (folder / "cert.pem").write_text("no certificate\n")
    refused = jabberd.run("reload", "--data", "data")
    assert refused.returncode == 1
    assert "cert.pem" in refused.stderr
    assert await shown() == second


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
async def test_stopping_tells_everybody(
    jabberd: Jabberd, start: Callable[..., Server], how: str
) -> None:
    server = start()
    add(jabberd, "alice@localhost", "pw")
    async with (
        await log_in(server, "alice@localhost", "pw") as wire,
        await Wire.connect(server.host, server.port) as stranger,
    ):
        await stranger.open("localhost")
        await stranger.features()
        if how == "stop":
            assert jabberd.out("stop", "--data", "data") == "The server is shutting down.\n"
        else:
            server.signal(signal.Signals[how])
        for one in (wire, stranger):
            assert stream_error(await one.next()) == "system-shutdown"
            assert (await one.ended()).clean
    assert server.ended() == 0
    stopped = jabberd.run("stop", "--data", "data")
    assert stopped.returncode == 1
    assert "needs a running server" in stopped.stderr


@pytest.mark.asyncio
async def test_accounts_while_it_runs(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    server = start()
    data = ("--data", "data")
    add(jabberd, "alice@localhost", "one")
    wire = await log_in(server, "alice@localhost/desk", "one")
    rows = json.loads(jabberd.out("sessions", *data, "--json"))
    assert [row["session"] for row in rows] == ["alice@localhost/desk"]
    assert rows[0]["tls"].startswith("TLSv1.")
    assert rows[0]["login"] == "PLAIN"
    # A new password ends the session and is the only one that counts.
    jabberd.out("user", "passwd", "alice@localhost", *data, stdin="two\n")
    assert (await wire.ended()).clean
    await wire.cut()
    with pytest.raises(AssertionError, match="not-authorized"):
        await log_in(server, "alice@localhost", "one")
    wire = await log_in(server, "alice@localhost/desk", "two")
    # Disabled: told so, and not let in again.
    told = jabberd.out("user", "disable", "alice@localhost", "--reason", "moved", *data)
    assert told == "alice@localhost may not log in any more.\n"
    assert (await wire.ended()).clean
    await wire.cut()
    async with await Wire.connect(server.host, server.port) as refused:
        await refused.open("localhost")
        await refused.features()
        await refused.start_tls("localhost")
        await refused.features()
        failure = await refused.plain("alice", "two")
        assert failure.find(f"{SASL}account-disabled") is not None
    assert "disabled: moved" in jabberd.out("user", "show", "alice@localhost", *data)
    jabberd.out("user", "enable", "alice@localhost", *data)
    wire = await log_in(server, "alice@localhost/desk", "two")
    # Deleted: gone, with everything.
    jabberd.out("user", "delete", "alice@localhost", *data)
    assert (await wire.ended()).clean
    await wire.cut()
    assert jabberd.run("user", "show", "alice@localhost", *data).returncode == 1
    with pytest.raises(AssertionError, match="not-authorized"):
        await log_in(server, "alice@localhost", "two")


def test_accounts_while_it_does_not_run(jabberd: Jabberd) -> None:
    data = ("--data", "data")
    jabberd.out("user", "add", "bob@localhost", *data, stdin="pw\n")
    jabberd.out("user", "passwd", "bob@localhost", *data, stdin="pw2\n")
    jabberd.out("user", "disable", "bob@localhost", "--reason", "away", *data)
    assert "disabled: away" in jabberd.out("user", "show", "bob@localhost", *data)
    jabberd.out("user", "enable", "bob@localhost", *data)
    assert "bob@localhost\t" in jabberd.out("user", "list", *data)
    jabberd.out("user", "delete", "bob@localhost", *data)
    assert "bob" not in jabberd.out("user", "list", *data)


@pytest.mark.asyncio
async def test_trace(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    server = start()
    add(jabberd, "alice@localhost", "pw")
    add(jabberd, "bob@localhost", "pw")
    async with await log_in(server, "alice@localhost/desk", "pw") as wire:
        await wire.send(
            "<message to='bob@localhost' type='chat' id='m1'><body>a secret</body></message>"
            "<message to='nobody@localhost' type='chat' id='m2'><body>x</body></message>"
            "<message to='bob@localhost' type='headline' id='m3'><body>x</body></message>"
            "<message to='x@example.org' id='&#x1b;[2Jm4'><body>x</body></message>"
            .replace("&#x1b;", "\u202e")
        )  # fmt: skip
        for name in ("m2", "\u202e[2Jm4"):
            assert (await wire.next()).get("id") == name
    text = jabberd.out("trace", "alice@localhost", "--data", "data", "--json")
    endings = {row["id"]: (row["to"], row["ending"]) for row in json.loads(text)}
    assert endings["m1"] == ("bob@localhost", "stored by offline in phase fallback")
    assert endings["m2"][1].startswith(
        "returned by delivery (no such account): service-unavailable"
    )
    assert endings["m3"][1].startswith("dropped by delivery: headline")
    assert endings["\\u202e[2Jm4"][1].startswith("returned by router: remote-server-not-found")
    assert "secret" not in text
    lines = jabberd.out("trace", "alice@localhost", "--to", "bob@localhost", "--data", "data")
    assert [line.split("\t")[2] for line in lines.splitlines()] == ["id", "m1", "m3"]
    assert "m1" in jabberd.out("trace", "bob@localhost", "--data", "data")


def test_configuration(jabberd: Jabberd) -> None:
    config = jabberd.folder / "jabberd.toml"
    fine = jabberd.out("config", "check", "--config", "jabberd.toml")
    assert fine == "jabberd.toml is fine: it serves localhost.\n"
    jabberd.environment["JABBERD_LOG__LEVEL"] = "warning"
    shown = json.loads(jabberd.out("config", "show", "--config", "jabberd.toml", "--json"))
    rows = {row["key"]: (row["value"], row["origin"]) for row in shown}
    assert rows["log.level"] == ('"warning"', "environment JABBERD_LOG__LEVEL")
    assert rows["listen.c2s_tls"] == ("[]", "jabberd.toml:4")
    assert rows["limits.login_seconds"] == ("60", "default")
    config.write_text(CONFIG.replace("c2s_tls", "c2s_tsl"))
    for words in (("config", "check"), ("config", "show"), ("run",)):
        wrong = jabberd.run(*words, "--config", "jabberd.toml")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "jabberd.toml:4: listen.c2s_tsl: there is no such key" in wrong.stderr
    assert not (jabberd.folder / "data").exists()


@pytest.mark.asyncio
async def test_several_hosts(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    (jabberd.folder / "jabberd.toml").write_text(
        CONFIG + "[host.'example.org']\n[host.'bücher.example']\n"
    )
    server = start()
    assert server.announced.startswith("Serving example.org, bücher.example\n")
    # The same name on two hosts is two people.
    add(jabberd, "alice@example.org", "one")
    add(jabberd, "alice@bücher.example", "two")
    with pytest.raises(AssertionError, match="not-authorized"):
        await log_in(server, "alice@example.org", "two")
    async with (
        await log_in(server, "alice@example.org/a", "one") as one,
        await log_in(server, "alice@bücher.example/b", "two") as two,
    ):
        await two.ping("bücher.example")
        await one.send("<message to='alice@bücher.example/b' id='m'><body>across</body></message>")
        message = await two.next()
        assert message.get("from") == "alice@example.org/a"
        assert message.findtext("{jabber:client}body") == "across"
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.open("localhost")
        assert stream_error(await wire.next()) == "host-unknown"


@pytest.mark.asyncio
async def test_what_lasts(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    """Accounts, rosters and messages survive a restart, and a crash after the answer."""
    server = start()
    add(jabberd, "alice@localhost", "pw")
    add(jabberd, "bob@localhost", "pw")
    async with await log_in(server, "alice@localhost/a", "pw") as wire:
        answer = await wire.ask(
            "<iq type='set' id='1'><query xmlns='jabber:iq:roster'>"
            "<item jid='bob@localhost' name='Bob'><group>G</group></item></query></iq>"
        )
        assert answer.get("type") == "result"
        await wire.send("<message to='bob@localhost' type='chat'><body>later</body></message>")
        await wire.ping("localhost")
    server.signal(signal.SIGKILL)
    server.ended()
    server = start()
    async with await log_in(server, "alice@localhost/a", "pw") as wire:
        roster = await wire.ask("<iq type='get' id='2'><query xmlns='jabber:iq:roster'/></iq>")
        (item,) = roster.iter(f"{ROSTER}item")
        assert (item.get("jid"), item.get("name")) == ("bob@localhost", "Bob")
        assert item.findtext(f"{ROSTER}group") == "G"
    async with await log_in(server, "bob@localhost/b", "pw") as wire:
        await wire.send("<presence/>")
        bodies = {(await wire.next()).findtext("{jabber:client}body") for _ in range(2)}
        assert bodies == {None, "later"}


@pytest.mark.asyncio
async def test_registration_from_loopback(start: Callable[..., Server]) -> None:
    server = start()
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.open("localhost")
        features = await wire.features()
        assert features.find("{http://jabber.org/features/iq-register}register") is not None
        form = await wire.ask("<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>")
        assert form.find("{jabber:iq:register}query/{jabber:iq:register}username") is not None
        for name, expected in (("2", "result"), ("3", "error")):
            answer = await wire.ask(
                f"<iq type='set' id='{name}'><query xmlns='jabber:iq:register'>"
                "<username>carol</username><password>pw</password></query></iq>"
            )
            assert answer.get("type") == expected
        assert stanza_error(answer) == ("cancel", "conflict")
    async with await log_in(server, "carol@localhost/x", "pw") as wire:
        await wire.ping("localhost")


@pytest.mark.asyncio
async def test_the_demo(jabberd: Jabberd, start: Callable[..., Server]) -> None:
    if not ports_are_free(5222, 5223, 5280, 5443):
        refused = jabberd.run("demo")
        assert refused.returncode == 1
        assert "the port is taken" in refused.stderr
        return
    server = start("demo")
    text = server.printed("Ctrl-C")
    assert "alice@localhost, password alice" in text
    data = Path(text.partition("data: ")[2].partition("\n")[0])
    assert data.exists()  # noqa: ASYNC240 -- nothing else runs in this loop
    async with await log_in(server, "alice@localhost/a", "alice") as wire:
        roster = await wire.ask("<iq type='get' id='2'><query xmlns='jabber:iq:roster'/></iq>")
        assert {(i.get("jid"), i.get("subscription")) for i in roster.iter(f"{ROSTER}item")} == {
            ("bob@localhost", "both"),
            ("carol@localhost", "both"),
        }
    server.signal(signal.SIGINT)
    assert server.ended() == 0
    assert not data.exists()  # noqa: ASYNC240 -- nothing else runs in this loop
