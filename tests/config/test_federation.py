"""What the configuration says about other servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jabberd import config
from jabberd.config import Federation, Listener, PeerConfig, parse_route, remarks

from .test_load import load, problems


def test_without_listeners_for_servers_it_talks_to_none(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[listen]\nc2s_tls = []")
    assert not loaded.federates
    assert list(remarks(loaded)) == []


@pytest.mark.parametrize("kind", ["s2s", "s2s_tls"])
def test_a_listener_for_servers_switches_it_on(tmp_path: Path, kind: str) -> None:
    loaded = load(tmp_path, f"[listen]\n{kind} = ['[::]:5269', '192.0.2.1:5269']")
    assert loaded.federates
    assert getattr(loaded.listen, kind) == (Listener("192.0.2.1:5269"), Listener("[::]:5269"))
    assert list(remarks(loaded)) == []


@pytest.mark.parametrize("text", ["federation = false", "[federation]\nenabled = false"])
def test_it_can_be_switched_off(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, f"{text}\n[listen]\ns2s = ['[::]:5269']")
    assert not loaded.federates


@pytest.mark.parametrize("text", ["federation = true", "[federation]\nenabled = true"])
def test_it_can_be_on_without_listeners(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, text)
    assert loaded.federates
    (remark,) = remarks(loaded)
    assert "listen.s2s" in remark


def test_plain_text_from_servers_is_remarked(tmp_path: Path) -> None:
    text = "[listen]\ns2s = [{ address = '[::]:5269', starttls_required = false }]"
    (remark,) = remarks(load(tmp_path, text))
    assert "without TLS at [::]:5269" in remark
    assert list(remarks(load(tmp_path, f"federation = false\n{text}"))) == []


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    loaded = load(
        tmp_path,
        """
        [federation]
        policy = "required"
        allow = ["EXAMPLE.net", "*.MÜNCHEN.example"]
        deny = ["spam.example.net"]
        authorities = "ca.pem"
        nameservers = ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353"]
        trusted_dns = true
        networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"]
        queue_seconds = 60
        [route]
        "Example.NET" = "10.0.0.5:5269"
        [peer."EXAMPLE.net"]
        policy = "dialback"
        [peer."other.example"]
        policy = "off"
        [host."example.org"]
        federation = "off"
        """,
    )
    federation = loaded.federation
    assert federation.policy == "required"
    assert federation.allow == ("example.net", "*.münchen.example")
    assert federation.deny == ("spam.example.net",)
    assert federation.authorities == tmp_path / "ca.pem"
    assert federation.nameservers == ("127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353")
    assert federation.trusted_dns
    assert federation.networks == ("10.0.0.0/8", "fd00::/8", "127.0.0.1")
    assert federation.queue_seconds == 60
    assert loaded.route == {"example.net": "10.0.0.5:5269"}
    assert loaded.peer == {
        "example.net": PeerConfig("dialback"),
        "other.example": PeerConfig("off"),
    }
    assert loaded.host["example.org"].federation == "off"


def test_the_environment_can_set_all_of_it(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "federation = false",
        {
            "JABBERD_FEDERATION": "true",
            "JABBERD_FEDERATION__ALLOW": "example.net, *.example.net",
            "JABBERD_ROUTE__EXAMPLE.NET": "tls:10.0.0.5:5270",
            "JABBERD_PEER__EXAMPLE.NET__POLICY": "required",
            "JABBERD_LISTEN__S2S": "[::]:5269",
        },
    )
    assert loaded.federation == Federation(True, allow=("example.net", "*.example.net"))
    assert loaded.route == {"example.net": "tls:10.0.0.5:5270"}
    assert loaded.peer == {"example.net": PeerConfig("required")}
    assert loaded.listen.s2s == (Listener("[::]:5269"),)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.5:5269", ("10.0.0.5", 5269, False)),
        ("[2001:DB8::5]:5269", ("2001:db8::5", 5269, False)),
        ("Xmpp.example.net:5269", ("xmpp.example.net", 5269, False)),
        ("xn--mnchen-3ya.example:1", ("xn--mnchen-3ya.example", 1, False)),
        ("tls:[::1]:5270", ("::1", 5270, True)),
        ("tls:xmpp.example.net:65535", ("xmpp.example.net", 65535, True)),
    ],
)
def test_routes(text: str, place: tuple[str, int, bool]) -> None:
    assert parse_route(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "", ":5269", "10.0.0.5", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:x",
        "10.0.0.300:5269", "::1:5269", "[10.0.0.5]:5269", "[::1]5269", "a b.example:5269",
        "a..example:5269", "u@a.example:5269", "tcp:a.example:5269", "tls:tls:a.example:5269",
    ],
)  # fmt: skip
def test_what_is_no_route(text: str) -> None:
    with pytest.raises(ValueError, match="expected a host and a port"):
        parse_route(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[federation]\nenable = true",
            "jabberd.toml:2: federation.enable: there is no such key; did you mean 'enabled'?",
        ),
        (
            "federation = 'no'",
            'jabberd.toml:1: federation: found the text "no", expected a table',
        ),
        (
            "[federation]\npolicy = 'off'",
            (
                'jabberd.toml:2: federation.policy: found the text "off", '
                "expected one of 'required' or 'dialback'"
            ),
        ),
        (
            "[federation]\nallow = [\n  'example.net',\n  '*.a b',\n]",
            (
                'jabberd.toml:2: federation.allow[2]: found the text "*.a b", '
                'expected "example.net" or "*.example.net"'
            ),
        ),
        ("[federation]\ndeny = ['*']", "federation.deny[1]: found the text"),
        ("[federation]\ndeny = ['*.']", "federation.deny[1]: found the text"),
        ("[federation]\ndeny = ['u@a.example']", "it has more than a domain"),
        ("[federation]\ndeny = 'a.example'", "federation.deny: found the text"),
        (
            "[federation]\nnameservers = ['dns.example']",
            'federation.nameservers[1]: found the text "dns.example", expected an IP address',
        ),
        (
            "[federation]\nnetworks = ['::1', '10.0.0.1/8']",
            'federation.networks[2]: found the text "10.0.0.1/8", expected an IP address or a',
        ),
        (
            "[federation]\nauthorities = 'gone.pem'",
            "jabberd.toml:2: federation.authorities: cannot read gone.pem: No such file",
        ),
        ("[federation]\nqueue_seconds = 0", "expected 10 or more"),
        (
            "[limits]\nstanza_bytes = 400000\n[federation]\nqueue_bytes = 300000",
            "jabberd.toml:4: federation.queue_bytes: expected limits.stanza_bytes or more",
        ),
        (
            "[route]\n'example.net' = '10.0.0.5'",
            (
                'jabberd.toml:2: route."example.net": found the text "10.0.0.5", '
                "expected a host and a port"
            ),
        ),
        ("[route]\n'a b' = '10.0.0.5:1'", 'jabberd.toml:2: route."a b": expected a domain name'),
        (
            "[route]\n'A.example' = '[::1]:1'\n'a.example' = '[::1]:1'",
            "route.\"A.example\": this is the same as 'a.example'",
        ),
        ("[route]\nlocalhost = '[::1]:1'", "route.localhost: this is a domain of this server"),
        ("[peer.localhost]\nplain = true", "peer.localhost: this is a domain of this server"),
        (
            "[listen]\ncomponent = ['[::1]:1']\n[component.a]\nsecret = 'x'\n[peer.a]",
            "peer.a: this is a domain of this server",
        ),
        (
            "[peer.'a.example']\npolicy = 'never'",
            'jabberd.toml:2: peer."a.example".policy: found the text "never"',
        ),
        ("[peer.'*.a.example']\npolicy = 'off'", 'peer."*.a.example": expected a domain name'),
        (
            "[peer.'a.example']\npolicy = 'required'\nplain = true",
            'peer."a.example": plain with policy = "required"',
        ),
        (
            "[federation]\npolicy = 'required'\n[peer.'a.example']\nplain = true",
            'jabberd.toml:4: peer."a.example".plain: federation.policy is "required"',
        ),
        (
            "[federation]\ndeny = ['*.example']\n[peer.'a.example']\npolicy = 'required'",
            'jabberd.toml:4: peer."a.example".policy: federation.deny has this server',
        ),
        (
            "[federation]\nallow = ['*.a.example']\n[peer.'a.example']\npolicy = 'dialback'",
            'jabberd.toml:4: peer."a.example".policy: federation.allow does not have this server',
        ),
        ("[host.a]\nfederation = 'on'", "host.a.federation: found the text"),
        (
            "[listen]\ns2s = ['[::]:5222']\nc2s = ['[::]:5222']",
            "listen.s2s: [::]:5222 is taken by listen.c2s already",
        ),
        (
            "[listen]\ns2s = [{ address = '[::]:5269', legacy_auth = false }]",
            "jabberd.toml:2: listen.s2s: [::]:5269 is for servers, and legacy_auth is for clients",
        ),
    ],
)
def test_what_is_said_about_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(problems(tmp_path, text))


def test_mistakes_in_the_environment(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "", {"JABBERD_FEDERATION": "maybe"})
    assert found == (
        "environment JABBERD_FEDERATION: federation.enabled: "
        'found the text "maybe", expected true or false'
    )


def test_what_does_not_contradict(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "[federation]\npolicy = 'required'\nallow = ['*.example']\ndeny = ['b.example']\n"
        "[peer.'a.example']\npolicy = 'dialback'\nplain = true\n"
        "[peer.'b.example']\npolicy = 'off'\n[peer.'c.test']\npolicy = 'off'\n",
    )
    assert loaded.peer["a.example"].plain


def test_all_of_it_is_shown_with_its_origin(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "federation = true\n[route]\n'EXAMPLE.net' = '10.0.0.5:5269'\n"
        "[peer.'example.net']\npolicy = 'required'",
        {"JABBERD_FEDERATION__DENY": "a.example"},
    )
    shown = {one.key: (one.value, one.origin) for one in config.effective(loaded)}
    file = tmp_path / "jabberd.toml"
    assert shown["federation.enabled"] == ("true", f"{file}:1")
    assert shown["federation.deny"] == ('["a.example"]', "environment JABBERD_FEDERATION__DENY")
    assert shown["federation.policy"] == ('"dialback"', "default")
    assert shown['route."example.net"'] == ('"10.0.0.5:5269"', f"{file}:3")
    assert shown['peer."example.net".policy'] == ('"required"', f"{file}:5")
    assert shown["host.localhost.federation"] == ("-", "default")


def test_what_a_reload_can_change(tmp_path: Path) -> None:
    old = load(tmp_path, "federation = true\n[route]\n'a.example' = '10.0.0.5:1'")
    new = load(
        tmp_path,
        "[listen]\ns2s = ['[::]:5269']\n"
        "[federation]\npolicy = 'required'\ndeny = ['b.example']\nqueue_bytes = 1000000\n"
        "nameservers = ['::1']\nverifications = 1\n"
        "[host.localhost]\nfederation = 'off'\n[peer.'c.example']\npolicy = 'off'",
    )
    changes = config.reloadable_changes(old, new)
    assert set(changes.live) == {
        "host.localhost.federation",
        "federation.policy",
        "federation.deny",
        "federation.queue_bytes",
        'peer."c.example".policy',
        'peer."c.example".plain',
        'route."a.example"',
    }
    assert set(changes.restart) == {
        "listen.s2s",
        "federation.enabled",
        "federation.nameservers",
        "federation.verifications",
    }
