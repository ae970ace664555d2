"""Plans are drawn from their seeds, and have in them what was asked for."""

from __future__ import annotations

from collections import Counter

from tests.invariants.plan import Plan, What, draw


def counts(plan: Plan) -> Counter[What]:
    return Counter(act.what for act in plan.acts)


def test_the_same_seed_draws_the_same_plan() -> None:
    assert draw(1, seconds=20, kills=2) == draw(1, seconds=20, kills=2)
    assert draw(1, seconds=20, kills=2).acts != draw(2, seconds=20, kills=2).acts


def test_what_was_asked_for_happens() -> None:
    plan = draw(
        1, seconds=60, kills=7, restarts=3, jumps=2, outages=((What.FILL, What.FREE),)
    )  # fmt: skip
    found = counts(plan)
    assert found[What.KILL] + found[What.KILL_AT_ACK] == 7
    assert found[What.RESTART] == 3
    assert found[What.JUMP] == 2
    assert found[What.FILL] == found[What.FREE] == 1
    assert {What.SAY, What.COME, What.LEAVE, What.DROP, What.FORGET, What.LOOK} <= found.keys()
    times = [act.at for act in plan.acts]
    assert times == sorted(times)
    assert all(0 <= act.at < 60 for act in plan.acts if not act.who)


def test_users_are_of_every_kind() -> None:
    plan = draw(1, seconds=60)
    devices = Counter(who.account for who in plan.clients)
    assert set(devices.values()) == {1, 2}
    assert {who.archive for who in plan.clients} == {True, False}
    # Without an archive, an account has one client: RFC 6121 promises nothing to a second one.
    assert all(devices[who.account] == 1 for who in plan.clients if not who.archive)


def test_everybody_talks_to_others_and_is_talked_to() -> None:
    for users in (2, 3, 4, 5, 6, 8, 11):
        plan = draw(1, seconds=60, users=users)
        says = [act for act in plan.acts if act.what is What.SAY]
        assert {act.to for act in says} == set(plan.accounts)
        assert all(act.who.partition("/")[0] != act.to for act in says)
        assert {act.who for act in says} == {who.name for who in plan.clients}


def test_who_is_loyal_ends_no_session() -> None:
    found = counts(draw(1, seconds=60, loyal=True))
    assert found[What.DROP]
    assert not found[What.LEAVE] + found[What.FORGET]


def test_who_is_calm_says_and_nothing_else() -> None:
    assert set(counts(draw(1, seconds=20, calm=True))) == {What.COME, What.SAY}
