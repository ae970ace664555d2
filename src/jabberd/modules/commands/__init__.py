"""XEP-0050 Ad-Hoc Commands: commands of modules, and the administration commands for admins."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from jabberd.core.adhoc import AdHoc, AdHocDone, AdHocForm, Answers
from jabberd.core.module import (
    At,
    DiscoNodes,
    Host,
    IqSet,
    Module,
    OnSession,
    SessionEvent,
    Xep,
)
from jabberd.core.ports import ModulesApi
from jabberd.core.session import Session
from jabberd.modules.commands.admin import AdminCommands
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import commands, disco, forms
from jabberd.xmpp.payload.commands import Action, Specific, Status
from jabberd.xmpp.stanza import Iq

XEP = Xep(50, "1.3.0")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Ad-hoc commands.

    Attributes:
        admins: bare JIDs that may run the administration commands from their client.
        keep_seconds: how long a command waits for its next form.
        run_seconds: how long a command may work on one form.
        max_open: how many commands can wait for their next form, in all.
        max_open_per_account: the same for one person.
    """

    admins: tuple[str, ...] = ()
    keep_seconds: float = 600.0
    run_seconds: float = 60.0
    max_open: int = 1000
    max_open_per_account: int = 10

    def __post_init__(self) -> None:
        for admin in self.admins:
            jid = JID.parse(admin)  # InvalidJID is a ValueError that says what is wrong
            if not jid.local or not jid.is_bare:
                raise ValueError(f"admins: {admin!r} is not an address of the form name@host")


@dataclass(frozen=True, slots=True)
class _Execution:
    """A command that waits for somebody to fill in a form."""

    command: AdHoc
    requester: JID
    given: tuple[Answers, ...]
    asked: AdHocForm
    until: float


class Commands:
    """Runs commands, one form after another, for whom they are allowed."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._admin = AdminCommands(host, frozenset(JID.parse(a).text for a in options.admins))
        self._open: dict[str, _Execution] = {}  # by session id
        self._key = secrets.token_bytes(32)

    async def execute(self, iq: Iq, _session: Session | None) -> Element:
        """One step of a command (§2.4).

        Raises:
            StanzaError: one of §4.4.
        """
        request = commands.read(iq.request())
        if request.lang and request.lang.partition("-")[0].lower() != "en":
            # Only a language that the command itself asks for (§3.7): the one on the stanza is
            # most often the default of its stream, and English is better than nothing then.
            raise commands.failure(Specific.BAD_LOCALE, "this server speaks English")
        requester = _sender(iq)
        command = self._find(request.node, requester)
        self._expire()
        if request.sessionid is None:
            if request.action is not Action.EXECUTE:
                raise commands.failure(Specific.BAD_ACTION, "there is no session to go on with")
            sessionid = self._new_id(requester, request.node)
            return await self._step(sessionid, command, requester, ())
        sessionid = request.sessionid
        execution = self._take(sessionid, requester, request.node)
        if request.action is Action.CANCEL:
            return commands.answer(request.node, sessionid, Status.CANCELED)
        try:
            given = _advance(execution, request)
            return await self._step(sessionid, command, requester, given)
        except StanzaError:
            self._open[sessionid] = execution  # whoever made a mistake may try again
            raise

    def info(self, node: str, asker: JID) -> Sequence[Element] | None:
        """What a command is, or the list of all (§2.1, §2.2)."""
        if node == ns.COMMANDS:
            return [
                disco.identity("automation", "command-list"),
                *disco.features([ns.DISCO_INFO, ns.DISCO_ITEMS, ns.COMMANDS]),
            ]
        if not any(command.node == node for command in self._all()):
            return None
        command = self._find(node, asker)
        return [
            disco.identity("automation", "command-node", command.name),
            *disco.features([ns.DISCO_INFO, ns.COMMANDS, ns.DATA_FORMS]),
        ]

    def items(self, node: str, asker: JID) -> Sequence[Element] | None:
        """The commands that somebody may run (§2.2)."""
        if node == ns.COMMANDS:
            return [
                disco.item(self._host.domain, command.name, command.node)
                for command in self._all()
                if command.allowed(asker)
            ]
        return () if any(command.node == node for command in self._all()) else None

    def forget(self, session: Session) -> None:
        """A client that is gone fills in no form."""
        self._open = {
            key: execution
            for key, execution in self._open.items()
            if execution.requester != session.jid
        }

    def _all(self) -> list[AdHoc]:
        modules = self._host.require(ModulesApi).loaded()
        return [*(c for _, module in modules for c in module.adhoc), *self._admin.all()]

    def _find(self, node: str, requester: JID) -> AdHoc:
        for command in self._all():
            if command.node == node:
                if not command.allowed(requester):
                    # §4.4 has type cancel here, where RFC 6120 has auth.
                    raise StanzaError(Condition.FORBIDDEN, "", ErrorType.CANCEL)
                return command
        raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such command")

    async def _step(
        self, sessionid: str, command: AdHoc, requester: JID, given: tuple[Answers, ...]
    ) -> Element:
        outcome = await self._run(command, requester, given)
        if isinstance(outcome, AdHocForm):
            self._make_room(requester)
            until = self._host.now() + self._options.keep_seconds
            self._open[sessionid] = _Execution(command, requester, given, outcome, until)
            children = [_actions(outcome, going_back=bool(given)), outcome.form]
            return commands.answer(command.node, sessionid, Status.EXECUTING, children)
        children = list(outcome.payload)
        if outcome.note:
            children.append(commands.note(outcome.note, failed=outcome.failed))
        return commands.answer(command.node, sessionid, Status.COMPLETED, children)

    async def _run(
        self, command: AdHoc, requester: JID, given: tuple[Answers, ...]
    ) -> AdHocForm | AdHocDone:
        _log.info("%s runs command %s, form %d", requester.bare_text, command.node, len(given))
        # Not asyncio.timeout: a handler may run without a task of its own (core.eager).
        work = asyncio.ensure_future(command.run(requester, given))
        try:
            done, _ = await asyncio.wait({work}, timeout=self._options.run_seconds)
        finally:
            work.cancel()
        if not done:
            return AdHocDone("The command took too long and was given up.", failed=True)
        try:
            return work.result()
        except forms.FormError as error:
            raise commands.failure(Specific.BAD_PAYLOAD, str(error)) from None

    def _take(self, sessionid: str, requester: JID, node: str) -> _Execution:
        """The open execution; removed, so that nobody uses it twice at the same time."""
        nonce = sessionid.partition(".")[0]
        expected = f"{nonce}.{self._mac(nonce, requester, node)}"
        if not hmac.compare_digest(sessionid.encode(), expected.encode()):
            raise commands.failure(Specific.BAD_SESSIONID)
        execution = self._open.pop(sessionid, None)
        if execution is None:  # made by us for this requester: it was open once
            raise commands.failure(Specific.SESSION_EXPIRED)
        return execution

    def _new_id(self, requester: JID, node: str) -> str:
        nonce = secrets.token_urlsafe(12)
        return f"{nonce}.{self._mac(nonce, requester, node)}"

    def _mac(self, nonce: str, requester: JID, node: str) -> str:
        # A session belongs to one requester and one command (§3.3). With this, a session that
        # ended is told from one that never was, and nothing has to be remembered for that.
        text = f"{nonce}\0{requester.text}\0{node}"
        return hmac.digest(self._key, text.encode(), "sha256")[:12].hex()

    def _make_room(self, requester: JID) -> None:
        person = requester.bare
        theirs = sum(execution.requester.bare == person for execution in self._open.values())
        if theirs >= self._options.max_open_per_account:
            raise StanzaError(Condition.NOT_ALLOWED, "finish or cancel another command first")
        if len(self._open) >= self._options.max_open:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many commands are open")

    def _expire(self) -> None:
        now = self._host.now()
        self._open = {key: e for key, e in self._open.items() if e.until > now}


def _advance(execution: _Execution, request: commands.Request) -> tuple[Answers, ...]:
    """The answers that the next step has, by the action and the form of a request (§3.4)."""
    forward = Action.COMPLETE if execution.asked.last else Action.NEXT
    if request.action is Action.PREV and execution.given:
        return execution.given[:-1]
    if request.action not in {Action.EXECUTE, forward}:
        raise commands.failure(Specific.BAD_ACTION)
    answers = {} if request.form is None else forms.answers(request.form)
    try:
        forms.check(execution.asked.form, answers)
    except forms.FormError as error:
        raise commands.failure(Specific.BAD_PAYLOAD, str(error)) from None
    return (*execution.given, answers)


def _actions(stage: AdHocForm, *, going_back: bool) -> Element:
    forward = Action.COMPLETE if stage.last else Action.NEXT
    return commands.actions(forward, [Action.PREV, forward] if going_back else [forward])


def _sender(iq: Iq) -> JID:
    if iq.from_ is None:
        raise StanzaError(Condition.BAD_REQUEST, "who asks?")
    return iq.from_


def load(host: Host, options: Options) -> Module:
    """The ad-hoc commands of all modules, and for admins the administration commands."""
    service = Commands(host, options)
    return Module(
        handlers=[
            IqSet(ns.COMMANDS, "command", service.execute, At.HOST),
            OnSession(SessionEvent.CLOSED, service.forget),
        ],
        features=[ns.COMMANDS, ns.DATA_FORMS],
        nodes=[DiscoNodes(service.info, service.items)],
    )
