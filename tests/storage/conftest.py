"""Stores on every back end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from jabberd.storage.api import Stores
from jabberd.storage.open import open_stores
from tests.conftest import Cluster

BACK_ENDS = ("memory", "sqlite", "postgresql")


@pytest.fixture(params=BACK_ENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per back end."""
    return _new_url(request, tmp_path)


@pytest.fixture(params=BACK_ENDS[1:])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per SQL back end."""
    return _new_url(request, tmp_path)


def _new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory:"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jabberd.sqlite"
    server: Cluster = request.getfixturevalue("cluster")
    return server.new_url()


@pytest_asyncio.fixture
async def stores(url: str) -> AsyncIterator[Stores]:
    """Empty stores, once per back end."""
    opened = await open_stores(url)
    yield opened
    await opened.close()
