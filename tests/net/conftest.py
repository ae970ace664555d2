from __future__ import annotations

from pathlib import Path

import pytest

from .kit import Forge


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return Forge(folder)
