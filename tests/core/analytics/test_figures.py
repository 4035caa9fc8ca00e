"""Figures: n, interval, and a word where there is too little. Oracles: Newcombe (1998a), scipy."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from core.analytics import changes, figures
from core.analytics.costs import Prices
from core.analytics.periods import Period
from core.analytics.records import Outlook, Subject, SubjectKind, Tally, Thumbs
from core.analytics.tallies import judgement, merged
from core.stats.sketches import LogSketch

random = np.random.default_rng(3)


def judged(ratings: list[float]) -> Tally:
    return merged(judgement(rating, None, None) for rating in ratings)


def test_a_share_has_wilsons_interval() -> None:
    found = figures.share(81, 263)  # Newcombe (1998), table I, method 3
    assert (found.value, found.n) == (81 / 263, 263)
    assert (round(found.low or 0, 4), round(found.high or 0, 4)) == (0.2553, 0.3662)
    nothing = figures.share(0, 0)
    assert (nothing.value, nothing.low, nothing.n, nothing.note) == (None, None, 0, "Nothing was recorded.")


def test_a_percentile_has_its_order_statistic_interval_to_the_error_of_the_sketch() -> None:
    values = random.lognormal(4, 1, 1000)
    found = figures.percentile(LogSketch.of(values), 0.95)
    exact = np.sort(values)
    low, high = stats.binom.ppf(0.025, 1000, 0.95), stats.binom.ppf(0.975, 1000, 0.95) + 1
    assert found.value == pytest.approx(exact[949], rel=0.008)
    assert found.low == pytest.approx(exact[int(low) - 1], rel=0.016)
    assert found.high == pytest.approx(exact[int(high) - 1], rel=0.016)
    assert (found.low or 0) <= exact[int(low) - 1]
    assert exact[int(high) - 1] <= (found.high or 0)
    assert found.note == "To 0.8%."


@pytest.mark.parametrize(("q", "n"), [(0.95, 9), (0.99, 49)])
def test_a_percentile_of_few_is_hidden_and_says_what_it_would_be(q: float, n: int) -> None:
    values = LogSketch.of([10.0] * (n - 1) + [1234.5])
    found = figures.percentile(values, q)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, n)
    assert found.note == f"It needs {n + 1} requests: of {n} it is only the slowest, 1,234.5 ms."
    assert figures.percentile(values + LogSketch.of([11.0]), q).value is not None


def test_of_so_few_that_nothing_bounds_a_percentile_above_the_end_is_open() -> None:
    found = figures.percentile(LogSketch.of(range(1, 21)), 0.95)
    assert found.high is None
    assert found.low == pytest.approx(17, rel=0.02)  # R: qbinom(.025, 20, .95)


def test_a_mean_time_is_exact_with_students_interval() -> None:
    values = random.gamma(3, 40, 400)
    found = figures.mean_ms(LogSketch.of(values))
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean(), rel=1e-14)
    assert (found.low, found.high) == (pytest.approx(low, rel=2e-3), pytest.approx(high, rel=2e-3))
    few = figures.mean_ms(LogSketch.of([1.0, 2.0]))
    assert (few.value, few.low, few.note) == (1.5, None, "It needs 10 requests to have an interval.")


def test_ratings_have_students_interval_from_thirty_on_and_before_it_the_widest_possible() -> None:
    ratings = [float(each) for each in random.integers(1, 6, 40)]
    found = figures.rating(judged(ratings))
    low, high = stats.t.interval(0.95, 39, np.mean(ratings), stats.sem(ratings))
    assert (found.value, found.n) == (pytest.approx(np.mean(ratings)), 40)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    two = figures.rating(judged([5.0, 5.0]))
    assert (two.value, two.high) == (5.0, 5.0)
    assert two.low == pytest.approx(1 + 4 * (2 / (2 + 1.959964**2)), rel=1e-6)  # Wilson's lower end of 2 of 2
    assert "widest" in two.note
    assert figures.rating(Tally()).value is None


def test_differences_of_ratings_agree_with_welchs_test() -> None:
    one, other = random.integers(3, 6, 50).astype(float), random.integers(1, 5, 80).astype(float)
    found = changes.change_of_rating("rating", judged(list(one)), judged(list(other)))
    oracle = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (found.difference.low, found.difference.high) == (
        pytest.approx(oracle.low),
        pytest.approx(oracle.high),
    )
    assert found.outlook is Outlook.BETTER


def test_a_difference_is_better_or_worse_only_where_its_interval_leaves_zero_out() -> None:
    shares = [figures.share(k, 200) for k in (196, 170, 194)]
    assert changes.change_of_share("success_rate", shares[0], shares[1]).outlook is Outlook.BETTER
    assert changes.change_of_share("success_rate", shares[1], shares[0]).outlook is Outlook.WORSE
    assert changes.change_of_share("success_rate", shares[0], shares[2]).outlook is Outlook.UNCLEAR
    nothing = changes.change_of_share("success_rate", shares[0], figures.share(0, 0))
    assert (nothing.difference.value, nothing.outlook) == (None, Outlook.UNCLEAR)
    assert nothing.difference.note == "There is nothing to compare with."


def test_fewer_milliseconds_are_better() -> None:
    fast, slow = (LogSketch.of(random.lognormal(mean, 0.4, 500)) for mean in (3, 4))
    found = changes.change_of_quantile("latency_p95", fast, slow, 0.95)
    assert found.outlook is Outlook.BETTER
    assert (found.difference.high or 0) < 0
    assert changes.change_of_mean_ms("avg_latency_ms", slow, fast).outlook is Outlook.WORSE
    few = changes.change_of_quantile("latency_p95", LogSketch.of(range(1, 20)), slow, 0.95)
    assert (few.difference.low, few.outlook) == (None, Outlook.UNCLEAR)


def test_the_interval_of_a_difference_of_p95_holds_about_as_often_as_it_says() -> None:
    missed = 0
    for _ in range(300):
        one, other = (LogSketch.of(random.lognormal(4, 0.7, 300)) for _ in range(2))
        found = changes.change_of_quantile("latency_p95", one, other, 0.95)
        missed += found.outlook is not Outlook.UNCLEAR
    assert missed <= 25  # 15 expected; P(more than 25) < .01


def test_a_summary_says_where_its_requests_come_from() -> None:
    subject = Subject(SubjectKind.ADAPTER, "adp_1", "alpha v1", "task", size_bytes=4096)
    since = datetime(2026, 11, 2, 9, tzinfo=UTC)
    tally = Tally(
        requests=1500,
        successes=1400,
        cancelled=20,
        simulated=1200,
        reported=100,
        errors={"timeout": 80},
        latency=LogSketch.of(np.full(1400, 50.0)),
        cost_nano=2_500_000_000,
        memory_bytes=10**6,
        thumbs_up=3,
        thumbs_down=1,
    )
    found = figures.summary_of(subject, tally, Period(since, since + timedelta(hours=1)), Prices(1, 2, "EUR"))
    assert found.source == "200 measured here, 100 reported through the API, 1,200 simulated"
    assert (found.failures, found.success_rate.n, found.success_rate.value) == (80, 1480, 1400 / 1480)
    assert (found.cost.value, found.cost.unit, found.cost.note) == (2.5, "EUR", "")
    assert (found.memory.value, found.size.value) == (1e6, 4096.0)
    assert (found.thumbs.value, found.thumbs.n) == (0.75, 4)
    free = figures.summary_of(subject, Tally(), Period(since, since + timedelta(hours=1)), Prices())
    assert "No prices are set" in free.cost.note
    assert (free.source, free.memory.value) == ("", None)
    assert math.isclose(found.latency_p50.value or 0, 50.0, rel_tol=0.008)


def test_a_judgement_taken_back_leaves_nothing() -> None:
    said = judgement(3.7, Thumbs.DOWN, 0.123456)
    back = judgement(3.7, Thumbs.DOWN, 0.123456, -1)
    assert merged((said, back)) == Tally()
