"""An outcome for people and for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.invariants.history import History, Key
from tests.invariants.run import Outcome

_SHOWN: Final = 10  # violations of one rule
_KEY: Final = re.compile(r"\S+/\S+>\S+:\d+")


def story(history: History, violation: str) -> list[str]:
    """All that happened to the message that a violation names first, in order of time."""
    found = _KEY.search(violation)
    key = Key.parse(found[0].rstrip(":,")) if found else None
    return [] if key is None else [text for _, text in sorted(_events(history, key))]


def _events(history: History, key: Key) -> Iterator[tuple[float, str]]:
    for said in history.said():
        if said.key != key:
            continue
        written = ", ".join(map(str, said.sessions)) or "none"
        yield said.at, f"{said.at:.2f} said by {key.resource}; written in sessions {written}"
        if said.acknowledged is not None:
            yield said.acknowledged, f"{said.acknowledged:.2f} acknowledged"
        if said.refused is not None:
            yield said.at, f"refused: {said.refused}"
    for client in history.clients:
        for seen in client.seen:
            if seen.key != key:
                continue
            session = client.sessions[seen.session - 1]
            lives = f"lives {session.first} to {session.last}, resumed {session.resumed} times"
            text = (
                f"{seen.at:.2f} {seen.how.value} to {client.name}, id {seen.stanza_id}, stanza"
                f" {seen.number} of session {seen.session} ({lives}, certain to {session.certain})"
            )
            yield seen.at, text + (", delayed" if seen.delayed else "")
    for account, archive in history.archives.items():
        for place, entry in enumerate(archive):
            if entry.key == key:
                yield float("inf"), f"entry {place} of {account}'s archive, id {entry.id}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome for JSON: the counts, and every violation with its rule; some with a story."""
    return {
        "seed": outcome.plan.seed,
        "seconds": outcome.plan.seconds,
        "counts": dict(sorted(outcome.counts.items())),
        "violations": {
            rule: [
                {"text": text, "story": story(outcome.history, text) if number < _SHOWN else []}
                for number, text in enumerate(texts)
            ]
            for rule, texts in outcome.violations.items()
        },
    }


def as_text(outcome: Outcome) -> str:
    """An outcome for people."""
    lines = [f"seed {outcome.plan.seed}, {outcome.plan.seconds:.0f} s"]
    lines += [f"  {count:7d}  {name}" for name, count in sorted(outcome.counts.items())]
    for rule, texts in outcome.violations.items():
        lines.append(f"VIOLATED {len(texts)} times: {rule}")
        for text in texts[:_SHOWN]:
            lines.append(f"  {text}")
            lines += [f"      {event}" for event in story(outcome.history, text)]
        if len(texts) > _SHOWN:
            lines.append(f"  and {len(texts) - _SHOWN} more")
    if not outcome.violations:
        lines.append("no violations")
    return "\n".join(lines)


def total(outcomes: Sequence[Outcome]) -> Counter[str]:
    """The counts of several runs together."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    return counts
