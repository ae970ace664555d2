"""Administration commands as values: what they take, and how arguments are checked."""

from __future__ import annotations

from typing import Annotated

import pytest

from jabberd.core.admin import all_commands
from jabberd.core.command import (
    BadArguments,
    Command,
    CommandError,
    CommandRegistry,
    Doc,
    Parameter,
    UnknownCommand,
    describe,
    of_hosts,
    parameters,
)


async def greet(
    name: Annotated[str, Doc("whom")],
    times: Annotated[int | None, Doc("how often")] = None,
    *,
    loud: Annotated[bool, Doc("shout")] = False,
    volume: Annotated[float, Doc("how loud")] = 1.0,
    password: Annotated[str, Doc("the word", secret=True)],
) -> str:
    """Say hello.

    And mean it.

    Raises:
        CommandError: never.
    """
    return f"{name} {times} {loud} {volume} {password}"


GREET = Command(("greet",), greet)


def test_parameters_are_read_from_the_signature() -> None:
    assert parameters(GREET) == (
        Parameter("name", "str", "whom", required=True),
        Parameter("times", "int", "how often", required=False, optional=True),
        Parameter("loud", "bool", "shout", required=False, default=False, positional=False),
        Parameter("volume", "float", "how loud", required=False, default=1.0, positional=False),
        Parameter("password", "str", "the word", required=True, positional=False, secret=True),
    )


def test_the_description_has_the_help_without_its_sections() -> None:
    described = describe(GREET)
    assert described.help == "Say hello.\n\nAnd mean it."
    assert described.path == ("greet",)
    assert not described.online


@pytest.mark.asyncio
async def test_arguments_are_given_by_name() -> None:
    registry = CommandRegistry([GREET])
    result = await registry.run(["greet"], {"name": "a", "password": "p", "volume": 2})
    assert result == "a None False 2 p"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"password": "p"}, "name: missing (whom)"),
        ({"name": 1, "password": "p"}, "name: expected text"),
        ({"name": None, "password": "p"}, "name: expected text"),
        ({"name": "a", "password": "p", "times": "2"}, "times: expected a whole number"),
        ({"name": "a", "password": "p", "times": True}, "times: expected a whole number"),
        ({"name": "a", "password": "p", "times": 1.5}, "times: expected a whole number"),
        ({"name": "a", "password": "p", "loud": 1}, "loud: expected true or false"),
        ({"name": "a", "password": "p", "volume": "x"}, "volume: expected a number"),
        ({"name": "a", "password": "p", "x": 1}, "x: there is no such argument"),
        ({"name": [], "x": 1}, "x: there is no such argument; password: missing (the word); "),
    ],
)
async def test_bad_arguments(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(BadArguments) as caught:
        await CommandRegistry([GREET]).run(["greet"], arguments)
    assert problem in str(caught.value)


@pytest.mark.asyncio
async def test_unknown_commands() -> None:
    with pytest.raises(UnknownCommand, match="no command 'no such'"):
        await CommandRegistry([GREET]).run(["no", "such"], {})


def test_a_command_is_defined_once() -> None:
    registry = CommandRegistry([GREET])
    with pytest.raises(ValueError, match="'greet' is defined twice"):
        registry.register(GREET)
    assert registry.find(["greet"]) is GREET


def test_signatures_that_no_face_could_offer() -> None:
    async def unannotated(name: str) -> str:
        return name

    async def odd(names: Annotated[list[str], Doc("several")]) -> str:
        return str(names)

    with pytest.raises(TypeError, match="'name' is not annotated"):
        CommandRegistry([Command(("x",), unannotated)])
    with pytest.raises(TypeError, match="neither str, int, float nor bool"):
        CommandRegistry([Command(("x",), odd)])


@pytest.mark.asyncio
async def test_the_commands_of_the_spine_can_be_described_without_a_server() -> None:
    registry = CommandRegistry(all_commands())
    assert [" ".join(command.path) for command in registry.all()] == [
        "check",
        "gateway list",
        "gateway status",
        "gateway users",
        "reload",
        "restart",
        "s2s",
        "s2s check",
        "sessions",
        "stop",
        "trace",
        "user add",
        "user clients",
        "user delete",
        "user disable",
        "user enable",
        "user list",
        "user passwd",
        "user push",
        "user revoke",
        "user show",
    ]
    assert all(describe(command).help for command in registry.all())
    for path in (["reload"], ["stop"], ["sessions"], ["user", "list"]):
        with pytest.raises(CommandError, match="no server here"):
            await registry.run(path, {})


class Archive:
    """What a module of one host brings."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def show(
        self,
        account: Annotated[str, Doc("whose")],
        *,
        keep: Annotated[str | None, Doc("how long")] = None,
    ) -> str:
        """Show it."""
        return f"{self._host}: {account} {keep}"


def archive(host: str) -> Command:
    return Command(("user", "archive"), Archive(host).show, online=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("hosts", [["a.org"], ["a.org", "b.org"]])
async def test_a_command_of_several_hosts_goes_by_its_account(hosts: list[str]) -> None:
    command = of_hosts({host: archive(host) for host in hosts})
    assert describe(command) == describe(archive("a.org"))
    registry = CommandRegistry([command])
    for host in hosts:
        said = await registry.run(["user", "archive"], {"account": f"x@{host}", "keep": "k"})
        assert said == f"{host}: x@{host} k"
    with pytest.raises(CommandError, match=rf"c\.org has no such command.*: {', '.join(hosts)}$"):
        await registry.run(["user", "archive"], {"account": "x@c.org"})
    with pytest.raises(CommandError, match="not an address"):
        await registry.run(["user", "archive"], {"account": "@"})


def test_a_command_without_an_account_is_one_hosts_alone() -> None:
    assert of_hosts({"a.org": GREET}) is GREET
    with pytest.raises(ValueError, match="no argument 'account'"):
        of_hosts({"a.org": GREET, "b.org": GREET})
