"""Rankings go by what is sure."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.analytics import figures, rankings
from core.analytics.costs import Prices
from core.analytics.periods import Period
from core.analytics.records import Outlook, RankMetric, Subject, SubjectKind, Summary, Tally
from core.analytics.tallies import judgement, merged
from core.stats.sketches import LogSketch

SINCE = datetime(2026, 11, 2, tzinfo=UTC)
random = np.random.default_rng(11)


def side(name: str, tally: Tally) -> tuple[Summary, Tally]:
    period = Period(SINCE, SINCE + timedelta(hours=1))
    return figures.summary_of(Subject(SubjectKind.ADAPTER, name, name), tally, period, Prices()), tally


def served(name: str, successes: int, requests: int, latency: float = 50.0) -> tuple[Summary, Tally]:
    times = LogSketch.of(random.lognormal(np.log(latency), 0.2, successes))
    return side(name, Tally(requests=requests, successes=successes, latency=times))


def order(metric: RankMetric, *sides: tuple[Summary, Tally]) -> list[str]:
    return [each.subject.id for each in rankings.rank([summary for summary, _ in sides], metric, 10)]


def test_two_of_two_do_not_beat_980_of_1000() -> None:
    found = rankings.rank(
        [served("lucky", 2, 2)[0], served("proven", 980, 1000)[0], served("poor", 400, 1000)[0]],
        RankMetric.SUCCESS_RATE,
        10,
    )
    assert [(each.rank, each.subject.id) for each in found] == [(1, "proven"), (2, "poor"), (3, "lucky")]
    assert (found[0].bound, found[2].bound) == (
        pytest.approx(0.9693, abs=1e-4),
        pytest.approx(0.3424, abs=1e-4),
    )


def test_times_are_ranked_by_their_upper_end_and_what_is_not_bounded_comes_last() -> None:
    fast, slow, few = served("fast", 500, 500, 20), served("slow", 500, 500, 90), served("few", 30, 30, 5)
    assert order(RankMetric.P95_LATENCY_MS, slow, few, fast) == ["fast", "slow", "few"]
    assert order(RankMetric.AVG_LATENCY_MS, slow, few, fast) == ["few", "fast", "slow"]


def test_those_without_a_figure_are_left_out_and_ties_go_by_number_and_name() -> None:
    nothing = side("nothing", Tally())
    one, two = side("one", Tally(requests=3, successes=3)), side("two", Tally(requests=3, successes=3))
    assert order(RankMetric.SUCCESS_RATE, two, nothing, one) == ["one", "two"]
    assert order(RankMetric.AVG_USER_RATING, one, two) == []
    assert order(RankMetric.TOTAL_REQUESTS, nothing, one, served("most", 9, 10)) == ["most", "one", "nothing"]


def test_five_stars_of_two_people_do_not_beat_many_who_gave_nearly_five() -> None:
    two = side("two", merged([judgement(5.0, None, None)] * 2))
    many = side("many", merged([judgement(4.5 if n % 2 else 5.0, None, None) for n in range(400)]))
    assert order(RankMetric.AVG_USER_RATING, two, many) == ["many", "two"]


def test_each_is_compared_with_the_first_and_all_intervals_of_a_metric_hold_together() -> None:
    first, equal, worse = served("a", 950, 1000), served("b", 951, 1000), served("c", 800, 1000, 200)
    found = rankings.differences(first, [equal, worse])
    rates = {each.other: each for each in found if each.metric == RankMetric.SUCCESS_RATE}
    assert {name: each.outlook for name, each in rates.items()} == {"b": Outlook.UNCLEAR, "c": Outlook.WORSE}
    assert rates["c"].difference.value == pytest.approx(-0.15)
    (alone,) = [d for d in rankings.differences(first, [worse]) if d.metric == RankMetric.SUCCESS_RATE]
    assert (alone.difference.high or 0) < (rates["c"].difference.high or 0)
    slower = [each for each in found if each.metric == RankMetric.P95_LATENCY_MS and each.other == "c"]
    assert slower[0].outlook is Outlook.WORSE
    assert (slower[0].difference.low or 0) > 0


def test_equal_adapters_are_seldom_told_apart() -> None:
    wrong = 0
    for _ in range(200):
        sides = [side(str(n), _drawn()) for n in range(4)]
        found = rankings.differences(sides[0], sides[1:])
        wrong += any(
            each.outlook is not Outlook.UNCLEAR for each in found if each.metric == RankMetric.SUCCESS_RATE
        )
    assert wrong <= 20  # 10 expected at most; P(more than 20) < .002


def _drawn() -> Tally:
    successes = int(random.binomial(300, 0.9))
    return Tally(requests=300, successes=successes)
