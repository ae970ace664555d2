"""The tables of gateways: their own keys, and the options of their networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from jabberd.config import ConfigError, StartError, effective, load
from jabberd.transports import network_of

SMS = """
[gateway."sms.example.org"]
network = "sms"
host = "127.0.0.1"
system_id = "us"
password_file = "smsc"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "jabberd.toml"
    file.write_text(f'data = "data"\n{text}')
    return file


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(written(folder, text), environ={})
    return str(refused.value)


def test_options_of_the_network_are_beside_the_gateways_own(tmp_path: Path) -> None:
    config = load(written(tmp_path, SMS), environ={})
    assert config.gateway["sms.example.org"].network == "sms"
    options = config.networks["sms.example.org"].options
    assert options.system_id == "us"
    # A file name is relative to the file that says it.
    assert options.password_file == tmp_path / "smsc"
    assert network_of(config, "sms.example.org").title == "SMS"


def test_files_of_the_email_gateway_are_relative_to_the_configuration(tmp_path: Path) -> None:
    text = (
        '[gateway."mail.example.org"]\nnetwork = "email"\nmail_domain = "example.org"\n'
        'lmtp = "127.0.0.1:0"\nrelay_password_file = "relay"\n'
    )
    config = load(written(tmp_path, text), environ={})
    assert config.networks["mail.example.org"].options.relay_password_file == f"{tmp_path}/relay"
    with pytest.raises(StartError, match="relay cannot be read"):
        network_of(config, "mail.example.org")


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    text = SMS.replace('password_file = "smsc"', 'password = "tell-no"')
    config = load(written(tmp_path, text), environ={})
    shown = {one.key: one.value for one in effective(config)}
    assert shown['gateway."sms.example.org".password'] == "(secret)"
    assert "tell-no" not in repr(config) + str(shown)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[gateway."a.example"]\nhost = "x"\n', "network"),
        ('[gateway."a.example"]\nnetwork = "icq"\n', "there are: email, example, sms"),
        ('[gateway."a.example"]\nnetwork = "example"\nprot = 1\n', "did you mean"),
        ('[gateway."a.example"]\nnetwork = "example"\nsecret = "s"\n', "server"),
        ('[gateway."a.example"]\nnetwork = "example"\nserver = "h:1"\n', "secret"),
        (
            '[gateway."a.example"]\nnetwork = "example"\nserver = "tls:h:1"\nsecret = "s"\n',
            "plain text",
        ),
        ('[gateway.localhost]\nnetwork = "example"\n', "another domain of this server"),
        ('[gateway."a.example"]\nnetwork = "no.such.package"\n', "cannot import"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    assert said in wrong(tmp_path, text)
