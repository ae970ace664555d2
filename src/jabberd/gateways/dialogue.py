"""Everything by chat with the gateway itself, for clients that have neither forms nor commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.acts import Acts
from jabberd.gateways.desk import Desk
from jabberd.gateways.signup import TRUE, SignUps, check
from jabberd.gateways.transport import Field, Form, Question
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID

_MOST: Final = 1_000
_CANCEL: Final = frozenset({"cancel", "stop", "quit"})
_SKIP: Final = "-"


@dataclass(slots=True)
class Asking:
    """A form that somebody fills in, line by line.

    Attributes:
        form: which.
        answers: so far.
        until: when it is forgotten, seconds since the epoch.
    """

    form: Form
    answers: dict[str, str]
    until: float

    def next(self) -> Field | None:
        """The question that has no answer yet."""
        for one in self.form.fields:
            if one.var not in self.answers and one.kind != "fixed":
                return one
        return None


@dataclass(slots=True)
class Dialogue:
    """The chat of one gateway with everybody.

    Attributes:
        desk: of the gateway.
        signups: registers.
        acts: what users can do.
    """

    desk: Desk
    signups: SignUps
    acts: Acts
    _asking: dict[str, Asking] = field(default_factory=dict)

    async def hear(self, jid: JID, text: str) -> str:
        """Answer somebody's line.

        Args:
            jid: who says it, bare.
            text: what.
        """
        text = text.strip()
        try:
            asking = self._under_way(jid)
            if asking is not None:
                return await self._answered(jid, asking, text)
            return await self._command(jid, text)
        except StanzaError as error:
            return error.text or f"That did not work: {error.condition.value}."

    # Commands

    async def _command(self, jid: JID, text: str) -> str:
        word, _, rest = text.partition(" ")
        verbs: Mapping[str, Callable[[JID, str], Awaitable[str]]] = {
            "help": self._help,
            "register": self._register,
            "unregister": self._unregister,
            "add": self.acts.add,
            "remove": self.acts.remove,
            "contacts": self.acts.contacts,
            "status": self.acts.status,
            "login": self.acts.log_in,
            "logout": self.acts.log_out,
            "policy": self.acts.policy,
        }
        verb = verbs.get(word.lower())
        if verb is None:
            return f'I do not know "{word[:40]}". Write "help" to see what I understand.'
        return await verb(jid, rest.strip())

    async def _help(self, jid: JID, _: str) -> str:
        title = self.desk.network.title
        lines = [f"I connect you with {title}. Write one of these:", "  help: show this"]
        if self.desk.users.get(jid.text) is None:
            lines += ["  register: begin", "  policy: what I store, and who sees it"]
            return "\n".join(lines)
        lines += [
            f"  add {self.desk.network.example}: add a contact",
            f"  remove {self.desk.network.example}: remove one",
            "  contacts: show whom I know for you",
            "  status: show whether you are logged in, and what is wrong",
            "  login, logout: begin and end your login there",
            "  register: change your registration",
            "  unregister: remove it, with everything that I have of you",
            "  policy: what I store, and who sees it",
        ]
        return "\n".join(lines)

    async def _register(self, jid: JID, _: str) -> str:
        return self._ask(jid, self.signups.form(jid))

    async def _unregister(self, jid: JID, rest: str) -> str:
        if self.desk.users.get(jid.text) is None:
            return "You are not registered."
        if rest.lower() != "yes":
            return 'This removes everything that I have of you. Write "unregister yes" to do it.'
        await self.acts.unregister(jid)
        return "You are not registered any more. Nothing of you is left here."

    # Forms, line by line

    def _ask(self, jid: JID, form: Form) -> str:
        asking = Asking(form, {}, self.desk.now() + self.desk.rules.sign_up_seconds)
        if len(self._asking) >= _MOST:
            del self._asking[next(iter(self._asking))]
        self._asking[jid.text] = asking
        head = f"{form.instructions}\n" if form.instructions else ""
        return f'{head}(Write "cancel" to stop.)\n{_question(asking.next())}'

    def _under_way(self, jid: JID) -> Asking | None:
        asking = self._asking.get(jid.text)
        if asking is not None and asking.until < self.desk.now():
            del self._asking[jid.text]
            return None
        return asking

    async def _answered(self, jid: JID, asking: Asking, text: str) -> str:
        if text.lower() in _CANCEL:
            del self._asking[jid.text]
            self.signups.cancel(jid)
            return "Stopped. Nothing has changed."
        question = asking.next()
        if question is not None:
            answer = question.default if text == _SKIP else text
            try:
                check(Form("", "", (question,)), {question.var: answer})
            except StanzaError as error:
                return f"{error.text}.\n{_question(question)}"
            asking.answers[question.var] = answer
            if (following := asking.next()) is not None:
                return _question(following)
        elif text.lower() not in {"yes", "y", "ok"}:
            return 'Write "yes" to go on, or "cancel" to stop.'
        del self._asking[jid.text]
        done = await self.signups.submit(jid, asking.answers)
        if isinstance(done, Question):
            return self._ask(jid, done.form)
        return f'You are registered as {done.name}. Write "help" to see what you can do.'


def _question(question: Field | None) -> str:
    if question is None:
        return 'Write "yes" to go on.'
    text = question.label
    if question.hint:
        text = f"{text} ({question.hint})"
    if question.options:
        text += "".join(f"\n  {value}: {label}" for value, label in question.options.items())
    if question.kind == "boolean":
        text += " (yes or no)"
    if question.default:
        shown = question.default
        if question.kind == "boolean":
            shown = "yes" if question.default in TRUE else "no"
        text += f'\nWrite "{_SKIP}" for: {shown}'
    elif not question.required:
        text += f'\nWrite "{_SKIP}" for none'
    return text
