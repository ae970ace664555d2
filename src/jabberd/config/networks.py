"""Which networks a gateway can lead to: those of this package, and Python modules elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jabberd.gateways
from jabberd.config.catalogue import NotAModule
from jabberd.gateways.transport import Network


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network that can be chosen.

    Attributes:
        name: in the configuration.
        options: its `Options`, a frozen dataclass.
        load: its `load`.
        summary: the first line of its docstring.
    """

    name: str
    options: type[Any]
    load: Callable[[Any], Network]
    summary: str


def names() -> list[str]:
    """The networks of this package."""
    found = pkgutil.iter_modules(jabberd.gateways.__path__)
    return sorted(info.name for info in found if info.ispkg)


def find(name: str) -> NetworkSpec:
    """A network by its name; nothing of the others is imported.

    Raises:
        NotAModule: there is none, it cannot be imported, or it does not export what it must.
    """
    ours = name in names()
    if not ours and "." not in name:
        known = ", ".join(names())
        raise NotAModule(f"there is no such network; there are: {known}")
    try:
        python = importlib.import_module(f"jabberd.gateways.{name}" if ours else name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if ours and not missing.startswith("jabberd"):
            hint = f"install it by: pip install 'jabberd[{name}]'"
            raise NotAModule(f"it needs {missing!r}, which is not installed; {hint}") from None
        raise NotAModule(f"cannot import {name!r}: {error}") from None
    except Exception as error:
        raise NotAModule(f"cannot import {name!r}: {error}") from error
    options, load = getattr(python, "Options", None), getattr(python, "load", None)
    if not isinstance(options, type) or not callable(load):
        raise NotAModule(f"{python.__name__} exports no `Options` and `load`")
    summary = (options.__doc__ or "").strip().partition("\n")[0]
    return NetworkSpec(name, options, load, summary)
