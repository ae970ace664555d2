"""Before and during login: STARTTLS, SASL, binding, and what tries to get around them.

RFC 6120 §5, §6, §7; RFC 5802; RFC 7590.
"""

from __future__ import annotations

import base64
from typing import ClassVar

import pytest

from tests.hostile.conftest import Connect
from tests.hostile.kit import (
    BIND,
    HEADER,
    PASSWORD,
    PING,
    SASL,
    TLS,
    Client,
    client_final,
    error_of,
)
from tests.hostile.server import Server

TO_BOB = "<message to='bob@localhost/test' type='chat'><body>forged</body></message>"

# RFC 6120 §4.9.3.12: "attempted to send XML stanzas or other outbound data before the stream
# has been authenticated".
TOO_EARLY = {
    "message": TO_BOB,
    "presence": "<presence/>",
    "subscription": "<presence to='bob@localhost' type='subscribe'/>",
    "ping": PING.format("1"),
    "roster": "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
    "bind": f"<iq type='set' id='1'><bind xmlns='{BIND}'/></iq>",
    "session": "<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    "with a sender": TO_BOB.replace("<message ", "<message from='alice@localhost/test' "),
    "compression": (
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"
    ),
    "resumption": "<resume xmlns='urn:xmpp:sm:3' h='1' previd='x'/>",
}


@pytest.mark.parametrize("name", TOO_EARLY)
def test_before_login(connect: Connect, bob: Client, name: str) -> None:
    client = connect()
    client.open()
    client.send(TOO_EARLY[name])
    assert client.stream_error() == "not-authorized"
    assert bob.ping() == []


@pytest.mark.parametrize("name", ["message", "presence", "subscription", "with a sender"])
def test_between_login_and_bind(connect: Connect, bob: Client, name: str) -> None:
    # RFC 6120 §7.1: "MUST NOT process the stanza and MUST close the stream".
    client = connect()
    client.open()
    assert client.scram("alice") == "success"
    client.open()
    client.send(TOO_EARLY[name])
    assert client.stream_error() == "not-authorized"
    assert bob.ping() == []


def test_stanza_in_the_middle_of_sasl(connect: Connect, bob: Client) -> None:
    client = connect()
    client.open()
    client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
    client.challenge()
    client.send(TO_BOB)
    assert client.stream_error() == "not-authorized"
    assert bob.ping() == []


def test_everything_at_once_without_waiting(connect: Connect, bob: Client) -> None:
    """Who guesses that the login will succeed has to wait for it all the same."""
    client = connect()
    client.send(
        f"{HEADER}<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{b64('n,,n=alice,r=abc')}</auth>"
        f"<response xmlns='{SASL}'>{b64('c=biws,r=abc,p=AAAA')}</response>{HEADER}{TO_BOB}"
    )
    client.drain()
    assert bob.ping() == []


# SASL (§6.5): mechanism, what is sent in base 64, and what must come back.
AUTH: dict[str, tuple[str, str | None, str]] = {
    "unknown mechanism": ("X-EVIL", "abc", "invalid-mechanism"),
    "no mechanism": ("", "abc", "invalid-mechanism"),
    "anonymous, which is off": ("ANONYMOUS", "", "invalid-mechanism"),
    "external without a certificate": ("EXTERNAL", "=", "invalid-mechanism"),
    "digest, which nobody has": ("DIGEST-MD5", None, "invalid-mechanism"),
    "plus without tls": ("SCRAM-SHA-1-PLUS", "p=tls-exporter,,n=alice,r=a", "invalid-mechanism"),
    "lower case": ("scram-sha-1", "n,,n=alice,r=abc", "invalid-mechanism"),
    # §6.5.4: "the mechanism requested by the initiating entity cannot be used unless the
    # confidentiality and integrity of the underlying stream are protected".
    "plain without tls": ("PLAIN", f"\0alice\0{PASSWORD}", "encryption-required"),
    "scram without a header": ("SCRAM-SHA-1", "n=alice,r=abc", "malformed-request"),
    "scram without a name": ("SCRAM-SHA-1", "n,,n=,r=abc", "malformed-request"),
    "scram without a nonce": ("SCRAM-SHA-1", "n,,n=alice", "malformed-request"),
    "scram with a bad escape": ("SCRAM-SHA-1", "n,,n=al=ice,r=abc", "malformed-request"),
    "scram with a mandatory extension": ("SCRAM-SHA-1", "n,,m=1,n=alice,r=a", "malformed-request"),
    "scram with a NUL": ("SCRAM-SHA-1", "n,,n=alice\0,r=abc", "malformed-request"),
    "scram with noise": ("SCRAM-SHA-1", "\x01\x02\x03", "malformed-request"),
    # §6.5.6 and §6.3.8.
    "authzid of another": ("SCRAM-SHA-1", "n,a=bob@localhost,n=alice,r=abc", "invalid-authzid"),
    "authzid of a host": ("SCRAM-SHA-1", "n,a=localhost,n=alice,r=abc", "invalid-authzid"),
    "authzid that is no address": ("SCRAM-SHA-1", "n,a=@@,n=alice,r=abc", "invalid-authzid"),
    "authzid elsewhere": ("SCRAM-SHA-1", "n,a=alice@example.com,n=alice,r=a", "invalid-authzid"),
    "full authzid": ("SCRAM-SHA-1", "n,a=alice@localhost/x,n=alice,r=abc", "invalid-authzid"),
}


@pytest.mark.parametrize("name", AUTH)
def test_auth_that_fails_at_once(connect: Connect, name: str) -> None:
    mechanism, message, condition = AUTH[name]
    client = connect()
    client.open()
    client.auth(mechanism, message)
    assert client.sasl_failure() == condition
    # §6.4.5: another attempt is allowed, and it is not spoiled by the first.
    assert client.scram("user39") == "success"


BASE64 = {
    "outside of the alphabet": "!!!!",
    "no padding": "biwsbj1hbGljZSxyPWFiYw",
    "too much padding": "biws====",
    "line break": "biws\nbj1hbGljZSxyPWFiYw==",
    "spare bits that are not zero": "biwsbj1hbGljZSxyPWFiY3==",
    "not ascii": "b\u00efws",
    "equals sign in the middle": "bi=s",
}


@pytest.mark.parametrize("name", BASE64)
def test_bad_base64(connect: Connect, name: str) -> None:
    # §6.5.5 and §6.3.5.
    client = connect()
    client.open()
    client.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{BASE64[name]}</auth>")
    assert client.sasl_failure() == "incorrect-encoding"


def test_bad_base64_in_a_response(connect: Connect) -> None:
    client = connect()
    client.open()
    client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
    client.challenge()
    client.send(f"<response xmlns='{SASL}'>%%%%</response>")
    assert client.sasl_failure() == "incorrect-encoding"


def test_abort(connect: Connect) -> None:
    # §6.4.4.
    client = connect()
    client.open()
    client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
    client.challenge()
    client.send(f"<abort xmlns='{SASL}'/>")
    assert client.sasl_failure() == "aborted"
    assert client.scram("user38") == "success"


def test_response_to_nothing(connect: Connect) -> None:
    client = connect()
    client.open()
    client.response("c=biws")
    assert client.sasl_failure() == "malformed-request"


def test_a_second_auth_within_the_first(connect: Connect) -> None:
    client = connect()
    client.open()
    client.auth("SCRAM-SHA-1", "n,,n=alice,r=abc")
    client.challenge()
    client.auth("SCRAM-SHA-1", "n,,n=bob,r=abc")
    assert client.sasl_failure() == "malformed-request"


@pytest.mark.parametrize(
    ("final", "conditions"),
    [
        ("c=biws,r=nonsense,p=AAAA", {"not-authorized"}),
        ("c=eSws,r={},p=AAAA", {"not-authorized"}),
        ("c=biws,r={}", {"malformed-request"}),
        ("c=biws,r={},p=", {"malformed-request", "not-authorized"}),
        (f"c=biws,r={{}},p={base64.b64encode(bytes(20)).decode()}", {"not-authorized"}),
        (f"c=biws,r={{}},p={base64.b64encode(bytes(4000)).decode()}", {"not-authorized"}),
        ("", {"malformed-request"}),
    ],
)
def test_final_message_that_proves_nothing(
    connect: Connect, final: str, conditions: set[str]
) -> None:
    client = connect()
    client.open()
    client.auth("SCRAM-SHA-1", "n,,n=user37,r=abc")
    nonce = client.challenge().split(",")[0].removeprefix("r=")
    client.response(final.replace("{}", nonce))
    assert client.sasl_failure() in conditions


def test_proof_of_an_earlier_login_is_worth_nothing(connect: Connect) -> None:
    client = connect()
    client.open()
    bare = "n=user36,r=abc"
    client.auth("SCRAM-SHA-1", f"n,,{bare}")
    first = client.challenge()
    client.send(f"<abort xmlns='{SASL}'/>")
    assert client.sasl_failure() == "aborted"
    client.auth("SCRAM-SHA-1", f"n,,{bare}")
    assert client.challenge() != first
    client.response(client_final(bare, first, PASSWORD, "n,,"))
    assert client.sasl_failure() == "not-authorized"


def test_unknown_user_looks_like_a_wrong_password(connect: Connect) -> None:
    # §6.5.10: "no differentiation is made".
    said: dict[str, list[list[str]]] = {}
    for user in ("user35", "user99"):
        client = connect()
        client.open()
        salts = set()
        for _ in range(2):
            client.auth("SCRAM-SHA-1", f"n,,n={user},r=abc")
            first = client.challenge()
            salts.add(first.split("s=")[1])
            client.response(client_final(f"n={user},r=abc", first, "wrong", "n,,"))
            element = client.next()
            assert element is not None
            said.setdefault(user, []).append([child.tag for child in element])
        assert len(salts) == 1, "the salt changes from login to login"
    assert said["user35"] == said["user99"]


# §6.4.5: at most five retries; then the stream is closed, which SHOULD say policy-violation.
def test_too_many_failures_on_one_stream(connect: Connect) -> None:
    client = connect()
    client.open()
    attempts = 0
    for _ in range(6):
        client.auth("SCRAM-SHA-1", "n,a=bob@localhost,n=nobody,r=abc")
        assert client.sasl_failure() == "invalid-authzid"
        attempts += 1
        if b"<stream:error>" in client.raw:
            break
    assert 3 <= attempts <= 6
    assert b"<policy-violation " in client.raw
    client.drain()


def test_lockout_is_by_account_and_address(connect: Connect) -> None:
    for _ in range(2):
        client = connect()
        client.open()
        for _ in range(3):
            if client.scram("user1", "wrong") == "temporary-auth-failure":
                break
        client.close()
    locked = connect()
    locked.open()
    assert locked.scram("user1") == "temporary-auth-failure"  # §6.5.11, with the right password
    other_account = connect()
    other_account.open()
    assert other_account.scram("user2") == "success"
    other_address = connect("127.0.0.2")
    other_address.open()
    assert other_address.scram("user1") == "success"
    again = connect()
    again.open()
    assert again.scram("user1") == "temporary-auth-failure"


NAMES = {
    "NUL": ("alice\0", False),
    "upper case": ("ALICE", True),
    "full-width": ("\uff41lice", True),
    "soft hyphen, mapped to nothing": ("al\u00adice", True),
    "cyrillic a": ("\u0430lice", False),
    "right-to-left override": ("\u202ealice", False),
    "whole address": ("alice@localhost", False),
    "slash": ("alice/x", False),
    "space": ("al ice", False),
    "quotation mark": ("alice'", False),
    "markup": ("alice&quot;<x/>", False),
    "1 MB would be too long, 5 kB is": ("a" * 5000, False),
    "sql": ("' or 1=1 --", False),
    "unassigned": ("alice\U000e0fff", False),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_users(connect: Connect, name: str) -> None:
    """Only what nodeprep maps to a user name is that user (RFC 6122 §2.3)."""
    username, same = NAMES[name]
    client = connect()
    client.open()
    outcome = client.scram(username)
    if same:
        assert outcome == "success"
        client.open()
        client.bind("named")
        assert client.jid == "alice@localhost/named"
    else:
        assert outcome in {"not-authorized", "malformed-request"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestUnderTls:
    """What is possible only, or differs, under TLS."""

    PLAIN: ClassVar = {
        "wrong password": (f"\0user3\0{PASSWORD}x", "not-authorized"),
        "unknown user": (f"\0nobody\0{PASSWORD}", "not-authorized"),
        "authzid of another": (f"bob@localhost\0alice\0{PASSWORD}", "invalid-authzid"),
        "authzid that is no jid": (f"alice\0alice\0{PASSWORD}", "invalid-authzid"),
        "too few parts": (f"alice\0{PASSWORD}", "malformed-request"),
        "too many parts": (f"\0alice\0{PASSWORD}\0", "malformed-request"),
        "NUL in the name": (f"\0ali\0ce\0{PASSWORD}", "malformed-request"),
        "no name": (f"\0\0{PASSWORD}", "malformed-request"),
        "no password": ("\0alice\0", "malformed-request"),
        "nothing": ("", "malformed-request"),
        "name that cannot be": (f"\0a@b\0{PASSWORD}", "not-authorized"),
        "long password": (f"\0user3\0{'x' * 5000}", "not-authorized"),
    }

    @pytest.mark.parametrize("name", PLAIN)
    def test_plain(self, secure: Client, name: str) -> None:
        message, condition = self.PLAIN[name]
        text = b64(message) or "="
        secure.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{text}</auth>")
        assert secure.sasl_failure() == condition

    def test_plain_that_is_not_utf8(self, secure: Client) -> None:
        secure.auth("PLAIN", b"\0alice\0\xff\xfe")
        assert secure.sasl_failure() == "malformed-request"

    def test_plain_works_at_all(self, secure: Client) -> None:
        secure.auth("PLAIN", f"\0alice\0{PASSWORD}")
        success = secure.next()
        assert success is not None
        assert success.tag == f"{{{SASL}}}success"

    def test_y_while_plus_was_offered_is_a_downgrade(self, secure: Client) -> None:
        # RFC 5802 §6: the server MUST fail authentication.
        assert secure.scram("alice", gs2="y,,") == "not-authorized"

    @pytest.mark.parametrize("gs2", ["n,,", "y,,"])
    def test_plus_without_binding(self, secure: Client, gs2: str) -> None:
        outcome = secure.scram("alice", gs2=gs2, plus="-PLUS")
        assert outcome in {"malformed-request", "not-authorized"}

    @pytest.mark.parametrize("binding", ["tls-unique", "tls-server-end-point", "tls-evil"])
    def test_plus_with_a_binding_that_does_not_fit(self, secure: Client, binding: str) -> None:
        # The data of the binding is left away: even where the type is known, it cannot match.
        assert secure.scram("alice", gs2=f"p={binding},,", plus="-PLUS") == "not-authorized"

    def test_binding_with_a_mechanism_that_has_none(self, secure: Client) -> None:
        outcome = secure.scram("alice", gs2="p=tls-exporter,,")
        assert outcome in {"malformed-request", "not-authorized"}

    @pytest.fixture
    def secure(self, connect: Connect, server: Server) -> Client:
        """Under TLS, with a stream and no login."""
        client = connect(port=server.tls_port)
        client.tls()
        client.open()
        return client


AFTER = {
    "another login": f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{b64('n,,n=bob,r=a')}</auth>",
    "a response": f"<response xmlns='{SASL}'/>",
    "starttls": f"<starttls xmlns='{TLS}'/>",
    "compression": (
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_negotiation_after_login(alice: Client, name: str) -> None:
    # Nothing of the kind was offered (§4.3.2), so it is no element that this stream has.
    alice.send(AFTER[name])
    assert alice.stream_error() == "unsupported-stanza-type"


def test_second_login_before_bind(connect: Connect) -> None:
    client = connect()
    client.open()
    assert client.scram("alice") == "success"
    client.open()
    client.send(AFTER["another login"])
    assert client.stream_error() in {"unsupported-stanza-type", "not-authorized"}


def test_login_is_for_one_host(connect: Connect) -> None:
    # CVE-2018-10847: `to` must not change with the restart of the stream.
    client = connect()
    client.open()
    assert client.scram("alice") == "success"
    client.restart()
    client.send(HEADER.replace("to='localhost'", "to='example.com'"))
    assert client.stream_error() in {"host-unknown", "not-authorized"}


def test_second_bind(alice: Client) -> None:
    answer = alice.ask(f"<iq type='set' id='{{}}'><bind xmlns='{BIND}'/></iq>")
    # §7.6.2.2.
    assert error_of(answer) == ("cancel", "not-allowed")
    alice.ping()


@pytest.mark.parametrize("resource", ["a" * 1024, "a\u0085b", "\ufff9", "é" * 600, "\ue000"])
def test_resource_that_cannot_be(connect: Connect, resource: str) -> None:
    # §7.7.2.1; the stream goes on.
    client = connect()
    client.open()
    assert client.scram("alice") == "success"
    client.open()
    answer = client.ask(
        f"<iq type='set' id='{{}}'><bind xmlns='{BIND}'><resource>{resource}</resource></bind></iq>"
    )
    assert error_of(answer) == ("modify", "bad-request")
    client.bind("proper")
    client.ping()
