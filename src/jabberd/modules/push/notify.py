"""When a client is notified, and how: at once, then now and then, until it has come.

The first message that a client does not get is told at once. As long as the client does not come,
further ones are told together, at most once in so many seconds. A service that does not take a
notification is asked again, after a while that doubles, and is left alone after so many times.
"""

from __future__ import annotations

from typing import Final

import structlog

from jabberd.core.module import Host
from jabberd.core.ports import MessagesApi
from jabberd.modules.push.options import Options
from jabberd.modules.push.registrations import News, Registration, Registrations
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import push
from jabberd.xmpp.stanza import Iq

_log: Final = structlog.get_logger("jabberd.push")
_MOST_UNDER_WAY: Final = 200  # notifications whose answers are waited for
_ANSWER_SECONDS: Final = 30.0
_LONGEST_PAUSE: Final = 3_600.0
_OFF_SECONDS: Final = 86_400.0  # §7.1 names a day
_DUE_ACCOUNTS: Final = 10_000


class Notifier:
    """Notifies clients.

    Args:
        host: whose accounts'.
        options: how often, and what they are told.
        registrations: of the accounts.
    """

    def __init__(self, host: Host, options: Options, registrations: Registrations) -> None:
        self._host = host
        self._options = options
        self._registrations = registrations
        self._under_way: set[Registration] = set()
        self._due: dict[JID, None] = {}  # accounts some of whose bells ring later
        self._armed = False  # `due` will be called

    def ring(self, account: JID, device: Registration, news: News, messages: int = 1) -> None:
        """A client has not got so many more messages; `news` is about the last."""
        bell = device.bell
        bell.unread += messages
        bell.news = news
        now = self._host.now()
        if self._may_ring(device, now):
            self._start(account, device, now)
        elif _is_on(device, now) and bell.due is None:
            since = now if bell.rung is None else bell.rung
            self._later(account, device, max(now, since + self._options.seconds))

    def here(self, device: Registration) -> None:
        """The client is here, and gets what there is."""
        bell = device.bell
        bell.unread, bell.news, bell.rung, bell.due = 0, News(), None, None

    async def notify(self, account: JID, device: Registration, wait: float) -> None:
        """Notify a client now, and remember how it went."""
        bell, options = device.bell, self._options
        summary = push.Summary(
            messages=max(1, bell.unread),
            sender=bell.news.sender if options.include_sender else None,
            body=(bell.news.body or None) if options.include_body else None,
        )
        request = push.publish(device.node, summary, device.form())
        iq = Iq.build([request], to=device.service, type="set")
        try:
            await self._host.ask(iq, wait, account=account)
        except StanzaError as error:
            self._failed(account, device, error)
        else:
            device.took(self._host.now())
        if self._registrations.has(account, device):
            await self._registrations.save(account)

    def due(self) -> None:
        """Ring the bells whose time has come; called now and then while there are some."""
        self._armed = False
        now = self._host.now()
        for account in list(self._due):
            waiting = False
            for device in self._registrations.known(account) or ():
                if device.bell.due is None or not _is_on(device, now):
                    continue
                if self._may_ring(device, now):
                    self._start(account, device, now)
                else:
                    waiting = True
            if not waiting:
                del self._due[account]
        self._arm()

    def _may_ring(self, device: Registration, now: float) -> bool:
        due, rung = device.bell.due, device.bell.rung
        # A clock that was set back must not silence it.
        if due is not None:
            ripe = now >= due or due - now > _LONGEST_PAUSE
        else:
            ripe = rung is None or not 0 <= now - rung < self._options.seconds
        return ripe and _is_on(device, now) and self._has_room(device)

    def _has_room(self, device: Registration) -> bool:
        return device not in self._under_way and len(self._under_way) < _MOST_UNDER_WAY

    def _start(self, account: JID, device: Registration, now: float) -> None:
        device.bell.rung, device.bell.due = now, None
        self._under_way.add(device)
        self._host.spawn(f"push for {account}", self._notify(account, device))

    async def _notify(self, account: JID, device: Registration) -> None:
        try:
            # Whoever comes because of it must find it.
            await self._host.require(MessagesApi).settled()
            await self.notify(account, device, _ANSWER_SECONDS)
        finally:
            self._under_way.discard(device)

    def _failed(self, account: JID, device: Registration, error: StanzaError) -> None:
        now, bell = self._host.now(), device.bell
        device.failed(error, now, self._options.failures)
        log = _log.bind(jid=account.text, device=device.resource, service=device.service.text)
        if device.off_at is not None:
            log.warning("push ended", error=str(error), failures=device.failures)
            bell.due = None
        else:
            log.info("push failed", error=str(error), failures=device.failures)
            if bell.unread and bell.rung is not None:
                pause = max(1.0, self._options.seconds) * 2**device.failures
                self._later(account, device, now + min(_LONGEST_PAUSE, pause))

    def _later(self, account: JID, device: Registration, at: float) -> None:
        device.bell.due = at
        if len(self._due) < _DUE_ACCOUNTS:
            self._due[account] = None
            self._arm()

    def _arm(self) -> None:
        if self._due and not self._armed:
            self._armed = True
            tick = min(5.0, max(0.05, self._options.seconds / 4))
            self._host.later(tick, self.due)


def _is_on(device: Registration, now: float) -> bool:
    off = device.off_at
    return off is None or not 0 <= now - off < _OFF_SECONDS
