"""Texts that come in several parts: kept on the disk until all are there, or time is up.

Each part is on the disk before it is confirmed. The parts of a text are dropped when the text is
safe at its user's server.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.sms.backend import Fragment, Incoming
from jabberd.gateways.sms.segments import Part
from jabberd.gateways.sms.text import Alphabet, clean, decode
from jabberd.storage.records import Drop, Record, Records

_SPACE: Final = "sms-part"
_MOST: Final = 1_000  # texts that are not complete
_MOST_OF_ONE: Final = 20  # the same, of one sender
_LONGEST_PART: Final = 1_024
_DONE: Final = 0  # in place of the number of a part: the text was delivered
_DONE_SECONDS: Final = 600.0


@dataclass(slots=True)
class Group:
    """A text of which some parts are there.

    Attributes:
        source: who sent it.
        destination: to which number.
        ref: of the text.
        total: parts.
        began: when the first of them came.
        parts: those that are there, by number.
        done: the text was delivered, and this is the part that came last: the number, and a
            digest. Its confirmation may have got lost.
    """

    source: str
    destination: str
    ref: int
    total: int
    began: float
    parts: dict[int, Fragment] = field(default_factory=dict)
    done: tuple[int, str] | None = None

    @property
    def key(self) -> str:
        """What parts of the same text have in common."""
        return _key(self.source, self.destination, self.ref, self.total)

    @property
    def whole(self) -> bool:
        """Whether all parts are there."""
        return len(self.parts) == self.total

    def text(self, alphabet: Alphabet) -> str:
        """What it says, with a mark for each part that is missing."""
        said: list[str] = []
        run: list[Fragment] = []
        for number in range(1, self.total + 1):
            part = self.parts.get(number)
            # A character can be cut in two, so what belongs together is decoded together.
            if run and (part is None or part.coding != run[0].coding):
                said.append(_decoded(run, alphabet))
                run = []
            if part is None:
                said.append(f"[part {number} missing]")
            else:
                run.append(part)
        said.append(_decoded(run, alphabet))
        return clean("".join(said))

    def name(self) -> str:
        """A name by which the same text is recognised when it is put together once more."""
        seen = hashlib.sha256(f"{self.key} {self.began}".encode())
        for number, part in sorted(self.parts.items()):
            seen.update(number.to_bytes(1, "big") + part.data)
        return f"parts-{seen.hexdigest()[:32]}"


def _decoded(run: list[Fragment], alphabet: Alphabet) -> str:
    if not run:
        return ""
    data = b"".join(part.data for part in run)
    return decode(data, run[0].coding, alphabet) or ""


def _key(source: str, destination: str, ref: int, total: int) -> str:
    return json.dumps([source, destination, ref, total], ensure_ascii=False)


class Reassembly:
    """The texts of one gateway that are not complete.

    Args:
        records: of the gateway.
        seconds: how long a text may take.
    """

    def __init__(self, records: Records, seconds: float) -> None:
        self._records = records
        self._seconds = seconds
        self._groups: OrderedDict[str, Group] = OrderedDict()

    async def load(self) -> None:
        """Read what is there; called once, before anything else.

        Raises:
            StorageError: that cannot be done.
        """
        after = ""
        while page := await self._records.list("", _SPACE, after=after):
            for record in page:
                self._remember(record)
            after = page[-1].key
        for group in sorted(self._groups.values(), key=lambda one: one.began):
            self._groups.move_to_end(group.key)

    def in_the_way(self, sms: Incoming, fragment: Fragment) -> Group | None:
        """A text that has to be delivered as it is, and finished, before a part can be added.

        The sender has come round to the same number, or there is no more room.
        """
        part = fragment.part
        group = self._groups.get(_key(sms.source, sms.destination, part.ref, part.total))
        if group is not None and not group.done:
            return group if _differs(group, fragment) else None
        others = [one for one in self._groups.values() if not one.done]
        same = [one for one in others if one.source == sms.source]
        if len(same) >= _MOST_OF_ONE:
            return same[0]
        return others[0] if len(others) >= _MOST else None

    async def add(self, sms: Incoming, fragment: Fragment, now: float) -> Group | None:
        """Keep a part; it is on the disk when this returns.

        Returns:
            The text that it belongs to; None where the part is known from one that was delivered.

        Raises:
            StorageError: it cannot be kept.
        """
        part = fragment.part
        key = _key(sms.source, sms.destination, part.ref, part.total)
        group = self._groups.get(key)
        drops: list[Drop] = []
        if group is not None and group.done:
            if group.done == (part.number, _digest(fragment)):
                await self._forget(group)
                return None
            drops = _drops(group)
            group = None
        if group is None:
            group = Group(sms.source, sms.destination, part.ref, part.total, now)
        await self._records.write([*drops, _record(group, fragment, now)])
        group.parts.pop(part.number, None)  # the last one is the one that came last
        group.parts[part.number] = fragment
        self._groups[key] = group
        return group

    async def finish(self, group: Group, now: float) -> None:
        """A text was delivered: forget all but what tells its last part when it comes again.

        Raises:
            StorageError: it cannot be forgotten.
        """
        if self._groups.get(group.key) is not group:
            return  # another one has its place already
        if not group.whole:
            await self._forget(group)
            return
        last = group.parts[next(reversed(group.parts))]
        done = Group(
            group.source, group.destination, group.ref, group.total, now,
            done=(last.part.number, _digest(last)),
        )  # fmt: skip
        await self._records.write([*_drops(group), _done_record(done, now)])
        self._groups[group.key] = done
        self._groups.move_to_end(group.key)

    async def take_back(self, group: Group, number: int) -> None:
        """Forget one part, which is to come again.

        Raises:
            StorageError: it cannot be forgotten.
        """
        await self._records.write([Drop("", _SPACE, _record_key(group, number))])
        group.parts.pop(number, None)
        if not group.parts and self._groups.get(group.key) is group:
            del self._groups[group.key]

    async def late(self, now: float) -> list[Group]:
        """Texts whose time is up, the oldest first, to be delivered as they are and finished.

        Raises:
            StorageError: what was finished long ago cannot be forgotten.
        """
        for group in list(self._groups.values()):
            if group.done and group.began <= now - _DONE_SECONDS:
                await self._forget(group)
        due = now - self._seconds
        return [one for one in self._groups.values() if not one.done and one.began <= due]

    async def _forget(self, group: Group) -> None:
        await self._records.write(_drops(group))
        if self._groups.get(group.key) is group:
            del self._groups[group.key]

    def _remember(self, record: Record) -> None:
        head, _, data = record.value.partition(b"\n")
        facts = json.loads(head)
        part = Part(facts["ref"], facts["total"], facts["number"])
        source, destination = facts["source"], facts["destination"]
        if facts.get("done"):
            done = (part.number, facts["done"])
            group = Group(source, destination, part.ref, part.total, facts["began"], done=done)
            self._groups[group.key] = group
            return
        key = _key(source, destination, part.ref, part.total)
        if key not in self._groups:
            began = facts["began"]
            self._groups[key] = Group(source, destination, part.ref, part.total, began)
        self._groups[key].parts[part.number] = Fragment(part, data, facts["coding"])


def _differs(group: Group, fragment: Fragment) -> bool:
    known = group.parts.get(fragment.part.number)
    return known is not None and (known.data, known.coding) != (fragment.data, fragment.coding)


def _digest(fragment: Fragment) -> str:
    return hashlib.sha256(bytes([fragment.coding & 0xFF]) + fragment.data).hexdigest()[:32]


def _record_key(group: Group, number: int) -> str:
    digest = hashlib.sha256(group.key.encode()).hexdigest()[:32]
    return f"{digest} {number:03}"


def _head(group: Group, number: int) -> dict[str, object]:
    return {
        "source": group.source,
        "destination": group.destination,
        "ref": group.ref,
        "total": group.total,
        "number": number,
        "began": group.began,
    }


def _record(group: Group, fragment: Fragment, now: float) -> Record:
    number = fragment.part.number
    head = {**_head(group, number), "coding": fragment.coding}
    value = json.dumps(head).encode() + b"\n" + fragment.data[:_LONGEST_PART]
    return Record("", _SPACE, _record_key(group, number), value, now)


def _done_record(group: Group, now: float) -> Record:
    number, digest = group.done or (0, "")
    value = json.dumps({**_head(group, number), "done": digest}).encode() + b"\n"
    return Record("", _SPACE, _record_key(group, _DONE), value, now)


def _drops(group: Group) -> list[Drop]:
    numbers = [_DONE] if group.done else list(group.parts)
    return [Drop("", _SPACE, _record_key(group, number)) for number in numbers]
