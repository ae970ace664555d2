"""Registration and its end, the same for every way in: forms, commands and chat."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways import presence, roster
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Show
from jabberd.gateways.transport import Field, Form, Question, SignUpRefused, Site
from jabberd.gateways.users import User
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID

MANAGE: Final = "manage-roster"
"""The gateway's own field: whether it may write the user's contact list."""
TRUE: Final = frozenset({"1", "true", "yes", "y"})
_FALSE: Final = frozenset({"0", "false", "no", "n"})
_MOST_PENDING: Final = 1_000
_LONGEST_ANSWER: Final = 4_096
_SECONDS: Final = 60.0
_HOUR: Final = 3_600.0
_ATTEMPTS: Final = 10
"""So many sign-ups of one user may be refused within an hour."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-up that waits for the answers to a question.

    Attributes:
        question: that was asked.
        manages: what the user said about the contact list.
        until: when it is forgotten, seconds since the epoch.
    """

    question: Question
    manages: bool
    until: float


@dataclass(slots=True)
class SignUps:
    """The sign-ups of one gateway.

    Attributes:
        desk: of the gateway.
        site: what the network is offered.
        registered: called when somebody is registered, or registered anew.
        leaving: called before somebody is removed: logs them out.
    """

    desk: Desk
    site: Site
    registered: Callable[[User], Awaitable[None]]
    leaving: Callable[[User], Awaitable[None]]
    _pending: dict[str, Pending] = field(default_factory=dict)
    _refused: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)

    def form(self, jid: JID) -> Form:
        """What to ask somebody next."""
        pending = self._waiting(jid)
        if pending is not None:
            return pending.question.form
        form = self.desk.network.form
        if not self.desk.grants.roster:
            return form
        known = self.desk.users.get(jid.text)
        default = "1" if known is None or known.manages else "0"
        label = "Put my contacts there into my contact list"
        field_ = Field(MANAGE, label, "boolean", default=default)
        return Form(form.title, form.instructions, (*form.fields, field_))

    def current(self, user: User) -> Mapping[str, str]:
        """What somebody is registered with, without what is secret."""
        login = self.desk.users.login(user)
        if login is None:
            return {}
        secret = {f.var for f in self.desk.network.form.fields if f.kind == "text-private"}
        return {name: value for name, value in login.data.items() if name not in secret}

    async def submit(self, jid: JID, answers: Mapping[str, str]) -> User | Question:
        """Take the answers to `form`.

        Returns:
            Who is registered now, or what is to be asked next.

        Raises:
            StanzaError: the answers do not do; conflict, where somebody else is registered with
                the same account.
        """
        self._check_attempts(jid)
        pending = self._waiting(jid)
        form = self.form(jid)
        checked = check(form, answers)
        manages = checked.pop(MANAGE, "1") == "1" if pending is None else pending.manages
        state = pending.question.state if pending is not None else {}
        try:
            async with asyncio.timeout(_SECONDS + 5.0):
                done = await self.desk.network.sign_up(jid.text, checked, state, self.site)
        except SignUpRefused as refused:
            self._count(jid)
            raise _refusal(refused) from None
        except TimeoutError:
            text = "the network does not answer; try again later"
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text) from None
        self._pending.pop(jid.text, None)
        if isinstance(done, Question):
            self._ask(jid, done, manages)
            return done
        owner = self.desk.users.of_name(done.name)
        if owner not in {None, jid.text}:
            text = "somebody else is registered with this account"
            raise StanzaError(Condition.CONFLICT, text)
        user = await self.desk.users.add(jid, done, manages=manages, now=self.desk.now())
        await self._welcome(user)
        await self.registered(user)
        return user

    def cancel(self, jid: JID) -> bool:
        """Forget a sign-up that waits for answers; whether there was one."""
        return self._pending.pop(jid.text, None) is not None

    async def remove(self, user: User, contacts: list[JID]) -> None:
        """Unregister somebody, and leave nothing behind (XEP-0100 §4.3).

        Args:
            user: who.
            contacts: bare addresses that may be in the user's roster.
        """
        await self.leaving(user)
        await self.desk.users.remove(user)
        link, domain = self.desk.link, self.desk.domain
        for jid in [*contacts, domain]:
            if await roster.remove(self.desk, user, jid):
                continue
            for kind in ("unsubscribe", "unsubscribed"):
                link.post(presence.of_type(kind, jid, user.jid))
        link.post(presence.of_gateway(self.desk.network, domain, user.jid, Show.OFFLINE))

    # Inside

    def _check_attempts(self, jid: JID) -> None:
        """Nobody is to try out passwords of others through the gateway."""
        hour_ago = self.desk.now() - _HOUR
        lately = [at for at in self._refused.get(jid.text, ()) if at > hour_ago]
        if len(lately) >= _ATTEMPTS:
            text = "this has failed too often: try again in an hour"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        if lately:
            self._refused[jid.text] = lately
        else:
            self._refused.pop(jid.text, None)

    def _count(self, jid: JID) -> None:
        self._refused.setdefault(jid.text, []).append(self.desk.now())
        if len(self._refused) > _MOST_PENDING:
            self._refused.popitem(last=False)

    async def _welcome(self, user: User) -> None:
        desk = self.desk
        # A probe by who is not subscribed is answered with a refusal, which ends the request.
        welcome = await roster.welcome(desk, user)
        kind = "probe" if welcome else "subscribe"
        desk.link.post(presence.of_type(kind, desk.domain, user.jid))

    def _ask(self, jid: JID, question: Question, manages: bool) -> None:
        if len(self._pending) >= _MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        until = self.desk.now() + self.desk.rules.sign_up_seconds
        self._pending[jid.text] = Pending(question, manages, until)

    def _waiting(self, jid: JID) -> Pending | None:
        pending = self._pending.get(jid.text)
        if pending is not None and pending.until < self.desk.now():
            del self._pending[jid.text]
            return None
        return pending


def check(form: Form, answers: Mapping[str, str]) -> dict[str, str]:
    """The answers to a form, each in the form that its field has; defaults where none was given.

    Raises:
        StanzaError: not-acceptable (XEP-0077 §3.1.1): which one does not do, and why.
    """
    checked: dict[str, str] = {}
    for one in form.fields:
        if one.kind == "fixed":
            continue
        text = answers.get(one.var, "")
        if len(text) > _LONGEST_ANSWER:
            raise _unacceptable(one, "this is too long")
        text = text or one.default
        if one.kind == "boolean" and text:
            if text.lower() not in TRUE | _FALSE:
                raise _unacceptable(one, "yes or no is expected")
            text = "1" if text.lower() in TRUE else "0"
        if one.required and not text.strip():
            raise _unacceptable(one, "an answer is required")
        if one.options and text and text not in one.options:
            raise _unacceptable(one, f"one of these is expected: {', '.join(one.options)}")
        checked[one.var] = text
    return checked


def _unacceptable(one: Field, why: str) -> StanzaError:
    return StanzaError(Condition.NOT_ACCEPTABLE, f"{one.label}: {why}")


def _refusal(refused: SignUpRefused) -> StanzaError:
    condition = Condition.NOT_ACCEPTABLE
    if refused.wrong_password:
        condition = Condition.NOT_AUTHORIZED
    elif refused.timeout:
        condition = Condition.REMOTE_SERVER_TIMEOUT
    return StanzaError(condition, str(refused))
