"""docs/write-a-transport.md shows the example network as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import jabberd.gateways.example as package
from jabberd.config import load

ROOT: Final = Path(__file__).parent.parent.parent
TEXT: Final = (ROOT / "docs" / "write-a-transport.md").read_text(encoding="utf-8")
_BLOCK: Final = re.compile(
    r"^```python file=\"(?P<file>[^\"]+)\".*?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_TOML: Final = re.compile(r"^```toml title=.*?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_its_blocks_are_in_the_sources() -> None:
    blocks = list(_BLOCK.finditer(TEXT))
    assert len(blocks) == TEXT.count("```python") == 5
    folder = Path(package.__file__).parent
    for block in blocks:
        assert block["text"] in (folder / block["file"]).read_text(encoding="utf-8"), block["text"]


def test_its_configuration_is_one(tmp_path: Path) -> None:
    found = _TOML.search(TEXT)
    assert found is not None
    config = load(data=tmp_path, values=tomllib.loads(found["text"]), environ={})
    assert config.networks["example.localhost"].name == "example"
