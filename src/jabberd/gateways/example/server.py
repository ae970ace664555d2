"""The far end of the example network: `python -m jabberd.gateways.example.server`.

Everybody who logs in has an account from then on, with that password. `echo` is always there and
says everything back. With a file, nothing that was acknowledged is lost when the server is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jabberd.gateways.example.wire import LONGEST_LINE, Thing, WireError, decode, encode

_MOST_KNOWN: Final = 10_000
ECHO: Final = "echo"


@dataclass(slots=True)
class Account:
    """Somebody on the network.

    Attributes:
        password: of the account.
        contacts: id → name, groups and consent.
        waiting: events that the client has not confirmed yet, in order.
        shown: show and status.
        lines: connections of the account.
    """

    password: str = field(repr=False)
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: tuple[str, str] = ("unavailable", "")
    lines: set[asyncio.StreamWriter] = field(default_factory=set)


class Refused(Exception):  # noqa: N818 -- what became of it, read as such
    """What was asked is not done; the message says why."""


class World:
    """The state of the network.

    Args:
        file: where it is kept; None: in memory.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.accounts: dict[str, Account] = {ECHO: Account("")}
        self.sent: list[tuple[str, str, str]] = []
        self._known: OrderedDict[str, str] = OrderedDict()
        self._count = 0
        if file is not None and file.exists():
            self._read(file)

    def log_in(self, name: str, password: str) -> Account:
        """Let somebody in.

        Raises:
            Refused: the password is another.
        """
        account = self.accounts.setdefault(name, Account(password))
        if account.password != password or name == ECHO:
            raise Refused("wrong password")
        return account

    def find(self, name: str) -> Account:
        """Somebody.

        Raises:
            Refused: there is nobody of this name.
        """
        if name not in self.accounts:
            raise Refused(f"there is nobody called {name}")
        return self.accounts[name]

    def send(self, sender: str, to: str, text: str, id: str = "", **more: Any) -> str:  # noqa: A002
        """Send a message; the same `id` is the same message, however often it is sent."""
        if id and (known := self._known.get(f"{sender} {id}")):
            return known
        target = self.find(to)
        name = self.new_id()
        if id:
            self._known[f"{sender} {id}"] = name
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        self.sent.append((sender, to, text))
        event = {"on": "message", "from": sender, "text": text, "id": name, "at": time.time()}
        if to == ECHO:
            self.send(ECHO, sender, text)
        else:
            target.waiting[name] = {**event, **more}
            self.tell(to, target.waiting[name])
        return name

    def new_id(self) -> str:
        """A name for a message."""
        self._count += 1
        return f"m{self._count}"

    def tell(self, name: str, event: Thing) -> None:
        """Tell all clients of somebody what happened."""
        for line in self.accounts[name].lines:
            line.write(encode(event))

    def show(self, name: str, show: str, status: str) -> None:
        """Change what somebody shows to those who may see it."""
        account = self.accounts[name]
        account.shown = (show, status)
        for other, watcher in self.accounts.items():
            if watcher.contacts.get(name, {}).get("consent") == "given":
                event = {"on": "presence", "from": name, "show": show, "status": status}
                self.tell(other, event)

    def save(self) -> None:
        """Write everything down, where there is a file."""
        if self._file is None:
            return
        state = {
            "count": self._count,
            "known": list(self._known.items()),
            "sent": self.sent,
            "accounts": {
                name: [account.password, account.contacts, account.waiting]
                for name, account in self.accounts.items()
            },
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        os.replace(fresh, self._file)  # noqa: PTH105 -- the words of the standard library

    def _read(self, file: Path) -> None:
        state = json.loads(file.read_text())
        self._count = state["count"]
        self._known = OrderedDict(state["known"])
        self.sent = [tuple(one) for one in state["sent"]]
        for name, (password, contacts, waiting) in state["accounts"].items():
            self.accounts[name] = Account(password, contacts, waiting)


class Server:
    """Listens for clients.

    Args:
        world: the network.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("it does not listen")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._client, host, port, limit=LONGEST_LINE)

    async def stop(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for account in self.world.accounts.values():
            for line in list(account.lines):
                line.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            while line := await reader.readline():
                thing = decode(line)
                try:
                    answer, name = self._do(name, thing, writer)
                except Refused as error:
                    answer = {"error": str(error)}
                self.world.save()
                writer.write(encode({"ref": thing.get("ref"), **answer}))
                if thing.get("do") == "login" and name:
                    for event in list(self.world.accounts[name].waiting.values()):
                        writer.write(encode(event))
                await writer.drain()
        except (OSError, ValueError, KeyError, WireError):
            pass  # a client that breaks the rules, or its connection
        finally:
            writer.close()
            if name:
                account = self.world.accounts[name]
                account.lines.discard(writer)
                if not account.lines:
                    self.world.show(name, "unavailable", "")

    def _do(
        self, name: str, thing: dict[str, Any], writer: asyncio.StreamWriter
    ) -> tuple[dict[str, Any], str]:
        verb = str(thing["do"])
        if verb == "login":
            name = str(thing["name"])
            self.world.log_in(name, str(thing["password"])).lines.add(writer)
            return {}, name
        if not name:
            raise Refused("log in first")
        handle = getattr(self, f"_do_{verb}", None)
        if handle is None:
            raise Refused(f"there is no {verb[:20]}")
        return handle(name, thing), name

    def _do_send(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        more = {key: thing[key] for key in ("replaces", "replies_to") if thing.get(key)}
        to, text = str(thing["to"]), str(thing["text"])
        return {"id": self.world.send(name, to, text, str(thing["id"]), **more)}

    def _do_got(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        event = self.world.accounts[name].waiting.pop(thing["id"], None)
        if event is not None and event["from"] in self.world.accounts:
            self.world.tell(event["from"], {"on": "received", "from": name, "id": thing["id"]})
        return {}

    def _do_typing(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        return self._pass_on(name, thing, {"on": "typing", "typing": thing["typing"]})

    def _do_read(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        return self._pass_on(name, thing, {"on": "read", "id": thing["id"]})

    def _do_react(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        event = {"on": "reacted", "id": thing["id"], "emojis": thing["emojis"]}
        return self._pass_on(name, thing, event)

    def _do_retract(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        return self._pass_on(name, thing, {"on": "retracted", "id": thing["id"]})

    def _pass_on(self, name: str, thing: Thing, event: Thing) -> dict[str, Any]:
        self.world.find(thing["to"])
        self.world.tell(thing["to"], {**event, "from": name})
        return {}

    def _do_presence(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        self.world.show(name, thing["show"], thing["status"])
        return {}

    def _do_contacts(self, name: str, _thing: dict[str, Any]) -> dict[str, Any]:
        contacts = self.world.accounts[name].contacts
        for other, one in contacts.items():
            if one["consent"] == "given" and other in self.world.accounts:
                show, status = self.world.accounts[other].shown
                event = {"on": "presence", "from": other, "show": show, "status": status}
                self.world.tell(name, event)
        return {"contacts": list(contacts.values())}

    def _do_add(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        other = str(thing["id"])
        self.world.find(other)
        consent = "given" if other == ECHO else "asked"
        contact = {"id": other, "name": thing.get("name", ""), "groups": [], "consent": consent}
        self.world.accounts[name].contacts.setdefault(other, contact)
        self.world.tell(other, {"on": "asks", "from": name})
        return self.world.accounts[name].contacts[other]

    def _do_remove(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        self.world.accounts[name].contacts.pop(thing["id"], None)
        return {}

    def _do_answer(self, name: str, thing: dict[str, Any]) -> dict[str, Any]:
        asker = self.world.find(thing["id"])
        contact = asker.contacts.get(name)
        if contact is not None:
            contact["consent"] = "given" if thing["allow"] else "none"
            self.world.tell(thing["id"], {"on": "contact", **contact})
            show, status = self.world.accounts[name].shown
            if thing["allow"]:
                event = {"on": "presence", "from": name, "show": show, "status": status}
                self.world.tell(thing["id"], event)
        return {}


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="The far end of the example network")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7777)
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    server = Server(World(given.file))
    await server.start(given.host, given.port)
    sys.stdout.write(f"the example network is on port {server.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
