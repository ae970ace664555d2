"""The configuration: what is accepted, and what is said about what is not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jabberd import config
from jabberd.config import Config, ConfigError, HostConfig, Listener
from jabberd.config.catalogue import Catalogue, ModuleSpec
from jabberd.core.module import Host, Module


@dataclass(frozen=True)
class OfflineOptions:
    """Kept messages.

    Attributes:
        keep: how many.
    """

    keep: int = 1000

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise ValueError("keep is 0 or more")


@dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


def _load(_: Host, __: Any) -> Module:
    return Module()


CATALOGUE = Catalogue(
    [
        ModuleSpec("offline", OfflineOptions, _load, (), "Kept messages."),
        ModuleSpec("ping", NoOptions, _load, (), "Pings."),
    ]
)


def load(
    tmp_path: Path,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    **rest: Any,
) -> Config:
    file = None
    if text is not None:
        file = tmp_path / "jabberd.toml"
        file.write_text(text)
    environ = {"XDG_DATA_HOME": str(tmp_path / "share"), **(environ or {})}
    return config.load(file, environ=environ, catalogue=CATALOGUE, **rest)


def problems(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_without_anything_it_is_a_server_for_localhost(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert list(loaded.host) == ["localhost"]
    assert loaded.data == tmp_path / "share" / "jabberd"
    assert loaded.storage == "sqlite:"
    assert [(one.host, one.port) for one in loaded.listen.c2s] == [
        ("127.0.0.1", 5222),
        ("::1", 5222),
    ]
    assert [one.port for one in loaded.listen.c2s_tls] == [5223, 5223]
    assert loaded.listen.component == ()
    assert [choice.name for choice in loaded.host["localhost"].modules] == ["offline", "ping"]


def test_the_data_folder_without_xdg_is_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.data_folder(environ={}) == tmp_path / ".local/share/jabberd"


def test_a_whole_file(tmp_path: Path) -> None:
    for name in ("fullchain.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("PEM")
    (tmp_path / "sms.secret").write_text("s3cret\n")
    loaded = load(
        tmp_path,
        """
        data = "./data"
        storage = "postgresql://jabber@localhost/jabber"
        [listen]
        c2s = [
            "[::]:5222",
            { address = "192.0.2.1:5222", legacy_auth = true, proxy = ["10.0.0.0/8"] },
        ]
        c2s_tls = []
        component = ["127.0.0.1:5347"]
        [limits]
        login_seconds = 30
        [log]
        level = "debug"
        [host."Example.ORG"]
        certificate = "fullchain.pem"
        key = "key.pem"
        client_ca = "ca.pem"
        mechanisms = ["SCRAM-SHA-256"]
        [host."example.org".modules]
        [component."sms.example.org"]
        secret_file = "sms.secret"
        """.replace("Example.ORG", "example.org"),
    )
    assert loaded.data == tmp_path / "data"
    assert loaded.listen.c2s == (  # `[::]` takes what others leave of its port
        Listener("192.0.2.1:5222", legacy_auth=True, proxy=("10.0.0.0/8",)),
        Listener("[::]:5222"),
    )
    assert loaded.listen.c2s_tls == ()
    assert loaded.limits.login_seconds == 30
    host = loaded.host["example.org"]
    assert host.certificate == tmp_path / "fullchain.pem"
    assert host.client_ca == tmp_path / "ca.pem"
    assert host.mechanisms == ("SCRAM-SHA-256",)
    assert loaded.component["sms.example.org"].secret == "s3cret"
    assert "s3cret" not in repr(loaded)


def test_host_names_are_prepared(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[host."EXAMPLE.org"]\nanonymous = true')
    assert loaded.host["example.org"].anonymous


def test_modules_have_options_and_can_be_switched_off(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        '[host."a.example".modules]\noffline = { keep = 5 }\nping = false\n'
        '[host."b.example".modules]\noffline = true',
    )
    (only,) = loaded.host["a.example"].modules
    assert (only.name, only.options) == ("offline", OfflineOptions(5))
    names = [choice.name for choice in loaded.host["b.example"].modules]
    assert names == ["offline", "ping"]


def test_a_module_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ModuleType("acme_jabber")
    foreign.Options = OfflineOptions  # type: ignore[attr-defined]  # made up here
    foreign.load = _load  # type: ignore[attr-defined]  # made up here
    monkeypatch.setitem(sys.modules, "acme_jabber", foreign)
    loaded = load(
        tmp_path, '[host."a.example".modules]\nacme = { module = "acme_jabber", keep = 2 }'
    )
    assert loaded.host["a.example"].modules[-1].name == "acme"
    assert loaded.host["a.example"].modules[-1].options == OfflineOptions(2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stroage = 'x'", "jabberd.toml:1: stroage: there is no such key; did you mean 'storage'?"),
        (
            "[limits]\n\nlogin_secs = 3",
            (
                "jabberd.toml:3: limits.login_secs: there is no such key; "
                "did you mean 'login_seconds'?"
            ),
        ),
        (
            "[log]\nzzz = 1",
            "jabberd.toml:2: log.zzz: there is no such key; known here: format, level",
        ),
        (
            "[limits]\ndepth = '9'",
            'jabberd.toml:2: limits.depth: found the text "9", expected a whole number',
        ),
        (
            "[limits]\ndepth = 1.5",
            "jabberd.toml:2: limits.depth: found the number 1.5, expected a whole number",
        ),
        (
            "[limits]\ndepth = true",
            "jabberd.toml:2: limits.depth: found true, expected a whole number",
        ),
        (
            "[limits]\ndepth = 0",
            "jabberd.toml:2: limits.depth: found the number 0, expected 8 or more",
        ),
        (
            "[limits]\nlogin_seconds = 4000",
            "jabberd.toml:2: limits.login_seconds: found the number 4000, expected 3600 or less",
        ),
        (
            "[passwords]\niterations = 4096",
            "jabberd.toml:2: passwords.iterations: found the number 4096, expected 10000 or more",
        ),
        (
            "[limits]\ndepth = 2026-01-01",
            "jabberd.toml:2: limits.depth: found a date, and no key is one",
        ),
        ("data = 5", "jabberd.toml:1: data: found the number 5, expected text in quotes"),
        (
            "[log]\nlevel = 'loud'",
            (
                'jabberd.toml:2: log.level: found the text "loud", '
                "expected one of 'debug', 'info', 'warning' or 'error'"
            ),
        ),
        (
            "[host.'a.example']\nanonymous = 'yes'",
            (
                'jabberd.toml:2: host."a.example".anonymous: '
                'found the text "yes", expected true or false'
            ),
        ),
        ("limits = 3", "jabberd.toml:1: limits: found the number 3, expected a table"),
        ("[listen]\nc2s = '[::]:1'", 'found the text "[::]:1", expected a list'),
        (
            "[listen]\nc2s = ['[::]:1', 7]",
            "jabberd.toml:2: listen.c2s[2]: found the number 7, expected a table",
        ),
        (
            "[listen]\nc2s = ['example.org:5222']",
            'jabberd.toml:2: listen.c2s[1]: expected an IP address and a port, as "[::1]:5222"',
        ),
        ("[listen]\nc2s = ['127.0.0.1']", "expected an IP address and a port"),
        ("[listen]\nc2s = ['127.0.0.1:70000']", "expected an IP address and a port"),
        ("[listen]\nc2s = ['::1:5222']", "expected an IP address and a port"),
        ("[listen]\nc2s = [{ legacy_auth = true }]", "listen.c2s[1]: missing: this key has no"),
        (
            "[listen]\nc2s = [{ address = '[::]:1', proxy = ['10.0.0.1/8'] }]",
            "expected an IP address or a network",
        ),
        (
            "[listen]\nc2s = ['[::]:5222']\nc2s_tls = ['[::]:5222']",
            "jabberd.toml:3: listen.c2s_tls: [::]:5222 is taken by listen.c2s already",
        ),
        (
            "[limits]\nstanza_bytes = 10000\nstanza_bytes_before_login = 20000",
            "limits: stanza_bytes_before_login is at most stanza_bytes",
        ),
        ("[host.'a@b']", 'host."a@b": expected a domain name: it has more than a domain'),
        ("[host.'a b']", 'jabberd.toml:1: host."a b": expected a domain name'),
        ("[host.'A.example']\n[host.'a.example']", "this is the same as 'a.example'"),
        ("[host]", "expected at least one host"),
        (
            "[host.a.modules]\nping = { often = true }",
            "host.a.modules.ping.often: there is no such key; there are no options here",
        ),
        ("storage = 'mysql://x'", 'storage is "sqlite:", "memory:" or a "postgresql://" URL'),
        ("[host.a]\nkey = 'k.pem'", "jabberd.toml:1: host.a: key without certificate"),
        ("[host.a]\nmechanisms = []", "nobody could log in"),
        (
            "[host.a]\nmechanisms = ['DIGEST-MD5']",
            (
                "jabberd.toml:2: host.a.mechanisms[1]: "
                "found the text \"DIGEST-MD5\", expected one of 'SCRAM-SHA-512'"
            ),
        ),
        (
            "[host.a]\ncertificate = 'gone.pem'",
            "jabberd.toml:2: host.a.certificate: cannot read gone.pem: No such file or directory",
        ),
        (
            "[host.a.modules]\nofline = true",
            (
                "jabberd.toml:2: host.a.modules.ofline: there is no such module; "
                "there are: offline, ping"
            ),
        ),
        (
            "[host.a.modules]\noffline = { keep = 'all' }",
            (
                'jabberd.toml:2: host.a.modules.offline.keep: found the text "all", '
                "expected a whole number"
            ),
        ),
        (
            "[host.a.modules.offline]\nkept = 1",
            (
                "jabberd.toml:2: host.a.modules.offline.kept: there is no such key; "
                "did you mean 'keep'?"
            ),
        ),
        ("[host.a.modules]\noffline = { keep = -1 }", "host.a.modules.offline: keep is 0 or more"),
        (
            "[host.a.modules]\noffline = 7",
            "host.a.modules.offline: found the number 7, expected a table, true or false",
        ),
        ("[host.a]\nmodules = 7", "host.a.modules: found the number 7, expected a table"),
        (
            "[host.a.modules]\nx = { module = 'no.such.thing' }",
            "host.a.modules.x: cannot import 'no.such.thing'",
        ),
        (
            "[host.a.modules]\nx = { module = 'json' }",
            "host.a.modules.x: json exports no `Options` and `load`",
        ),
        ("[component.a]", "component.a: expected exactly one of secret, secret_file"),
        ("[component.a]\nsecret = 'x'\nsecret_env = 'Y'", "expected exactly one of secret"),
        (
            "[component.a]\nsecret = 'x'",
            "listen.component: there are components, but no address for them",
        ),
        (
            "[listen]\ncomponent = ['[::1]:1']\n[component.a]\nsecret_env = 'NOPE'",
            "component.a.secret_env: the environment variable NOPE is not set",
        ),
        (
            "[listen]\ncomponent = ['[::1]:1']\n[component.a]\nsecret_file = 'gone'",
            "component.a.secret_file: cannot read gone: No such file or directory",
        ),
        (
            "[listen]\ncomponent = ['[::1]:1']\n[component.localhost]\nsecret = 'x'",
            "component.localhost: this is a host of this server",
        ),
        ("source = 1", "jabberd.toml:1: source: there is no such key"),
        ("limits = \n", "jabberd.toml:1: this is not TOML"),
        ("a = 1\na = 2\nb = 1", "jabberd.toml:2: this is not TOML"),
    ],
)
def test_what_is_said_about_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, text))


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "[limits]\ndepth = 'x'\n[log]\nlevel = 1\n[host.a.modules]\nfoo = true",
        {"JABBERD_LIMITS__NOPE": "1"},
    )
    assert [line.split(": ")[0] for line in sorted(found)] == [
        "JABBERD_LIMITS__NOPE",
        "jabberd.toml:2",
        "jabberd.toml:4",
        "jabberd.toml:6",
    ]


def test_lines_are_found_behind_texts_of_several_lines(tmp_path: Path) -> None:
    text = f'storage = """memory:{"x" * 500}\n{"A b" * 500}\ndepth = 1\n"""\n[limits]\n'
    (found,) = problems(tmp_path, f"{text}'login_seconds' = 'x'  # comment")
    assert found.startswith("jabberd.toml:6: limits.login_seconds: ")
    (found,) = problems(tmp_path, "limits = { depth = 'x' }\nlog.level = 'debug'")
    assert found.startswith("jabberd.toml:1: limits.depth: ")
    (found,) = problems(tmp_path, "\nlog.level = 'x'")
    assert found.startswith("jabberd.toml:2: log.level: ")


def test_texts_from_the_file_are_escaped(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, '"\\u001b[2J" = 1')
    assert "\x1b" not in found
    assert "\\x1b[2J" in found


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml: (cannot read|this is not UTF-8)"):
        config.load(file, environ={}, catalogue=CATALOGUE)


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "[log]\nlevel = 'error'\n[listen]\nc2s = ['[::]:1']",
        {
            "JABBERD_LOG__LEVEL": "debug",
            "JABBERD_LISTEN__C2S": "127.0.0.1:5222, [::1]:5222",
            "JABBERD_LIMITS__DEPTH": "20",
            "JABBERD_HOSTS": "a.example,b.example",
            "JABBERD_HOST__A.EXAMPLE__ANONYMOUS": "true",
            "JABBERD_STORAGE": "memory:",
        },
    )
    assert loaded.log.level == "debug"
    assert [one.address for one in loaded.listen.c2s] == ["127.0.0.1:5222", "[::1]:5222"]
    assert loaded.limits.depth == 20
    assert list(loaded.host) == ["a.example", "b.example"]
    assert loaded.host["a.example"].anonymous
    assert loaded.storage == "memory:"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("JABBERD_STORGE", "x", "there is no such key; did you mean JABBERD_STORAGE?"),
        ("JABBERD_LOG__LEVL", "x", "there is no such key; did you mean 'level'?"),
        ("JABBERD_A__B__C", "x", "there is no such key"),
        ("JABBERD_LOG", "x", "this is a table"),
        ("JABBERD_HOST__A__MODULES", "x", "this is a table"),
        ("JABBERD_LIMITS__DEPTH", "deep", 'limits.depth: found the text "deep", expected a whole'),
        ("JABBERD_LISTEN__C2S", "x", "listen.c2s[1]: expected an IP address and a port"),
    ],
)
def test_mistakes_in_the_environment(tmp_path: Path, name: str, value: str, expected: str) -> None:
    found = "\n".join(problems(tmp_path, "", {name: value}))
    assert name in found
    assert expected in found


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    # What Kubernetes sets for a service called "jabberd".
    load(tmp_path, environ={"JABBERD_SERVICE_HOST": "10.0.0.1", "JABBERD_PORT": "tcp://10.0.0.1:1"})


def test_the_command_line_is_strongest_for_the_data_folder(tmp_path: Path) -> None:
    environ = {"JABBERD_DATA": str(tmp_path / "env")}
    assert load(tmp_path, "data = 'file'", environ).data == tmp_path / "env"
    assert load(tmp_path, "data = 'file'").data == tmp_path / "file"
    given = tmp_path / "given"
    assert load(tmp_path, "data = 'file'", environ, data=given).data == given
    file = tmp_path / "jabberd.toml"
    assert config.data_folder(file, environ=environ) == tmp_path / "env"
    assert config.data_folder(file, environ={}) == tmp_path / "file"
    assert config.data_folder(file, data=given, environ=environ) == given


def test_a_program_can_set_everything(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        values={
            "data": tmp_path,
            "storage": "memory:",
            "listen": {"c2s": ["127.0.0.1:0"]},
            "host": {"a.example": {"modules": {"offline": {"keep": 1}}}},
        },
    )
    assert loaded.listen.c2s[0].port == 0
    assert loaded.host["a.example"].modules[0].options == OfflineOptions(1)


def test_storage_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:pw@h/d\n")
    loaded = load(tmp_path, "storage_file = 'url'")
    assert loaded.storage == "postgresql://u:pw@h/d"
    shown = {one.key: one.value for one in config.effective(loaded)}
    assert shown["storage"] == '"postgresql://u:(secret)@h/d"'


def test_origins(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "[log]\nlevel = 'error'\n[listen]\ncomponent = ['[::1]:1']\n"
        "[component.a]\nsecret = 'hush'\n[host.b.modules.offline]\nkeep = 3",
        {"JABBERD_LIMITS__DEPTH": "20"},
        data=tmp_path / "data",
    )
    shown = {one.key: (one.value, one.origin) for one in config.effective(loaded)}
    file = tmp_path / "jabberd.toml"
    assert shown["log.level"] == ('"error"', f"{file}:2")
    assert shown["listen.component"] == ('["[::1]:1"]', f"{file}:4")
    assert shown["limits.depth"] == ("20", "environment JABBERD_LIMITS__DEPTH")
    assert shown["limits.elements"] == ("10000", "default")
    assert shown["data"] == (f'"{tmp_path}/data"', "command line")
    assert shown["component.a.secret"] == ("(secret)", f"{file}:6")
    assert shown["host.b.modules.offline.keep"] == ("3", f"{file}:8")
    assert shown["host.b.modules.ping"] == ("true", "default")
    assert "hush" not in str(shown)


def test_what_a_reload_can_change(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("PEM")
    old = load(tmp_path, "[host.a]\n[host.b]\n")
    new = load(
        tmp_path,
        "storage = 'memory:'\n[limits]\ndepth = 9\n[log]\nlevel = 'debug'\nformat = 'json'\n"
        "[host.a]\ncertificate = 'c.pem'\n[host.b.modules.offline]\nkeep = 3\n",
    )
    changes = config.reloadable_changes(old, new)
    assert changes.live == ("limits.depth", "log.level", "host.a.certificate")
    assert changes.restart == ("storage", "log.format", "host.b.modules.offline.keep")
    assert config.reloadable_changes(new, new) == config.Changes((), ())


def test_a_new_host_needs_a_restart(tmp_path: Path) -> None:
    changes = config.reloadable_changes(load(tmp_path, "[host.a]"), load(tmp_path, "[host.b]"))
    assert changes.live == ()
    assert {"host.a.anonymous", "host.b.anonymous"} <= set(changes.restart)


def test_reload_reads_the_same_sources(tmp_path: Path) -> None:
    environ = {"XDG_DATA_HOME": str(tmp_path)}
    file = tmp_path / "jabberd.toml"
    file.write_text("[log]\nlevel = 'error'")
    first = config.load(file, data=tmp_path / "d", environ=environ)
    file.write_text("[log]\nlevel = 'debug'")
    second = config.reload(first, environ=environ)
    assert (second.log.level, second.data) == ("debug", tmp_path / "d")
    file.write_text("[log]\nlevel = 7")
    with pytest.raises(ConfigError):
        config.reload(first, environ=environ)


def test_every_module_of_the_package_can_be_loaded(tmp_path: Path) -> None:
    loaded = config.load(environ={"XDG_DATA_HOME": str(tmp_path)})
    assert "ping" in [choice.name for choice in loaded.host["localhost"].modules]


def test_a_host_without_options() -> None:
    assert HostConfig().mechanisms[-1] == "PLAIN"
