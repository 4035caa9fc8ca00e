"""The degradation alarm: its bound on false alarms, its delay, and what it must not depend on."""

import math
import random
from statistics import median

import numpy as np
import pytest

from core.errors import IntegrityError
from core.stats import change
from core.stats.change import Direction, RankAlarm, ShareAlarm, Shift, Worse


def latencies(seed: int, n: int, factor: float = 1.0) -> list[float]:
    return [float(v) for v in np.random.default_rng(seed).lognormal(5, 0.6, n) * factor]


def first_alarm(alarm: RankAlarm, values: list[float]) -> int | None:
    return next((i for i, value in enumerate(values) if alarm.observe(value)), None)


def test_every_bet_multiplies_by_one_on_average_while_nothing_changes() -> None:
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    z = np.array([change._NORMAL.inv_cdf(x) for x in u[:: len(u) // 20_000]])
    for tilt, _ in change.TILTS:
        assert np.exp(tilt * z - tilt * tilt / 2).mean() == pytest.approx(1.0, abs=2e-3)
    shares = (0.0, *sorted(change.SHARES), 1.0)
    for direction in Direction:
        logs = change._SHARE_LOGS[direction]
        for bet in range(len(change.SHARES) * len(change.ODDS)):
            # A rank between two of the shares is held by those that are larger.
            mean = sum(
                (shares[k + 1] - shares[k]) * math.exp(logs[len(change.SHARES) - k][bet])
                for k in range(len(change.SHARES) + 1)
            )
            assert mean == pytest.approx(1.0, rel=1e-12)


def test_at_most_one_and_a_half_of_a_hundred_streams_have_a_false_alarm_within_10_000_values() -> None:
    """2,000 streams of independent normal scores, which is what ranks of any unchanged stream are."""
    random_numbers = np.random.default_rng(77)
    tilts = np.array([tilt for tilt, _ in change.TILTS])[:, None]
    weights = np.array([weight for _, weight in change.TILTS])
    sums, most = np.zeros((len(tilts), 2000)), np.zeros(2000)
    for _ in range(10_000):
        z = random_numbers.standard_normal(2000)
        sums = (sums + 1) * np.exp(tilts * z - tilts * tilts / 2)
        most = np.maximum(most, weights @ sums)
    false = int((most >= 1 / change.FALSE_ALARM_RATE).sum())
    assert false <= 27  # 0.75 % are expected; 27 of 2,000 would be three standard errors more
    assert (most >= 1e3).mean() > 0.5  # an alarm a thousand times as eager would fail this test


@pytest.mark.parametrize(("factor", "most"), [(1.2, 330), (1.5, 60)])
def test_slower_answers_are_told_soon(factor: float, most: int) -> None:
    delays = []
    for seed in range(15):
        alarm = RankAlarm()
        assert first_alarm(alarm, latencies(seed, 1500)) is None
        found = first_alarm(alarm, latencies(seed + 500, 1200, factor))
        assert found is not None
        delays.append(found + 1)
    assert median(delays) <= most


def test_the_same_alarm_in_milliseconds_and_in_seconds() -> None:
    values = latencies(3, 1500) + latencies(4, 300, 1.5)
    in_ms, in_s = RankAlarm(), RankAlarm()
    found_ms = [shift for value in values if (shift := in_ms.observe(value))]
    found_s = [shift for value in values if (shift := in_s.observe(value / 1000))]
    assert found_ms
    assert [(f.direction, f.since, f.reference) for f in found_ms] == [
        (f.direction, f.since, f.reference) for f in found_s
    ]
    assert found_s[0].after == pytest.approx(found_ms[0].after / 1000)


def test_the_shift_says_when_and_how_much() -> None:
    alarm = RankAlarm()
    alarm.observe_all(latencies(1, 3000))
    shift = alarm.observe_all(latencies(2, 200, 2.0))
    assert shift is not None
    assert shift.direction is Direction.WORSE
    assert shift.before == pytest.approx(math.exp(5), rel=0.06)
    assert 1.4 < shift.after / shift.before < 3
    assert 10 <= shift.since <= 60


def test_lower_ratings_are_worse_and_ties_do_not_matter() -> None:
    numbers = random.Random(5)
    alarm = RankAlarm(Worse.LOWER)
    assert alarm.observe_all(float(numbers.choice([3, 4, 4, 5, 5])) for _ in range(1500)) is None
    shift = alarm.observe_all(float(numbers.choice([1, 2, 2, 3, 4])) for _ in range(60))
    assert shift is not None
    assert shift.direction is Direction.WORSE
    assert shift.after < shift.before
    constant = RankAlarm()
    assert constant.observe_all([7.0] * 3000) is None


def test_a_recovery_is_told_as_one() -> None:
    alarm = RankAlarm()
    alarm.observe_all(latencies(1, 1500))
    worse = alarm.observe_all(latencies(2, 400, 2.0))
    better = alarm.observe_all(latencies(3, 400))
    assert worse is not None
    assert better is not None
    assert (worse.direction, better.direction) == (Direction.WORSE, Direction.BETTER)


def test_after_a_change_for_the_better_the_reference_begins_empty() -> None:
    """Values that were chosen for being good would make the next ones look bad."""
    ranks = RankAlarm()
    ranks.observe_all(latencies(1, 1500))
    places = [k for k, value in enumerate(latencies(2, 200, 0.4)) if ranks.observe(value)]
    assert len(places) == 1
    assert ranks.reference == 199 - places[0]
    shares = ShareAlarm()
    shares.observe_counts(2000, 1000)
    found = [k for k in range(400) if shares.observe(False)]
    assert len(found) == 1
    assert shares.reference == 399 - found[0]


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.3])
def test_failures_at_a_steady_share_raise_no_alarm(share: float) -> None:
    false = 0
    for seed in range(4):
        alarm, numbers = ShareAlarm(), random.Random(seed)
        false += any(alarm.observe(numbers.random() < share) for _ in range(5000))
    assert false == 0  # less than 1 % of streams: four of them have none but once in 50 runs of this test


@pytest.mark.parametrize(
    ("before", "after", "most"), [(0.02, 0.08, 600), (0.3, 0.55, 400), (0.001, 0.3, 60), (0.01, 1.0, 15)]
)
def test_more_failures_are_told_soon(before: float, after: float, most: int) -> None:
    alarm, numbers = ShareAlarm(), random.Random(11)
    for _ in range(5000):
        alarm.observe(numbers.random() < before)
    shift, asked = None, 0
    while shift is None and asked < 3000:
        shift = alarm.observe(numbers.random() < after)
        asked += 1
    assert asked <= most
    assert shift is not None
    assert shift.direction is Direction.WORSE
    assert shift.after > shift.before


def test_counts_are_requests_one_by_one_with_the_failures_spread() -> None:
    alarm = ShareAlarm()
    alarm.observe_counts(1000, 20)
    assert (alarm.reference, alarm._failures) == (1000, 20)
    shift = alarm.observe_counts(200, 100)
    assert isinstance(shift, Shift)
    assert alarm.observe_counts(0, 0) is None
    for wrong in ((1, 2), (-1, 0), (3, -1)):
        with pytest.raises(ValueError, match="failures"):
            alarm.observe_counts(*wrong)


def test_an_alarm_that_was_kept_goes_on_as_if_it_had_not_been() -> None:
    values = latencies(8, 900) + latencies(9, 120, 1.6)
    whole, first = RankAlarm(), RankAlarm()
    told = [whole.observe(value) for value in values]
    half = [first.observe(value) for value in values[:700]]
    second = RankAlarm()
    second.restore(first.to_bytes())
    assert half + [second.observe(value) for value in values[700:]] == told
    assert any(told)
    numbers = random.Random(2)
    flags = [numbers.random() < (0.02 if i < 2000 else 0.4) for i in range(2100)]
    share, part = ShareAlarm(), ShareAlarm()
    all_told = [share.observe(flag) for flag in flags]
    some = [part.observe(flag) for flag in flags[:1990]]
    rest = ShareAlarm()
    rest.restore(part.to_bytes())
    assert some + [rest.observe(flag) for flag in flags[1990:]] == all_told
    assert any(all_told)


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x02abc", b"\x01" + b"x" * 40])
def test_a_damaged_state_is_refused(damaged: bytes) -> None:
    for alarm in (RankAlarm(), ShareAlarm()):
        with pytest.raises(IntegrityError):
            alarm.restore(damaged)


def test_the_window_forgets_the_oldest() -> None:
    alarm = RankAlarm(window=100)
    for value in range(250):
        alarm._remember(float(value))
    assert alarm.reference == 100
    assert alarm._sorted == [float(v) for v in range(150, 250)]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        RankAlarm().observe(wrong)
    for rate, window in ((0.0, 100), (1.0, 100), (0.5, 3)):
        with pytest.raises(ValueError, match="rate"):
            RankAlarm(rate=rate, window=window)
        with pytest.raises(ValueError, match="rate"):
            ShareAlarm(rate=rate, window=window)
