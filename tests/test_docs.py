"""The generated documents are those of this code; `make docs` makes them again."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from jabberd import docgen

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["docs/config.md", "docs/xeps.md", "doap.xml"])
def test_the_committed_file_is_current(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == docgen.pages()[name], "run `make docs`"


def test_the_project_description_is_xml() -> None:
    root = ET.fromstring(docgen.pages()["doap.xml"])
    doap, xmpp = "{http://usefulinc.com/ns/doap#}", "{https://linkmauve.fr/ns/xmpp-doap#}"
    assert root.findtext(f"{doap}Project/{doap}name") == "jabberd"
    supported = root.findall(f".//{xmpp}SupportedXep")
    assert {"complete", "partial"} >= {str(one.findtext(f"{xmpp}status")) for one in supported}
    numbers = [one.find(f"{xmpp}xep") for one in supported]
    assert len(numbers) > 10


def test_every_option_has_to_be_described() -> None:
    @dataclass(frozen=True)
    class Options:
        """Some options.

        Attributes:
            keep: how many
                of them.
        """

        keep: int = 1
        forgotten: bool = False

    with pytest.raises(ValueError, match=r"says nothing of \['forgotten'\]"):
        docgen.attributes(Options)
