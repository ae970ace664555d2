"""The gateway's ad-hoc commands (XEP-0050): the same acts as by chat, with forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.acts import Acts
from jabberd.gateways.desk import Desk
from jabberd.gateways.signup import SignUps
from jabberd.gateways.transport import Form, Question
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import commands, disco, forms
from jabberd.xmpp.payload.commands import Action, Specific, Status

_NAMES: Final = {
    "register": "Register, or change the registration",
    "add": "Add a contact",
    "contacts": "Show contacts",
    "status": "Show whether I am logged in",
    "login": "Log in",
    "logout": "Log out",
    "policy": "What is stored, and who sees it",
    "unregister": "Unregister",
}
_FOR_ALL: Final = ("register", "policy")
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Open:
    """A command that waits for a form.

    Attributes:
        node: which.
        user: who runs it, bare.
        until: when it is forgotten, seconds since the epoch.
    """

    node: str
    user: str
    until: float


@dataclass(slots=True)
class Commands:
    """The commands of one gateway.

    Attributes:
        desk: of the gateway.
        signups: registers.
        acts: what users can do.
    """

    desk: Desk
    signups: SignUps
    acts: Acts
    _open: dict[str, Open] = field(default_factory=dict)

    def nodes(self, jid: JID) -> Sequence[str]:
        """What somebody can run."""
        return _FOR_ALL if self.desk.users.get(jid.text) is None else tuple(_NAMES)

    def items(self, jid: JID) -> list[Element]:
        """The list of commands (XEP-0050 §2.1)."""
        return [disco.item(self.desk.domain, _NAMES[node], node) for node in self.nodes(jid)]

    def info(self, node: str) -> list[Element] | None:
        """What one command is (XEP-0050 §2.2), or the list of them."""
        if node == ns.COMMANDS:
            return [disco.identity("automation", "command-list")]
        if node not in _NAMES:
            return None
        return [
            disco.identity("automation", "command-node", _NAMES[node]),
            *disco.features([ns.COMMANDS, ns.DATA_FORMS]),
        ]

    async def execute(self, jid: JID, command: Element) -> Element:
        """One step.

        Raises:
            StanzaError: one of XEP-0050 §4.4, or why it could not be done.
        """
        request = commands.read(command)
        if request.node not in self.nodes(jid):
            raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such command")
        if request.sessionid is None:
            return await self._begin(jid, request.node)
        opened = self._open.pop(request.sessionid, None)
        if opened is None or (opened.user, opened.node) != (jid.text, request.node):
            raise commands.failure(Specific.BAD_SESSIONID)
        if opened.until < self.desk.now():
            raise commands.failure(Specific.SESSION_EXPIRED)
        if request.action is Action.CANCEL or _cancelled(request.form):
            self.signups.cancel(jid)
            return commands.answer(request.node, request.sessionid, Status.CANCELED)
        if request.form is None:
            self._open[request.sessionid] = opened
            raise commands.failure(Specific.BAD_PAYLOAD, "the form is missing")
        try:
            return await self._filled(jid, request.sessionid, request.node, request.form)
        except StanzaError:
            self._open[request.sessionid] = opened  # whoever made a mistake may try again
            raise

    async def _begin(self, jid: JID, node: str) -> Element:
        sessionid = self.desk.token()
        if node == "register":
            return self._ask(jid, sessionid, node, data_form(self.signups.form(jid), {}))
        if node == "add":
            asked = forms.Field("address", "text-single", self.desk.network.prompt, required=True)
            return self._ask(jid, sessionid, node, forms.form([asked], title=_NAMES[node]))
        if node == "unregister":
            text = "Everything that the gateway has of you is removed."
            form = forms.form((), title=_NAMES[node], instructions=text)
            return self._ask(jid, sessionid, node, form)
        acts = {
            "contacts": self.acts.contacts,
            "status": self.acts.status,
            "login": self.acts.log_in,
            "logout": self.acts.log_out,
            "policy": self.acts.policy,
        }
        return _done(node, sessionid, await acts[node](jid, ""))

    async def _filled(self, jid: JID, sessionid: str, node: str, form: Element) -> Element:
        answers = first_values(form)
        if node == "add":
            text = await self.acts.add(jid, answers.get("address", ""))
            return _done(node, sessionid, text)
        if node == "unregister":
            await self.acts.unregister(jid)
            return _done(node, sessionid, "You are not registered any more.")
        done = await self.signups.submit(jid, answers)
        if isinstance(done, Question):
            return self._ask(jid, sessionid, node, data_form(done.form, {}))
        return _done(node, sessionid, f"You are registered as {done.name}.")

    def _ask(self, jid: JID, sessionid: str, node: str, form: Element) -> Element:
        if len(self._open) >= _MOST:
            del self._open[next(iter(self._open))]
        until = self.desk.now() + self.desk.rules.sign_up_seconds
        self._open[sessionid] = Open(node, jid.text, until)
        buttons = commands.actions(Action.COMPLETE, [Action.COMPLETE])
        return commands.answer(node, sessionid, Status.EXECUTING, [buttons, form])


def data_form(form: Form, current: Mapping[str, str], form_type: str = "") -> Element:
    """A form as XML; what is known already is filled in, but for secrets."""
    fields = []
    for one in form.fields:
        value = "" if one.kind == "text-private" else current.get(one.var, one.default)
        label = f"{one.label} ({one.hint})" if one.hint else one.label
        fields.append(
            forms.Field(
                one.var,
                one.kind,
                label,
                [value] if value else [],
                [(key, text) for key, text in one.options.items()],
                one.required,
            )
        )
    return forms.form(fields, form_type=form_type, title=form.title, instructions=form.instructions)


def first_values(form: Element) -> dict[str, str]:
    """The answers of a submitted form; of several values the lines of one text."""
    return {
        name: "\n".join(values)
        for name, values in forms.answers(form).items()
        if name != forms.FORM_TYPE
    }


def _cancelled(form: Element | None) -> bool:
    return form is not None and form.get("type") == "cancel"


def _done(node: str, sessionid: str, text: str) -> Element:
    return commands.answer(node, sessionid, Status.COMPLETED, [commands.note(text)])
