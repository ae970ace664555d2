"""Certificates that cannot be used, ports and folders that are taken: the operator is told."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from jabberd.net.certs import make_self_signed
from tests.hostile.kit import Client, tls_context
from tests.hostile.server import Server, run_jabberd, running, until


def with_certificate(folder: Path, *, now: float) -> tuple[Path, Path, str]:
    """A certificate made at that time, and the configuration that names it."""
    certificate, key = folder / "host.crt", folder / "host.key"
    make_self_signed(["localhost"], certificate, key, now=now)
    return certificate, key, f'[host.localhost]\ncertificate = "{certificate}"\nkey = "{key}"\n'


@pytest.mark.parametrize("fault", ["certificate", "key", "no pem", "wrong key"])
def test_certificate_that_cannot_be_used(own_folder: Path, fault: str) -> None:
    certificate, key, settings = with_certificate(own_folder, now=time.time())
    if fault == "certificate":
        certificate.unlink()
    elif fault == "key":
        key.unlink()
    elif fault == "no pem":
        certificate.write_text("hello")
    else:
        make_self_signed(["localhost"], own_folder / "x.crt", key, now=time.time())
    server = Server(own_folder, settings)
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(key if fault in {"key", "wrong key"} else certificate) in done.stderr, done.stderr


def test_expired_certificate(own_folder: Path) -> None:
    """It is served, as the operator may have no other, and the operator is told."""
    certificate, _, settings = with_certificate(own_folder, now=0.0)
    with running(Server(own_folder, settings)) as server:
        with Client(server.tls_port) as client:
            client.tls()
            client.login("alice")
            client.ping()
        context = tls_context()
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        with Client(server.tls_port) as client, pytest.raises(ssl.SSLError, match="expired"):
            context.wrap_socket(client.socket, server_hostname="localhost")
        assert server.process.stdout is not None
        said = server.process.stdout.readline()
        assert said.startswith(f"{certificate}: the certificate expired ")
        server.check()


def test_certificate_that_is_gone_at_a_reload(own_folder: Path) -> None:
    """The old one stays in use."""
    certificate, _, settings = with_certificate(own_folder, now=time.time())
    with running(Server(own_folder, settings)) as server, Client(server.port) as bystander:
        bystander.login("watcher")
        for spoil in (lambda: certificate.write_text("hello"), certificate.unlink):
            spoil()
            server.process.send_signal(signal.SIGHUP)
            until(lambda: str(certificate) in str(server.check(["reload refused"])))
            with Client(server.port) as late:
                late.open()
                late.starttls()
                late.login("alice")
            bystander.ping(1.0)
            server.check()


# Ports


@pytest.mark.parametrize(("kind", "host"), [("c2s", "127.0.0.1"), ("c2s_tls", "::1")])
def test_port_taken(own_folder: Path, kind: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind((host, 0))
        holder.listen()
        port = holder.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        other = "c2s" if kind == "c2s_tls" else "c2s_tls"
        server = Server(
            own_folder, f'[listen]\n{kind} = ["{address}"]\n{other} = ["127.0.0.1:0"]\n'
        )
        done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    # Which, by whom, and where to change it.
    assert address in done.stderr
    assert f"process {os.getpid()}" in done.stderr, done.stderr
    assert f"listen.{kind}" in done.stderr, done.stderr


def test_address_of_another_machine(own_folder: Path) -> None:
    server = Server(own_folder, '[listen]\nc2s = ["192.0.2.1:5222"]\n')
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "192.0.2.1:5222" in done.stderr
    assert "no such address" in done.stderr


def test_second_server_in_the_same_folder(own_folder: Path) -> None:
    with running(Server(own_folder)) as server, Client(server.port) as bystander:
        bystander.login("watcher")
        done = run_jabberd("run", "--config", str(server.config))
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert str(server.data) in done.stderr
        bystander.ping(1.0)
        server.check()


def test_data_folder_that_cannot_be(own_folder: Path) -> None:
    (own_folder / "file").write_text("x")
    server = Server(own_folder, data=own_folder / "file" / "data")
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(own_folder / "file") in done.stderr
