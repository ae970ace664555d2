"""From a TOML file, the environment and the command line to a `Config` that holds."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from jabberd.config import check, environment, networks, texts
from jabberd.config.catalogue import Catalogue, ModuleSpec, NotAModule, from_path, installed
from jabberd.config.gateway import GatewayConfig, NetworkChoice
from jabberd.config.problems import (
    ConfigError,
    Problem,
    dotted,
    find_line,
    found,
    no_such_key,
    translate,
)
from jabberd.config.problems import Path as KeyPath
from jabberd.config.shape import Config, ModuleChoice, Source
from jabberd.config.walk import OWN, SWITCHED, is_table, keys_of, type_at


def load(
    file: Path | None = None,
    *,
    data: Path | None = None,
    values: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    catalogue: Catalogue | None = None,
) -> Config:
    """Read and check everything.

    Args:
        file: the TOML file; None for the defaults.
        data: the data folder from the command line.
        values: what a program sets, in the shape of the file; stronger than file and environment.
        environ: environment variables; those of this process unless given.
        catalogue: the modules there are; the installed ones unless given.

    Raises:
        ConfigError: with everything that is wrong.
    """
    environ = os.environ if environ is None else environ
    loader = _Loader(file, environ, catalogue or installed())
    loader.gather(data, values or {})
    return loader.finish(Source(file, data, dict(values or {})))


def reload(config: Config, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the same sources again, for SIGHUP.

    Raises:
        ConfigError: with everything that is wrong; the old configuration goes on.
    """
    source = config.source
    return load(source.file, data=source.data, values=source.values, environ=environ)


def data_folder(
    file: Path | None = None,
    *,
    data: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """Only the data folder, without checking the rest: for finding a running server quickly.

    Raises:
        ConfigError: the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    if data is not None:
        return data.expanduser().absolute()
    if environ.get("JABBERD_DATA"):
        return Path(environ["JABBERD_DATA"]).expanduser().absolute()
    given = read_toml(file)[0].get("data") if file else None
    if isinstance(given, str) and file is not None:
        return _absolute(Path(given), file.parent)
    return default_data(environ)


def default_data(environ: Mapping[str, str]) -> Path:
    """The user's own data folder for this server (XDG Base Directory Specification)."""
    base = environ.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "jabberd"


def read_toml(file: Path) -> tuple[dict[str, Any], str]:
    """The tables of a TOML file, and its text.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        what = f"cannot read the configuration: {error.strerror}"
        raise ConfigError([Problem(str(file), "", what)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(file), "", "this is not UTF-8 text")]) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{file}:{line[1]}" if line else str(file)
        raise ConfigError([Problem(where, "", f"this is not TOML: {error}")]) from None


class _Loader:
    """One reading; collects problems as it goes."""

    def __init__(self, file: Path | None, environ: Mapping[str, str], catalogue: Catalogue) -> None:
        self._file = file
        self._environ = environ
        self._catalogue = catalogue
        self._text = ""
        self._raw: dict[str, Any] = {}
        self._modules: dict[str, tuple[ModuleChoice, ...]] = {}
        self._problems: list[Problem] = []
        self.origins: dict[tuple[str, ...], str] = {}

    def gather(self, data: Path | None, values: Mapping[str, Any]) -> None:
        """Read the sources, the stronger ones last."""
        if self._file is not None:
            raw, self._text = read_toml(self._file)
            for path, value in _leaves(raw):
                self._set(path, value, self._line(path))
        for setting in environment.read(self._environ):
            if isinstance(setting, Problem):
                self._problems.append(setting)
            else:
                self._set(setting.path, setting.value, f"environment {setting.name}")
        for path, value in _leaves(values):
            self._set(path, value, "given by the program")
        if data is not None:
            self._set(("data",), str(data), "command line")
        self._raw.setdefault("data", str(default_data(self._environ)))
        self._raw.setdefault("host", {"localhost": {}})

    def finish(self, source: Source) -> Config:
        """Check what was gathered."""
        self._unknown_source()
        self._listeners()
        self._hosts()
        chosen = self._networks()
        config = self._validated(Config, self._raw, ())
        if config is None or self._problems:
            raise ConfigError(self._problems)
        hosts = {name: replace(h, modules=self._modules[name]) for name, h in config.host.items()}
        source = replace(source, origins=self.origins)  # by canonical names now
        config = replace(config, host=hosts, networks=chosen, source=source)
        config = check.absolute_paths(config, self._base)
        config, problems = check.secrets(config, self._environ)
        problems = [*problems, *check.consistency(config)]
        if problems:
            raise ConfigError([self._problem(path, what) for path, what in problems])
        return config

    def _set(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        if path == SWITCHED and isinstance(value, bool):
            path = (*path, "enabled")
        table = self._raw
        for depth, part in enumerate(path[:-1]):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                self._problem_at(path[: depth + 1], f"found {found(inner)}, expected a table")
                return
            table = inner
        if value == {} and isinstance(table.get(path[-1]), dict):
            return
        table[path[-1]] = value
        self.origins[path] = origin

    def _unknown_source(self) -> None:
        for name in OWN:
            if name in self._raw:
                del self._raw[name]
                self._problem_at((name,), no_such_key(name, keys_of(Config)))

    def _listeners(self) -> None:
        """A plain string stands for a table with only an address."""
        listen = self._raw.get("listen")
        if not isinstance(listen, dict):
            return
        for name, value in listen.items():
            if isinstance(value, list):
                listen[name] = [{"address": v} if isinstance(v, str) else v for v in value]

    def _hosts(self) -> None:
        """Names of tables that are domains in their canonical form, and the hosts' modules."""
        for key in ("host", "component", "gateway", "peer", "route"):
            tables = self._raw.get(key)
            if isinstance(tables, dict):
                self._raw[key] = {
                    domain: table
                    for name, table in tables.items()
                    if (domain := self._domain((key, name), tables))
                }
        hosts = self._raw["host"]
        for domain, table in hosts.items() if isinstance(hosts, dict) else ():
            given = table.pop("modules", {}) if isinstance(table, dict) else {}
            self._modules[domain] = tuple(self._choices(("host", domain, "modules"), given))

    def _networks(self) -> dict[str, NetworkChoice]:
        """What a gateway's table has beside its own keys are options of its network."""
        chosen: dict[str, NetworkChoice] = {}
        tables = self._raw.get("gateway")
        for domain, table in tables.items() if isinstance(tables, dict) else ():
            here = ("gateway", domain)
            if not isinstance(table, dict) or not isinstance(table.get("network"), str):
                continue  # validation says so
            own = keys_of(GatewayConfig)
            options = {key: table.pop(key) for key in list(table) if key not in own}
            try:
                spec = networks.find(table["network"])
            except NotAModule as error:
                self._problem_at((*here, "network"), str(error))
                continue
            made = self._validated(spec.options, options, here)
            if made is not None:
                chosen[domain] = NetworkChoice(spec.name, made, spec.load)
        return chosen

    def _domain(self, path: tuple[str, str], tables: Mapping[str, Any]) -> str:
        name = path[1]
        try:
            canonical = texts.domain(name)
        except ValueError as error:
            self._problem_at(path, str(error))
            return ""
        if canonical != name:
            if canonical in tables:
                self._problem_at(path, f"this is the same as {canonical!r}")
                return ""
            for old in [old for old in self.origins if old[:2] == path]:
                self.origins[path[0], canonical, *old[2:]] = self.origins[old]
        return canonical

    def _choices(self, path: tuple[str, ...], given: Any) -> Iterator[ModuleChoice]:
        if not isinstance(given, dict):
            self._problem_at(path, f"found {found(given)}, expected a table")
            return
        for name in dict.fromkeys([*self._catalogue.standard, *given]):
            here, wanted = (*path, name), given.get(name, True)
            if wanted is False:
                continue
            if wanted is not True and not isinstance(wanted, dict):
                self._problem_at(here, f"found {found(wanted)}, expected a table, true or false")
                continue
            table = {} if wanted is True else dict(wanted)
            spec = self._spec(here, table)
            if spec is None:
                continue
            options = self._validated(spec.options, table, here)
            if options is not None:
                yield ModuleChoice(name, options, spec.load)

    def _spec(self, path: tuple[str, ...], table: dict[str, Any]) -> ModuleSpec | None:
        name = path[-1]
        try:
            if isinstance(table.get("module"), str) and name not in self._catalogue.standard:
                return from_path(name, table.pop("module"))
            spec = self._catalogue.get(name)
        except NotAModule as error:
            self._problem_at(path, str(error))
            return None
        if spec is None:
            known = ", ".join(self._catalogue.standard)
            self._problem_at(path, f"there is no such module; there are: {known}")
        return spec

    def _validated(self, cls: type[Any], raw: Mapping[str, Any], path: KeyPath) -> Any:
        """An instance of a dataclass, or None with problems noted."""
        dates: list[KeyPath] = []
        text = json.dumps(_plain(raw, path, dates))
        for date in dates:
            self._problem_at(date, "found a date, and no key is one")
        try:
            return TypeAdapter(cls).validate_json(text, strict=True, extra="forbid")
        except ValidationError as error:
            for one in error.errors(include_url=False):
                self._refused(cls, path, one)
        except PydanticUserError as error:
            self._problem_at(path, f"the module's Options cannot be checked: {error}")
        return None

    def _refused(self, cls: type[Any], prefix: KeyPath, error: Mapping[str, Any]) -> None:
        path: KeyPath = error["loc"]
        if error["type"] == "unexpected_keyword_argument":
            around = type_at(path[:-1], cls)
            known = keys_of(around) if is_table(around) else {}
            self._problem_at((*prefix, *path), no_such_key(str(path[-1]), known))
        else:
            self._problem_at((*prefix, *path), translate(error))

    def _problem_at(self, path: KeyPath, what: str) -> None:
        self._problems.append(self._problem(path, what))

    def _problem(self, path: KeyPath, what: str) -> Problem:
        origin = environment.where(path, self.origins)
        if origin is None:
            names = tuple(part for part in path if isinstance(part, str))
            inside = [o for p, o in self.origins.items() if p[: len(names)] == names]
            origin = self._line(path) if self._file else (inside or ["configuration"])[0]
        shown = path if path[-1:] != ("address",) or len(path) != 4 else path[:-1]
        return Problem(origin, dotted(shown), what)

    def _line(self, path: KeyPath) -> str:
        line = find_line(self._text, path)
        return f"{self._file}:{line}" if line else str(self._file)

    def _base(self, path: tuple[str, ...]) -> Path:
        """What a relative path is relative to: the file that says it, or the current folder."""
        from_file = self.origins.get(path, "").startswith(f"{self._file}")
        return self._file.parent.absolute() if self._file and from_file else Path.cwd()


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for name, value in table.items():
        here = (*path, str(name))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        else:
            yield here, value


def _plain(value: Any, path: KeyPath, dates: list[KeyPath]) -> Any:
    """TOML's dates are not JSON; they are noted and left out."""
    if isinstance(value, dict):
        plain = {key: _plain(inner, (*path, key), dates) for key, inner in value.items()}
        return {key: inner for key, inner in plain.items() if inner is not None}
    if isinstance(value, list | tuple):
        items = [_plain(inner, (*path, index), dates) for index, inner in enumerate(value)]
        return [item for item in items if item is not None]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    dates.append(path)
    return None


def _absolute(path: Path, base: Path) -> Path:
    return Path(os.path.normpath(base.absolute() / path.expanduser()))
