"""Self-signed certificates, and what is said of them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from jabberd.net.certs import a_label, inspect, make_self_signed, write_atomically

from .kit import Forge

NOW = 1_800_000_000.0


def test_self_signed(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    make_self_signed(["Müller.example", "localhost", "127.0.0.1"], certificate, key, now=NOW)
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.key", "a.pem"]
    info = inspect(certificate, now=NOW)
    assert info.names == (
        "xn--mller-kva.example",
        "Müller.example",
        "localhost",
        "127.0.0.1",
    )
    assert info.days_left == 3650
    assert info.self_signed
    assert info.not_before < NOW < info.not_after
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    others = [name.value for name in names if isinstance(name, x509.OtherName)]
    assert b"\x0c\x0fM\xc3\xbcller.example" in others
    assert b"\x16\x16_xmpp-client.localhost" in others


def test_long_names_have_long_lengths(tmp_path: Path) -> None:
    name = ".".join(["a" * 60] * 4)
    certificate = tmp_path / "a.pem"
    make_self_signed([name], certificate, tmp_path / "a.key", now=NOW)
    assert inspect(certificate, now=NOW).names == (name,)


def test_inspect_counts_the_days_of_an_expired_one(forge: Forge) -> None:
    pair = forge.make("localhost", by=forge.authority)
    end = pair.certificate.not_valid_after_utc.timestamp()
    assert inspect(pair.cert_path, now=end + 86_400 * 3).days_left == -3
    assert inspect(pair.cert_path, now=end - 1).days_left == 0
    assert not inspect(pair.cert_path, now=0).self_signed


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_self_signed([], tmp_path / "a", tmp_path / "b", now=NOW)
    with pytest.raises(FileNotFoundError):
        make_self_signed(["localhost"], tmp_path / "no" / "a", tmp_path / "no" / "b", now=NOW)
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "absent", now=NOW)
    (tmp_path / "text").write_bytes(b"text")
    with pytest.raises(ValueError, match="PEM"):
        inspect(tmp_path / "text", now=NOW)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    with pytest.raises(OSError, match="target"):
        write_atomically(folder, b"x", 0o600)  # a folder cannot be replaced by a file
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_label() -> None:
    assert a_label("EXAMPLE.org.") == "example.org"
    assert a_label("Bücher.example") == "xn--bcher-kva.example"
    assert a_label("under_score.example") == "under_score.example"
