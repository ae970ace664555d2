"""Commands on the data of a server that does not run."""

from __future__ import annotations

import stat
from pathlib import Path

from jabberd.config import folder
from tests.cli.conftest import Jabberd


def test_accounts_without_a_server(jabberd: Jabberd, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    added = jabberd("user", "add", "alice@localhost", *data, stdin="pencil\n")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout == "alice@localhost is added.\n"
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    again = jabberd("user", "add", "alice@localhost", *data, stdin="pencil\n")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "jabberd: there is an account alice@localhost already\n"
    assert "alice@localhost\t" in jabberd("user", "list", *data).stdout
    assert "sha512 (10000 iterations)" in jabberd("user", "show", "alice@localhost", *data).stdout
    listed = jabberd("user", "clients", "alice@localhost", *data)
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 1)  # nobody has logged in
    refused = jabberd("user", "revoke", "alice@localhost", "phone", *data)
    assert refused.stderr == "jabberd: alice@localhost has no client of this name\n"
    assert stat.S_IMODE((tmp_path / "data" / "secrets" / "tokens").stat().st_mode) == 0o600
    assert jabberd("user", "delete", "alice@localhost", *data).returncode == 0
    assert "alice" not in jabberd("user", "list", *data).stdout


def test_another_host_needs_a_configuration(jabberd: Jabberd, tmp_path: Path) -> None:
    refused = jabberd("user", "add", "alice@example.org", stdin="pencil\n")
    assert refused.returncode == 1
    assert "example.org is not a host of this server; these are: localhost" in refused.stderr
    file = tmp_path / "jabberd.toml"
    file.write_text("data = 'here'\n[host.'example.org']\n")
    config = ("--config", str(file))
    assert jabberd("user", "add", "alice@example.org", *config, stdin="pencil\n").returncode == 0
    assert (tmp_path / "here" / "jabberd.sqlite").exists()


def test_a_server_that_does_not_answer_keeps_its_data(jabberd: Jabberd, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with folder.locked(data):
        refused = jabberd("user", "list", "--data", str(data))
    assert refused.returncode == 1
    assert f"the data folder {data} is in use by process" in refused.stderr
    assert "which does not answer on its control socket" in refused.stderr


def test_a_configuration_that_cannot_be_used(jabberd: Jabberd, tmp_path: Path) -> None:
    file = tmp_path / "jabberd.toml"
    file.write_text("[log]\nlevel = 7\n")
    refused = jabberd("user", "list", "--config", str(file))
    assert refused.returncode == 1
    assert f"{file}:2: log.level" in refused.stderr
    assert "Traceback" not in refused.stderr
