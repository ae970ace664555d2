"""The ad-hoc face of the administration commands (`core.command`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from jabberd.core.adhoc import AdHoc, AdHocDone, AdHocForm, Answers
from jabberd.core.command import (
    Command,
    CommandError,
    CommandRegistry,
    Parameter,
    Result,
    Scalar,
    Table,
    describe,
    parameters,
)
from jabberd.core.module import Host
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import forms


class AdminCommands:
    """Every administration command as an ad-hoc command, for these bare JIDs only."""

    def __init__(self, host: Host, admins: frozenset[str]) -> None:
        self._host = host
        self._admins = admins

    def all(self) -> list[AdHoc]:
        """The commands; none where nobody may run them or the host has none."""
        if not self._admins:
            return []
        try:
            registry = self._host.require(CommandRegistry)
        except LookupError:
            return []
        return [
            AdHoc(
                node="admin/" + "/".join(command.path),
                name=describe(command).help.partition("\n")[0],
                allowed=self._is_admin,
                run=partial(self._run, registry, command),
            )
            for command in registry.all()
        ]

    def _is_admin(self, jid: JID) -> bool:
        return jid.bare_text in self._admins

    async def _run(
        self, registry: CommandRegistry, command: Command, _requester: JID, given: Sequence[Answers]
    ) -> AdHocForm | AdHocDone:
        wanted = parameters(command)
        if wanted and not given:
            return AdHocForm(_form(command, wanted))
        arguments = _arguments(wanted, given[0]) if given else {}
        try:
            result = await registry.run(command.path, arguments)
        except CommandError as error:
            return AdHocDone(str(error), failed=True)
        return _shown(result)


def _form(command: Command, wanted: Sequence[Parameter]) -> Element:
    help_ = describe(command).help
    return forms.form(
        (_field(parameter) for parameter in wanted),
        title=" ".join(command.path),
        instructions=" ".join(help_.split()),
    )


def _field(parameter: Parameter) -> forms.Field:
    if parameter.kind == "bool":
        kind, values = "boolean", ["true" if parameter.default else "false"]
    else:
        kind = "text-private" if parameter.secret else "text-single"
        values = [] if parameter.default in {None, ""} else [str(parameter.default)]
    return forms.Field(
        parameter.name, kind, parameter.text, values=values, required=parameter.required
    )


def _arguments(wanted: Sequence[Parameter], answers: Answers) -> Mapping[str, Scalar]:
    found: dict[str, Scalar] = {}
    for parameter in wanted:
        text = "".join(answers.get(parameter.name, ())[:1])
        if text:  # an empty field stands for the default
            found[parameter.name] = _value(parameter, text)
    return found


def _value(parameter: Parameter, text: str) -> Scalar:
    try:
        match parameter.kind:
            case "bool":
                return text in forms.TRUE  # the form allows the four lexical forms only
            case "int":
                return int(text)
            case "float":
                return float(text)
            case _:
                return text
    except ValueError:
        raise forms.FormError(f"{parameter.text}: a number is expected") from None


def _shown(result: Result) -> AdHocDone:
    if isinstance(result, str):
        return AdHocDone(result)
    if isinstance(result, Table):
        rows = [["" if cell is None else str(cell) for cell in row] for row in result.rows]
        return AdHocDone(payload=[forms.table(result.columns, rows)])
    return AdHocDone("This goes on until it is interrupted: use the command line.", failed=True)
