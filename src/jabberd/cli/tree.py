"""The tree of commands: those of the server process, and one for each administration command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter as PythonParameter
from inspect import Signature
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from jabberd.cli import process, version
from jabberd.cli.execute import Where, execute, secret
from jabberd.config import StartError, data_folder
from jabberd.core.admin import all_commands
from jabberd.core.command import Description, Parameter, describe
from jabberd.edge.control_client import ControlClient, Lost, NotRunning

_KINDS: Final[dict[str, Any]] = {"str": str, "int": int, "float": float, "bool": bool}
_GROUPS: Final = {
    "user": "Accounts.",
    "config": "The configuration.",
    "gateway": "Gateways. `jabberd gateway NAME` is short for `jabberd gateway run NAME`.",
}
_OWN: Final = ("run", "demo", "config", "gateway")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="JABBERD_CONFIG", help="The configuration file."),
]
DataOption = Annotated[Path | None, typer.Option("--data", help="The data folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def build(arguments: Sequence[str]) -> typer.Typer:
    """The whole command line.

    Args:
        arguments: what will be parsed; where its words are no command that is known here, the
            running server is asked for the commands that its modules bring.
    """
    tree = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Jabber, in Python: an XMPP server.",
    )
    tree.callback()(_version)
    tree.command("run")(process.run)
    tree.command("demo")(process.demo)
    groups = {"config": _group(tree, "config")}
    groups["config"].command("check")(process.check)
    groups["config"].command("show")(process.show)
    groups["gateway"] = _group(tree, "gateway")
    groups["gateway"].command("run")(process.gateway)
    known = [describe(command) for command in all_commands()]
    found = [*known, *_from_server(arguments, known)]
    for description in found:
        *words, last = description.path
        if not words and any(other.path[:-1] == description.path for other in found):
            groups[last] = _group_with(tree, last, description)
            continue
        parent = tree
        if words:
            name = " ".join(words)
            parent = groups.get(name) or groups.setdefault(name, _group(tree, name))
        parent.command(last, help=description.help)(_function(description))
    return tree


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"jabberd {version()}")
        raise typer.Exit


def _version(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Jabber, in Python: an XMPP server."""


def _group(tree: typer.Typer, name: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=_GROUPS.get(name, f"Commands of {name}."))
    tree.add_typer(group, name=name)
    return group


def _group_with(tree: typer.Typer, name: str, description: Description) -> typer.Typer:
    """A group whose name alone is a command as well, as `jabberd s2s` is."""
    group = typer.Typer(invoke_without_command=True, help=description.help)
    run = _function(description, context=True)
    group.callback()(run)
    tree.add_typer(group, name=name)
    return group


def _function(description: Description, *, context: bool = False) -> Callable[..., None]:
    """A function for typer that runs one administration command.

    Args:
        description: of the command.
        context: it has commands below it, and does nothing where one of them is meant.
    """
    secrets = [parameter for parameter in description.parameters if parameter.secret]

    def run(**given: Any) -> None:
        about: typer.Context | None = given.pop("about", None)
        if about is not None and about.invoked_subcommand is not None:
            return
        where = Where(given.pop("config"), given.pop("data"))
        as_json = given.pop("json")
        for parameter in secrets:
            given[parameter.name] = secret(parameter.text)
        execute(description, given, where, as_json=as_json)

    options: list[tuple[str, Any, Any]] = [
        ("config", ConfigOption, None),
        ("data", DataOption, None),
        ("json", JsonOption, False),
    ]
    shown = [_parameter(parameter) for parameter in description.parameters if not parameter.secret]
    shown += [
        PythonParameter(name, PythonParameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in options
    ]
    if context:
        shown.append(
            PythonParameter("about", PythonParameter.KEYWORD_ONLY, annotation=typer.Context)
        )
    run.__signature__ = Signature(shown)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _parameter(parameter: Parameter) -> PythonParameter:
    kind = _KINDS[parameter.kind]
    info: Any = typer.Argument(help=parameter.text)
    if not parameter.positional:
        name = f"--{parameter.name.rstrip('_').replace('_', '-')}"
        info = typer.Option(name, help=parameter.text)
    return PythonParameter(
        parameter.name,
        PythonParameter.KEYWORD_ONLY,
        default=PythonParameter.empty if parameter.required else parameter.default,
        annotation=Annotated[kind | None if parameter.optional else kind, info],
    )


def _from_server(arguments: Sequence[str], known: Iterable[Description]) -> list[Description]:
    """The commands that only a running server knows, where one of them may be meant."""
    words = tuple(takewhile(lambda word: not word.startswith("-"), arguments))
    paths = {description.path for description in known}
    if not words or words[0] in _OWN or any(words[: len(path)] == path for path in paths):
        return []
    file = _option(arguments, "--config") or os.environ.get("JABBERD_CONFIG")
    data = _option(arguments, "--data")
    try:
        folder = data_folder(Path(file) if file else None, data=Path(data) if data else None)
        described = ControlClient(folder, patience=5.0).describe()
    except (StartError, NotRunning, Lost):
        return []
    return [description for description in described if description.path not in paths]


def _option(arguments: Sequence[str], name: str) -> str | None:
    for index, word in enumerate(arguments):
        if word == name:
            return arguments[index + 1] if index + 1 < len(arguments) else None
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
