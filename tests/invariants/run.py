"""Carries a plan out, brings everything to rest, and asks the archives what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.integration.wire import CLIENT
from tests.invariants import checks
from tests.invariants.client import Client
from tests.invariants.dialogue import World
from tests.invariants.history import Archived, ClientHistory, History
from tests.invariants.link import Link
from tests.invariants.native import Clock
from tests.invariants.plan import Act, Plan, What
from tests.invariants.servers import Server
from tests.invariants.stream import DOMAIN, MAM, Stream, look_inside, page, query

NEEDED: Final = frozenset({"urn:xmpp:sm:3", "urn:xmpp:mam:2", "urn:xmpp:carbons:2"})
"""What a server must offer to be tested."""
_REST: Final = 60.0  # seconds until everything must have come to rest
_STALL: Final = 4.0  # seconds without anything new, after which what is missing is missing
_UNACKNOWLEDGED: Final = 300  # messages of one client that wait; then it says no more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        plan: what was to happen.
        history: what happened.
        counts: of whatever happened.
        violations: by rule, in words; no entry for a rule that held.
    """

    plan: Plan
    history: History
    counts: Counter[str]
    violations: dict[str, list[str]]


async def run(plan: Plan, server: Server, clock: Clock | None = None) -> Outcome:
    """Carry a plan out on a server that has not been started yet.

    Args:
        plan: what is to happen.
        server: with the plan's accounts.
        clock: the server's, where it is to jump.
    """
    begun = time.monotonic()
    runner = _Runner(plan, server, clock, World(lambda: time.monotonic() - begun))
    await asyncio.to_thread(server.start)
    runner.world.life = 1
    try:
        await runner.act()
        await runner.rest()
        await runner.audit()
    finally:
        await runner.close()
        await asyncio.to_thread(server.stop)
    runner.history.log += server.complaints()
    violations = checks.check(runner.history)
    return Outcome(plan, runner.history, runner.tally(), violations)


class _Runner:
    def __init__(self, plan: Plan, server: Server, clock: Clock | None, world: World) -> None:
        self._plan = plan
        self._server = server
        self._clock = clock
        self.world = world
        self.history = History()
        self._links: list[Link] = []
        self._clients: dict[str, Client] = {}
        self._lives: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._shot = asyncio.Event()

    async def _open(self) -> None:
        for who in self._plan.clients:
            dice = Random(f"{self._plan.seed} {who.name}")
            link = Link(
                lambda: ("127.0.0.1", self._server.port), Random(dice.random()), self.world.counts
            )
            self._links.append(link)
            if self._plan.calm:
                link.heal()
            history = ClientHistory(who.account, who.resource, who.archive)
            self.history.clients.append(history)
            client = Client(history, await link.start(), self.world, dice, who.priority)
            self._clients[who.name] = client
            self._lives.append(asyncio.create_task(client.live()))

    async def act(self) -> None:
        """Let everything happen at its time."""
        await self._open()
        start = self.world.now()
        for act in self._plan.acts:
            await asyncio.sleep(max(0.0, start + act.at - self.world.now()))
            self._look()
            if act.who:
                self._client_acts(self._clients[act.who], act)
            else:
                await self._server_acts(act)
        await asyncio.sleep(max(0.0, start + self._plan.seconds - self.world.now()))

    def _look(self) -> None:
        """A client that ended by itself has found a defect of this suite, or worse."""
        for life in self._lives:
            if life.done():
                life.result()

    def _client_acts(self, client: Client, act: Act) -> None:
        self.world.counts[f"act: {act.what.value}"] += 1
        if act.what is What.SAY:
            if client.waiting < _UNACKNOWLEDGED:
                for _ in range(act.count):
                    client.say(act.to, act.resource or None)
        elif act.what is What.COME:
            client.come()
        elif act.what is What.DROP:
            client.drop()
        elif act.what is What.FORGET:
            client.forget()
        elif act.what is What.LOOK:
            client.look(act.count > 0)
        else:
            task = asyncio.create_task(client.leave())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _server_acts(self, act: Act) -> None:
        server = self._server
        self.world.counts[f"act: {act.what.value}"] += 1
        if act.what is What.KILL:
            await self._renew("kill", server.kill)
        elif act.what is What.KILL_AT_ACK:
            await self._kill_at_ack()
        elif act.what is What.RESTART:
            await self._renew("restart", server.stop)
        elif act.what is What.JUMP:
            assert self._clock is not None
            self._clock.jump(act.count)
        else:
            outage: dict[What, Callable[[], None]] = {
                What.FILL: server.fill,
                What.FREE: server.free,
                What.LOCK: server.lock,
                What.UNLOCK: server.unlock,
            }
            await asyncio.to_thread(outage[act.what])

    async def _kill_at_ack(self) -> None:
        """Kill the server in the very moment in which somebody reads an acknowledgement."""
        shot = asyncio.Event()

        def shoot() -> None:
            if not shot.is_set():
                self._server.shoot()
                shot.set()

        self.world.acknowledged = shoot
        try:
            await asyncio.wait_for(shot.wait(), 2.0)
        except TimeoutError:
            shoot()
        finally:
            self.world.acknowledged = lambda: None
        await self._renew("kill", self._server.kill)

    async def _renew(self, how: str, end: Callable[[], None]) -> None:
        await asyncio.to_thread(end)
        self.world.ended[self.world.life] = how
        if how == "kill":
            self.history.killed.add(self.world.life)
        self.world.life += 1
        await asyncio.to_thread(self._server.start)

    # Coming to rest

    async def rest(self) -> None:
        """Heal everything; everybody comes, catches up, goes in good order, and comes once more."""
        for link in self._links:
            link.heal()
        if self._leaving:
            await asyncio.wait(self._leaving)
        await self._gather()
        # What is still on its way to a session now waits for the account, and comes with the next.
        await asyncio.gather(*(client.leave() for client in self._clients.values()))
        await self._gather()
        await asyncio.gather(*(client.leave() for client in self._clients.values()))

    async def _gather(self) -> None:
        """Have everybody there, with everything."""
        for client in self._clients.values():
            client.come()
        until = self.world.now() + _REST
        seen, stalled = -1, self.world.now()
        while True:
            self._look()
            unsettled = [said for client in self._clients.values() if (said := client.unsettled)]
            missing = checks.unseen(self.history)
            if not unsettled and not missing:
                return
            now = self.world.now()
            count = sum(len(client.seen) for client in self.history.clients)
            if count != seen:
                seen, stalled = count, now
            if (not unsettled and now - stalled > _STALL) or now > until:
                self.history.rest += unsettled
                return
            await asyncio.sleep(0.05)

    async def audit(self) -> None:
        """Read every archive from its beginning to its end."""
        for account in self._plan.accounts:
            self.history.archives[account] = await fetch(self._server.port, account)

    async def close(self) -> None:
        """End what still goes on."""
        for client in self._clients.values():
            client.drop()
            client.end()
        tasks = [*self._lives, *self._leaving]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=10)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for link in self._links:
            await link.close()

    def tally(self) -> Counter[str]:
        """The counts, with those that the history knows."""
        counts = self.world.counts
        for said in self.history.said():
            counts["messages said"] += 1
            counts["messages acknowledged"] += said.acknowledged is not None
            counts["messages written more than once"] += len(said.sessions) > 1
        counts["archive entries"] = sum(map(len, self.history.archives.values()))
        counts["messages delivered"] = checks.delivered(self.history)
        counts |= checks.excused(self.history)
        for how in ("kill", "restart"):
            counts[f"{how}s"] = sum(one == how for one in self.world.ended.values())
        return counts


async def fetch(port: int, account: str) -> list[Archived]:
    """An account's whole archive, as a client without presence reads it."""
    found: list[Archived] = []
    async with await Stream.connect("127.0.0.1", port) as stream:
        await stream.log_in(account)
        await stream.bind("auditor")
        last: str | None = None
        for number in range(1_000_000):
            stream.write(query(f"page{number}", last, 50))
            while (stanza := await stream.next(30)).tag != f"{CLIENT}iq":
                inside = look_inside(stanza, account)
                if inside.wrapper is None or inside.wrapper.tag != f"{MAM}result":
                    continue
                if not inside.error:
                    found.append(Archived(inside.stanza_id or "", inside.key, inside.body or ""))
            answer = page(stanza)
            assert answer.error is None, f"{account}'s archive says {answer.error}"
            if answer.complete:
                break
            assert answer.last not in {None, last}, f"{account}'s archive goes round in a circle"
            last = answer.last
        stream.finish()
        with contextlib.suppress(TimeoutError):
            await stream.ended(5)
    return found


async def lacks(port: int, account: str) -> list[str]:
    """What a server does not offer of what the clients here need; for an account of it."""
    found = set()
    async with await Stream.connect("127.0.0.1", port) as stream:
        features = await stream.log_in(account)
        found |= {child.tag.removeprefix("{").partition("}")[0] for child in features}
        await stream.bind("asker")
        for to in (DOMAIN, f"{account}@{DOMAIN}"):
            answer = await stream.ask(
                f"<iq id='{to}' type='get' to='{to}'>"
                "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
            found |= {child.get("var") or "" for child in answer.iter()}
        stream.finish()
        await stream.ended(5)
    return sorted(NEEDED - found)
