"""What tests of SMS share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateways.sms import smsc


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the npm package smpp."""
    return smsc.install(tmp_path_factory.mktemp("npm"))
