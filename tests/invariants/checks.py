"""The invariants: pure functions over a history; each returns what violates it, in words.

A message is *promised* when the server has acknowledged it to the client that said it (XEP-0198 §4:
"the server has accepted responsibility") and no error has come back for it.

Copies without an archive. A client that does not synchronise by the archive cannot know a copy from
a message, so the server must not send any, as far as it can know:

* In one session, resumed as often as it may be, nothing comes twice: at each resumption the client
  says what it has.
* In a later session, a message comes again only if the server cannot have known that the client had
  it: the client's acknowledgement was not followed by anything that the server has answered
  (`Session.certain`). Such a copy is *excused*, and counted. So is one across a SIGKILL of the
  server with no resumption after it, unless `strict`: the acknowledgement may have been in memory
  only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tests.invariants.history import Archived, ClientHistory, History, How, Key, Said, Seen

_LIVE: Final = frozenset({How.LIVE, How.RECEIVED})


def _promised(history: History) -> dict[Key, Said]:
    return {said.key: said for said in history.said() if said.promised}


def _came(client: ClientHistory) -> list[Key]:
    """What a client that came back has, in its order, with copies removed as it can."""
    if client.archive:
        return [entry.key for entry in client.timeline]
    return [seen.key for seen in client.seen if seen.key is not None and seen.how in _LIVE]


def _ways(client: ClientHistory, full: set[Key]) -> list[list[Key]]:
    """The orders that must hold by themselves.

    What is for one client and comes when that is connected, but not available, is given to it at
    once, while other messages wait (RFC 6121 §8.5.3.1). A client with an archive sorts that out.
    """
    if client.archive:
        return [_came(client)]
    late = {seen.key for seen in client.seen if seen.delayed}
    came = _came(client)
    account = [key for key in came if key not in full]
    return [account, [key for key in came if key in full and key not in late]]


def _readers(clients: list[ClientHistory]) -> list[ClientHistory]:
    """Those clients of an account that must have everything."""
    return [client for client in clients if client.archive] or clients


def _inversions(keys: Iterable[Key]) -> Iterator[str]:
    """Where a later message of a pair comes first; copies are another rule's matter."""
    highest: dict[str, Key] = {}
    known: set[Key] = set()
    for key in keys:
        if key in known:
            continue
        known.add(key)
        before = highest.get(key.pair)
        if before is not None and key.number < before.number:
            yield f"{key} comes after {before}"
        else:
            highest[key.pair] = key


def _keys(archive: Iterable[Archived]) -> list[Key]:
    return [entry.key for entry in archive if entry.key is not None]


def archived_once(history: History) -> list[str]:
    """Rule 1: what is promised is once in the recipient's archive and once in the sender's."""
    found = []
    promised = _promised(history)
    written = {said.key: said.sessions for said in history.said()}
    for account, archive in sorted(history.archives.items()):
        counts = Counter(_keys(archive))
        for key in sorted(set(promised) | set(counts)):
            if account not in {key.sender, key.to}:
                continue
            if counts[key] != 1 and (key in promised or counts[key]):
                found.append(
                    f"{key} is {counts[key]} times in the archive of {account}; its client wrote it"
                    f" in sessions {written.get(key)}"
                )
    return found


def seen_once(history: History) -> list[str]:
    """Rule 2: a recipient has all that is promised to it, once and in order.

    Each client with an archive by itself, after it has removed copies by the ids of its account;
    clients without by what came to the account's clients together, at least once. How often, see
    `no_copies`.
    """
    found = []
    promised = sorted(_promised(history))
    full = {said.key for said in history.said() if said.full}
    for account, clients in sorted(history.accounts().items()):
        readers = _readers(clients)
        groups = [[one] for one in readers] if readers[0].archive else [readers]
        for group in groups:
            names = ", ".join(client.name for client in group)
            counts = Counter(key for client in group for key in _came(client))
            mine = (key for key in promised if key.to == account)
            found += [f"{names} never saw {key}" for key in mine if not counts[key]]
            if group[0].archive:
                found += [
                    f"{names} has {key} {count} times"
                    for key, count in sorted(counts.items())
                    if key.to == account and count > 1
                ]
            for client in group:
                for way in _ways(client, full):
                    incoming = (key for key in way if key.to == account)
                    found += [f"{client.name}: {text}" for text in _inversions(incoming)]
    return found


def no_copies(history: History, *, strict: bool = False) -> list[str]:
    """Rule 2 without an archive: nothing comes twice, save what is excused (see above)."""
    return [text for excuse, text in _copies(history) if excuse is None or (strict and excuse)]


def excused(history: History) -> Counter[str]:
    """How many copies came that are excused, by excuse."""
    return Counter(f"copies excused: {excuse}" for excuse, _ in _copies(history) if excuse)


def _copies(history: History) -> Iterator[tuple[str | None, str]]:
    """Every copy, with its excuse."""
    for client in history.clients:
        before: dict[Key, Seen] = {}
        for seen in client.seen:
            if seen.key is None or seen.how is How.ARCHIVE:
                continue
            earlier = before.get(seen.key)
            before[seen.key] = seen
            if earlier is None:
                continue
            text = (
                f"{client.name} got {seen.key} in session {earlier.session} ({earlier.how.value})"
                f" and in session {seen.session} ({seen.how.value})"
            )
            if earlier.session == seen.session:
                yield None, text
            elif not client.archive:
                yield _excuse(history, client, earlier, seen), text


def _excuse(history: History, client: ClientHistory, earlier: Seen, later: Seen) -> str | None:
    former = client.sessions[earlier.session - 1]
    if earlier.number > former.certain:
        return "the acknowledgement may not have come through"
    lives = range(former.last, client.sessions[later.session - 1].first)
    if history.killed.intersection(lives):
        return "the server was killed"
    return None


def devices_agree(history: History) -> list[str]:
    """Rule 3: all clients of an account that synchronise have the same, in the same order."""
    found: list[str] = []
    refused = {said.key for said in history.said() if said.refused is not None}
    for clients in history.accounts().values():
        views = [(one.name, _by_pair(one, refused)) for one in clients if one.archive]
        for other, two in views[1:]:
            first, one = views[0]
            for pair in sorted(one.keys() | two.keys()):
                found += _disagreement(pair, first, one.get(pair, []), other, two.get(pair, []))
    return found


def _by_pair(client: ClientHistory, without: set[Key]) -> dict[str, list[int]]:
    pairs: dict[str, list[int]] = {}
    for entry in client.timeline:
        if entry.key not in without:
            pairs.setdefault(entry.key.pair, []).append(entry.key.number)
    return pairs


def _disagreement(
    pair: str, first: str, one: list[int], second: str, two: list[int]
) -> Iterator[str]:
    for name, numbers, other, others in ((first, one, second, two), (second, two, first, one)):
        if left := sorted(set(numbers) - set(others)):
            yield f"{name} has {pair} {left}, and {other} does not"
    if sorted(one) == sorted(two) and one != two:
        alike = (left == right for left, right in zip(one, two, strict=True))
        place = list(alike).index(False)
        yield (
            f"{first} and {second} differ in {pair} after {place} alike:"
            f" {one[place:][:5]} and {two[place:][:5]}"
        )
    elif set(one) == set(two) and sorted(one) != sorted(two):
        yield f"{first} and {second} do not have {pair} equally often"


def nothing_lost(history: History) -> list[str]:
    """Rule 4: what is promised is somewhere: in an archive, or with a client of its recipient."""
    there = {key for archive in history.archives.values() for key in _keys(archive)}
    for client in history.clients:
        there |= {seen.key for seen in client.seen if seen.key and seen.key.to == client.account}
    return [f"{key} is nowhere" for key in sorted(set(_promised(history)) - there)]


def ids_hold(history: History) -> list[str]:
    """Rule 5: an archive's id means one message, for ever; also across the deaths of the server."""
    found = []
    for account, clients in sorted(history.accounts().items()):
        archive = history.archives.get(account, [])
        ids = Counter(entry.id for entry in archive)
        found += [
            f"{account}: the id {one} is {count} times in the archive"
            for one, count in ids.items()
            if count > 1
        ]
        meant: dict[str, str] = {}
        for name, one, body in _mentioned(clients, archive):
            if meant.setdefault(one, body) != body:
                found.append(f"{name}: the id {one} means {body!r}, and meant {meant[one]!r}")
            if one not in ids:
                found.append(f"{name}: the id {one} of {body!r} is not in the archive any more")
                ids[one] = 0  # once is enough
    return found


def _mentioned(
    clients: list[ClientHistory], archive: list[Archived]
) -> Iterator[tuple[str, str, str]]:
    for client in clients:
        for seen in client.seen:
            if seen.stanza_id is not None:
                yield client.name, seen.stanza_id, str(seen.key or seen.body)
    for entry in archive:
        yield "the archive", entry.id, str(entry.key or entry.body)


def no_strangers(history: History) -> list[str]:
    """Rule 6: nothing comes that nobody said, and nothing to those whom it does not concern."""
    said = {one.key for one in history.said()}
    found = []

    def judge(where: str, account: str, key: Key | None, body: str) -> None:
        if key is None or key not in said:
            found.append(f"{where}: nobody said {body!r}")
        elif account not in {key.sender, key.to}:
            found.append(f"{where}: {key} is none of its business")

    for client in history.clients:
        for seen in client.seen:
            judge(client.name, client.account, seen.key, seen.body)
    for account, archive in sorted(history.archives.items()):
        for entry in archive:
            judge(f"the archive of {account}", account, entry.key, entry.body)
    return found


def archives_in_order(history: History) -> list[str]:
    """Rule 7: within a pair, archives have what was said in the order in which it was said."""
    return [
        f"the archive of {account}: {text}"
        for account, archive in sorted(history.archives.items())
        for text in _inversions(_keys(archive))
    ]


def refused_is_nowhere(history: History) -> list[str]:
    """Rule 8: what was given back to its sender with an error is not kept, and not delivered."""
    refused = {said.key: said.refused for said in history.said() if said.refused is not None}
    found = set()
    for account, archive in history.archives.items():
        found |= {(key, f"in the archive of {account}") for key in _keys(archive)}
    for client in history.clients:
        found |= {(seen.key, f"with {client.name}") for seen in client.seen if seen.key}
    return [
        f"{key} was refused ({refused[key]}), and is {where}"
        for key, where in sorted(found)
        if key in refused
    ]


def came_to_rest(history: History) -> list[str]:
    """In the end every client is there, and every message was acknowledged or refused."""
    never = [f"{said.key} was never acknowledged" for said in history.said() if not said.settled]
    return history.rest + never


def nothing_absurd(history: History) -> list[str]:
    """The server says nothing to a client that it must not say to anybody."""
    return [fault for client in history.clients for fault in client.faults]


def log_is_clean(history: History) -> list[str]:
    """The server has nothing to complain about itself."""
    return list(history.log)


RULES: Final[dict[str, Callable[[History], list[str]]]] = {
    "archived once": archived_once,
    "seen once": seen_once,
    "no copies": no_copies,
    "devices agree": devices_agree,
    "nothing lost": nothing_lost,
    "ids hold": ids_hold,
    "no strangers": no_strangers,
    "archives in order": archives_in_order,
    "refused is nowhere": refused_is_nowhere,
    "came to rest": came_to_rest,
    "nothing absurd": nothing_absurd,
    "log is clean": log_is_clean,
}


def check(history: History) -> dict[str, list[str]]:
    """What is violated, by rule; no entry for a rule that holds."""
    found = {name: rule(history) for name, rule in RULES.items()}
    return {name: texts for name, texts in found.items() if texts}


def unseen(history: History) -> bool:
    """Whether anything promised has not come to whom it is for: worth waiting for."""
    promised: dict[str, set[Key]] = {}
    for key in _promised(history):
        promised.setdefault(key.to, set()).add(key)
    for account, clients in history.accounts().items():
        readers = _readers(clients)
        groups = [[one] for one in readers] if readers[0].archive else [readers]
        for group in groups:
            if promised.get(account, set()) - {key for one in group for key in _came(one)}:
                return True
    return False


def delivered(history: History) -> int:
    """How many promised messages a client of their recipient has."""
    promised = _promised(history)
    came = {key for client in history.clients for key in _came(client) if key.to == client.account}
    return len(came & promised.keys())
