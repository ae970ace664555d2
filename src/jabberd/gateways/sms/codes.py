"""Proof that a number is a user's: a code that is sent there by SMS."""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms.backend import Outgoing
from jabberd.gateways.sms.hub import Hub
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.transport import (
    BadAddress,
    Field,
    Form,
    Login,
    Lost,
    NotDone,
    Question,
    SignUpRefused,
    Site,
)

_DIGITS: Final = 6
_SECONDS: Final = 600.0
_ATTEMPTS: Final = 5
_PER_USER: Final = 5
_PER_NUMBER: Final = 3
_MOST: Final = 1_000
NUMBER_FORM: Final = Form(
    "SMS",
    "Enter your telephone number. You get a code by SMS, which proves that it is yours.",
    (Field("phone", "Telephone number", required=True),),
)


@dataclass(slots=True)
class Code:
    """A code that was sent.

    Attributes:
        number: where to.
        digits: what it says.
        until: when it is of no use any more, seconds since the epoch.
        wrong: how many others were entered.
    """

    number: str
    digits: str = field(repr=False)
    until: float = 0.0
    wrong: int = 0


class Codes:
    """The sign-ups of one gateway that wait for a code; in memory, since they take minutes.

    Args:
        numbers: their spelling, and which are allowed.
        source: who the codes come from.
    """

    def __init__(self, numbers: Numbers, source: str) -> None:
        self._numbers = numbers
        self._source = source
        self._codes: OrderedDict[str, Code] = OrderedDict()

    async def sign_up(
        self,
        user: str,
        answers: Mapping[str, str],
        state: Mapping[str, str],
        site: Site,
        hub: Hub,
    ) -> Login | Question:
        """See `Network.sign_up`."""
        if "number" in state:
            return self._check(user, answers.get("code", ""), state["number"], site.now())
        return await self._send(user, answers.get("phone", ""), site, hub)

    async def _send(self, user: str, text: str, site: Site, hub: Hub) -> Question:
        try:
            number = self._numbers.canonical(text)
            self._numbers.check(number)
        except BadAddress as error:
            raise SignUpRefused(str(error)) from None
        except NotDone as error:
            raise SignUpRefused(error.text) from None
        now = site.now()
        await self._count(user, number, hub, now)
        digits = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
        self._codes.pop(user, None)
        self._codes[user] = Code(number, digits, now + _SECONDS)
        if len(self._codes) > _MOST:
            self._codes.popitem(last=False)
        said = (
            f"{digits} is your code for {site.domain}. "
            "If you did not ask for it, do not tell it to anybody."
        )
        try:
            await hub.backend.send(Outgoing(self._source, number, said))
        except Lost as error:
            raise SignUpRefused(f"the code cannot be sent now: {error}", timeout=True) from None
        except NotDone as error:
            if error.trouble is not Trouble.UNKNOWN_FATE:
                raise SignUpRefused(f"the code could not be sent: {error.text}") from None
        form = Form(
            "SMS",
            f"A code of {_DIGITS} digits was sent to {number}. It is good for 10 minutes.",
            (Field("code", "Code", required=True),),
        )
        return Question(form, {"number": number})

    async def _count(self, user: str, number: str, hub: Hub, now: float) -> None:
        if not hub.backend.link.is_up:
            raise SignUpRefused("no SMS can be sent now; try again later", timeout=True)
        take = hub.counters.take
        if not await take(f"codes for {user}", 1, _PER_USER, now):
            raise SignUpRefused("you have asked for too many codes; try again tomorrow")
        if not await take(f"codes to {number}", 1, _PER_NUMBER, now):
            raise SignUpRefused("too many codes went to this number; try again tomorrow")

    def _check(self, user: str, text: str, number: str, now: float) -> Login | Question:
        code = self._codes.get(user)
        if code is None or code.until < now or code.number != number:
            return _again("The code is not good any more.")
        entered = re.sub(r"\D", "", text)
        if hmac.compare_digest(entered.encode(), code.digits.encode()):
            del self._codes[user]
            return Login(number, {"phone": number})
        code.wrong += 1
        if code.wrong >= _ATTEMPTS:
            del self._codes[user]
            return _again("Too many wrong codes were entered.")
        raise SignUpRefused("this is not the code that was sent", wrong_password=True)


def _again(why: str) -> Question:
    """Begin anew: the answers are taken like those to the first form."""
    form = Form(NUMBER_FORM.title, f"{why} {NUMBER_FORM.instructions}", NUMBER_FORM.fields)
    return Question(form)
