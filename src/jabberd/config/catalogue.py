"""Which modules there are: those of this package, entry points, and import paths."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final

import jabberd.modules
from jabberd.core.module import Host, Module, Xep

GROUP: Final = "jabberd.modules"
"""The group of entry points by which an installed package offers modules."""


class NotAModule(Exception):  # noqa: N818 -- a fact about what was named
    """What was named cannot be imported, or does not export what a module exports."""


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module that can be chosen.

    Attributes:
        name: in the configuration.
        options: its `Options`, a frozen dataclass.
        load: its `load`.
        xeps: its `XEP` or `XEPS`: what it implements; empty for what RFCs define.
        summary: the first line of its docstring.
    """

    name: str
    options: type[Any]
    load: Callable[[Host, Any], Module]
    xeps: tuple[Xep, ...]
    summary: str


class Catalogue:
    """The modules that a configuration can name.

    Args:
        specs: those that are on by default.
        find: finds others by the name of an entry point, or None.
    """

    def __init__(
        self,
        specs: Sequence[ModuleSpec],
        find: Callable[[str], ModuleSpec | None] = lambda _: None,
    ) -> None:
        self.standard: Mapping[str, ModuleSpec] = {spec.name: spec for spec in specs}
        self._find = find

    def get(self, name: str) -> ModuleSpec | None:
        """A module by its name in the configuration; None where there is none.

        Raises:
            NotAModule: an entry point has this name, but does not lead to a module.
        """
        return self.standard.get(name) or self._find(name)


def installed() -> Catalogue:
    """The modules of this package and of whatever else is installed."""
    names = sorted(info.name for info in pkgutil.iter_modules(jabberd.modules.__path__))
    specs = [
        spec_of(name, importlib.import_module(f"jabberd.modules.{name}"))
        for name in names
        if not name.startswith("_")
    ]
    return Catalogue(specs, _entry_point)


def from_path(name: str, path: str) -> ModuleSpec:
    """A module by its import path.

    Raises:
        NotAModule: see there.
    """
    try:
        python = importlib.import_module(path)
    except Exception as error:
        raise NotAModule(f"cannot import {path!r}: {error}") from error
    return spec_of(name, python)


def spec_of(name: str, python: ModuleType) -> ModuleSpec:
    """What a Python module exports as a module of the server.

    Raises:
        NotAModule: `Options` or `load` is not there.
    """
    options, load = getattr(python, "Options", None), getattr(python, "load", None)
    if not isinstance(options, type) or not callable(load):
        raise NotAModule(f"{python.__name__} exports no `Options` and `load`")
    one, several = getattr(python, "XEP", None), getattr(python, "XEPS", ())
    xeps = (one,) if isinstance(one, Xep) else tuple(several)
    summary = (python.__doc__ or "").strip().partition("\n")[0]
    return ModuleSpec(name, options, load, xeps, summary)


def _entry_point(name: str) -> ModuleSpec | None:
    for point in entry_points(group=GROUP, name=name):
        return from_path(name, point.module)
    return None
