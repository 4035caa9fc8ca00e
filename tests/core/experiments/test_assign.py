"""Assignment: from a unit's hash alone, the same everywhere, and moved by nothing."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.experiments.assign import WHOLE, Assigner, number_of, thresholds, unit_key, unit_of
from core.experiments.drafts import experiment_of
from core.experiments.records import (
    Assignment,
    Experiment,
    Outside,
    RampDraft,
    State,
    Strategy,
    UnitKind,
)
from core.stats.srm import chi_square_p
from tests.core.experiments.drafted import draft

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
USERS = [f"user:{number}" for number in range(20_000)]


def running(weights: Any = (None, None), **changed: Any) -> Experiment:
    made = experiment_of(draft(weights, **changed), "ten_1", [], created_by="Ada", now=NOW)
    return replace(made, state=State.RUNNING, started_at=NOW)


def arms_of(experiment: Experiment, units: list[str] = USERS, at: datetime = NOW) -> dict[str, str | None]:
    assigner = Assigner(experiment, at)
    return {unit: assigner.assign(unit, {}, at).variant for unit in units}


def test_the_number_of_a_unit_is_its_blake2b_of_eight_bytes() -> None:
    digest = hashlib.blake2b(b"salt\x1fspace\x1fuser:7", digest_size=8).digest()
    assert number_of(b"salt\x1fspace\x1f", "user:7") == int.from_bytes(digest, "big")


def test_a_unit_gets_the_same_arm_in_every_process_and_after_a_restart() -> None:
    given = arms_of(running())
    assert given == arms_of(running())
    # Known answers: whoever changes the hash moves every unit of every running experiment.
    first = [given[f"user:{number}"] for number in range(12)]
    expected = [
        "v1" if number_of(b"amazon_v1_vs_v2\x1famazon_v1_vs_v2\x1f", f"user:{number}") < WHOLE // 2 else "v2"
        for number in range(12)
    ]
    assert first == expected
    assert set(first) == {"v1", "v2"}


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5), (0.6, 0.0, 0.4)])
def test_units_are_divided_by_the_weights(weights: tuple[float, ...]) -> None:
    counts = Counter(arms_of(running(weights)).values())
    found = [counts[f"v{number}"] for number in range(1, len(weights) + 1)]
    assert sum(found) == len(USERS)
    p = chi_square_p(found, weights)
    assert p is not None
    assert p > 1e-4
    assert all(n == 0 for n, weight in zip(found, weights, strict=True) if weight == 0)


def test_two_experiments_divide_the_same_units_independently() -> None:
    one, other = arms_of(running()), arms_of(running(id="another"))
    both = Counter((one[unit], other[unit]) for unit in USERS)
    p = chi_square_p([both[a, b] for a in ("v1", "v2") for b in ("v1", "v2")], [0.25] * 4)
    assert p is not None
    assert p > 1e-4


def test_raising_the_share_lets_units_in_and_moves_none() -> None:
    before: dict[str, str | None] = {}
    for share in (0.0, 0.05, 0.3, 0.7, 1.0):
        now = arms_of(running((0.3, 0.7), share=share))
        assert all(now[unit] == arm for unit, arm in before.items() if arm is not None)
        taking_part = sum(arm is not None for arm in now.values())
        assert abs(taking_part / len(USERS) - share) < 0.02
        before = now
    assert None not in before.values()


def test_a_ramp_raises_the_share_at_its_moments_and_never_lowers_it() -> None:
    steps = (
        RampDraft(at=NOW + timedelta(hours=1), share=0.5),
        RampDraft(at=NOW + timedelta(hours=2), share=1.0),
    )
    experiment = running(share=0.1, ramp=steps)
    shares = [experiment.share_at(NOW + timedelta(minutes=minute)) for minute in (0, 59, 60, 119, 120)]
    assert shares == [0.1, 0.1, 0.5, 0.5, 1.0]


def test_experiments_of_one_namespace_share_no_unit_and_hold_out_the_same_ones() -> None:
    one = running(namespace="home", namespace_share=0.4, holdout=0.1)
    other = experiment_of(
        draft(id="other", namespace="home", namespace_share=0.5, holdout=0.1),
        "ten_1",
        [one],
        created_by="Ada",
        now=NOW,
    )
    assert one.slots == (0.1, 0.5)
    assert other.slots == (0.5, 1.0)
    first, second = arms_of(one), arms_of(replace(other, state=State.RUNNING))
    inside = [{unit for unit, arm in each.items() if arm is not None} for each in (first, second)]
    assert not inside[0] & inside[1]
    assert [round(len(each) / len(USERS), 1) for each in inside] == [0.4, 0.5]
    held = [unit for unit in USERS if Assigner(one, NOW).assign(unit, {}, NOW).outside is Outside.HELD_OUT]
    assert abs(len(held) / len(USERS) - 0.1) < 0.01
    assert not set(held) & (inside[0] | inside[1])


def test_only_requests_that_are_targeted_take_part() -> None:
    assigner = Assigner(running(targeting={"retailer": ("amazon", "kroger"), "task": ("mapping",)}), NOW)
    inside = {"retailer": "kroger", "task": "mapping", "more": "x"}
    assert assigner.assign("user:1", inside, NOW).variant is not None
    for context in ({}, {"retailer": "kroger"}, {"retailer": "walmart", "task": "mapping"}):
        assert assigner.assign("user:1", context, NOW).outside is Outside.NOT_TARGETED


def test_nobody_takes_part_before_the_start_after_the_end_or_while_it_is_paused() -> None:
    start, end = NOW + timedelta(hours=1), NOW + timedelta(hours=3)
    experiment = running(starts_at=start, ends_at=end)
    for at, inside in ((NOW, False), (start, True), (end - timedelta(seconds=1), True), (end, False)):
        assert (arms_of(experiment, ["user:1"], at)["user:1"] is not None) is inside
    assert arms_of(replace(experiment, state=State.PAUSED), ["user:1"], start)["user:1"] is None


def test_a_unit_keeps_what_it_was_given_whatever_a_bandit_gives_now() -> None:
    experiment = replace(
        running(strategy=Strategy.BANDIT), strategy=Strategy.BANDIT, allocation={"v1": 0.1, "v2": 0.9}
    )
    kept = Assignment(experiment.id, "v1", propensity=0.5)
    assigner = Assigner(experiment, NOW, {"user:1": kept})
    assert assigner.assign("user:1", {}, NOW) is kept
    counts = Counter(assigner.assign(unit, {}, NOW).variant for unit in USERS)
    assert abs(counts["v2"] / len(USERS) - 0.9) < 0.02
    assert {assigner.assign(unit, {}, NOW).propensity for unit in USERS} == {0.1, 0.9, 0.5}


def test_a_random_experiment_draws_by_a_seed_that_is_kept() -> None:
    one, other = (running(strategy=Strategy.RANDOM) for _ in range(2))
    assert one.salt != other.salt
    assert arms_of(one) != arms_of(other)
    assert arms_of(one) == arms_of(replace(other, salt=one.salt))


def test_the_unit_is_the_user_else_the_session_else_the_request() -> None:
    assert unit_of("ann", "s1", "req_1", UnitKind.USER) == ("user:ann", False)
    assert unit_of(None, "s1", "req_1", UnitKind.USER) == ("session:s1", False)
    assert unit_of("ann", "s1", "req_1", UnitKind.SESSION) == ("session:s1", False)
    assert unit_of(None, None, "req_1", UnitKind.USER) == ("request:req_1", True)
    assert unit_of("ann", "s1", "req_1", UnitKind.REQUEST) == ("request:req_1", True)


def test_what_is_stored_of_a_unit_is_no_name_and_differs_between_experiments() -> None:
    keys = {unit_key(salt, "user:ann@example.com") for salt in ("a", "b")}
    assert len(keys) == 2
    assert all(len(key) == 32 and "ann" not in key for key in keys)


def test_the_thresholds_cover_every_number_once() -> None:
    assert thresholds([1 / 3] * 3)[-1] == WHOLE
    assert thresholds([0.5, 0.5, 0.0]) == [WHOLE // 2, WHOLE, WHOLE]
    assert thresholds([0.0, 1.0]) == [0, WHOLE]
