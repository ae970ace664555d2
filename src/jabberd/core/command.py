"""Administration commands: typed functions, defined once, with several faces (CLI, later REST).

A command is a coroutine function whose parameters are annotated with `str`, `int`, `float`,
`bool`, or one of these `| None`, each wrapped as ``Annotated[str, Doc("what it is")]``.
Parameters before ``*`` are positional arguments; keyword-only ones are options. Its docstring
is its help.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jabberd.core.printable import printable
from jabberd.xmpp.jid import JID, InvalidJID

Scalar = str | int | float | bool | None
"""What an argument or a cell of a table can be."""


class CommandError(Exception):
    """The command could not be done; the text is for the person who gave it."""


class UnknownCommand(CommandError):  # noqa: N818 -- a kind of CommandError, read as one
    """There is no command of this name."""


class BadArguments(CommandError):  # noqa: N818 -- a kind of CommandError, read as one
    """Arguments are missing, unknown or of the wrong type; the text names all of them."""


@dataclass(frozen=True, slots=True)
class Doc:
    """What a parameter is, in a few words.

    Attributes:
        text: the words.
        secret: never shown, logged or taken from the command line: the CLI asks for it.
    """

    text: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people, or for `--json`.

    Attributes:
        columns: the headings.
        rows: one value per heading; text, numbers, booleans or None.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Scalar]]


Result = str | Table | AsyncIterator[str]
"""A sentence, a table, or lines that keep coming until the person interrupts."""


@dataclass(frozen=True, slots=True)
class Command:
    """One administration command.

    Attributes:
        path: its words, for example ("user", "add").
        run: the function.
        online: it needs a running server; others also work on the data of a stopped one.
    """

    path: tuple[str, ...]
    run: Callable[..., Awaitable[Result]]
    online: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a command.

    Attributes:
        name: as Python has it.
        kind: "str", "int", "float" or "bool".
        text: what it is, in a few words.
        required: there is no default.
        default: what stands in when it is not given.
        positional: an argument by position; an option otherwise.
        optional: None is allowed.
        secret: never shown, logged or taken from the command line.
    """

    name: str
    kind: str
    text: str
    required: bool
    default: Scalar = None
    positional: bool = True
    optional: bool = False
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """A command without its function: what a face needs to offer it.

    Attributes:
        path: its words.
        help: its docstring, without the sections on arguments and errors.
        parameters: in order.
        online: it needs a running server.
    """

    path: tuple[str, ...]
    help: str
    parameters: tuple[Parameter, ...]
    online: bool


_KINDS: Final[Mapping[type, str]] = {str: "str", int: "int", float: "float", bool: "bool"}
_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def parameters(command: Command) -> tuple[Parameter, ...]:
    """What a command takes, by its annotated signature.

    Raises:
        TypeError: a parameter is not annotated as the module's docstring says: a bug of ours.
    """
    hints = typing.get_type_hints(command.run, include_extras=True)
    return tuple(
        _parameter(parameter, hints.get(name))
        for name, parameter in inspect.signature(command.run).parameters.items()
    )


def _parameter(parameter: inspect.Parameter, hint: object) -> Parameter:
    name = parameter.name
    doc = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Doc)), None)
    if doc is None:
        raise TypeError(f"parameter {name!r} is not annotated as Annotated[…, Doc(…)]")
    kind: Any = typing.get_args(hint)[0]
    optional = False
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        members = [member for member in typing.get_args(kind) if member is not types.NoneType]
        optional = len(members) < len(typing.get_args(kind))
        kind = members[0] if len(members) == 1 else None
    if kind not in _KINDS:
        raise TypeError(f"parameter {name!r} is neither str, int, float nor bool")
    required = parameter.default is inspect.Parameter.empty
    return Parameter(
        name,
        _KINDS[kind],
        doc.text,
        required,
        None if required else parameter.default,
        positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
        optional=optional,
        secret=doc.secret,
    )


def describe(command: Command) -> Description:
    """A command as a value that can be sent somewhere else."""
    text = inspect.cleandoc(command.run.__doc__ or "")
    for section in ("Args:", "Returns:", "Raises:"):
        text = text.partition(f"\n{section}")[0]
    return Description(command.path, text.strip(), parameters(command), command.online)


def of_hosts(commands: Mapping[str, Command]) -> Command:
    """One command, for that which a module brings on each host that loads it.

    Its argument `account` says which host is meant.

    Args:
        commands: by the domain of their host; one at least, and all of one kind.

    Raises:
        ValueError: there are several hosts, and no such argument.
    """
    first = next(iter(commands.values()))
    if all(parameter.name != "account" for parameter in parameters(first)):
        if len(commands) > 1:
            words = " ".join(first.path)
            raise ValueError(f"command {words!r} of several hosts has no argument 'account'")
        return first

    @functools.wraps(first.run)
    async def run(*, account: str, **others: object) -> Result:
        try:
            domain = JID.parse(account).domain
        except InvalidJID as error:
            raise CommandError(f"not an address: {printable(str(error), 200)}") from None
        if domain not in commands:
            hosts = ", ".join(sorted(commands))
            raise CommandError(f"{printable(domain, 200)} has no such command; these have: {hosts}")
        return await commands[domain].run(account=account, **others)

    return Command(first.path, run, first.online)


class CommandRegistry:
    """Every command of this process, by its words.

    Args:
        commands: to begin with.
    """

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self._commands: dict[tuple[str, ...], Command] = {}
        for command in commands:
            self.register(command)

    def register(self, command: Command) -> None:
        """Add a command.

        Raises:
            ValueError: there is one with these words already.
            TypeError: its function is not annotated as it should be.
        """
        parameters(command)
        if command.path in self._commands:
            raise ValueError(f"command {' '.join(command.path)!r} is defined twice")
        self._commands[command.path] = command

    def find(self, path: Sequence[str]) -> Command:
        """The command with these words.

        Raises:
            UnknownCommand: there is none.
        """
        try:
            return self._commands[tuple(path)]
        except KeyError:
            raise UnknownCommand(f"there is no command {' '.join(path)!r}") from None

    def all(self) -> list[Command]:
        """Every command, in order of their words."""
        return [command for _, command in sorted(self._commands.items())]

    async def run(self, path: Sequence[str], arguments: Mapping[str, object]) -> Result:
        """Run a command with arguments by name, which are checked first.

        Raises:
            UnknownCommand: there is no such command.
            BadArguments: see there.
            CommandError: it could not be done.
        """
        command = self.find(path)
        return await command.run(**_bind(command, arguments))


def _bind(command: Command, arguments: Mapping[str, object]) -> dict[str, object]:
    known = {parameter.name: parameter for parameter in parameters(command)}
    problems = [f"{name}: there is no such argument" for name in arguments if name not in known]
    problems += [
        f"{name}: missing ({parameter.text})"
        for name, parameter in known.items()
        if parameter.required and name not in arguments
    ]
    problems += [
        f"{name}: expected {_WORDS[known[name].kind]}"
        for name, value in arguments.items()
        if name in known and not _fits(known[name], value)
    ]
    if problems:
        raise BadArguments("; ".join(problems))
    return dict(arguments)


def _fits(parameter: Parameter, value: object) -> bool:
    if value is None:
        return parameter.optional
    if isinstance(value, bool):  # which is an int to Python
        return parameter.kind == "bool"
    allowed: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    return isinstance(value, allowed.get(parameter.kind, ()))
