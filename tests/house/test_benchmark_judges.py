"""The benchmarks of serving tell a torn or stale answer when there is one, and what a wait of one tenant is."""

from benchmarks.fairness import HOT
from benchmarks.fairness import judge as judge_waits
from benchmarks.hot_swap import Asked, Flip, judge, p99

ALONE = {(1, 1): 1, (2, 2): 2, (3, 3): 3}
FLIPS = [Flip(0.0, 0.0, 1), Flip(10.0, 11.0, 2), Flip(20.0, 21.0, 3)]


def verdict(*asked: Asked) -> dict[str, int]:
    return judge(asked, FLIPS, ALONE)


def test_the_version_that_served_is_neither_torn_nor_stale() -> None:
    right = [Asked(1, 2, (1, 1)), Asked(12, 13, (2, 2)), Asked(30, 31, (3, 3))]
    assert verdict(*right) == {"failed": 0, "torn": 0, "stale": 0}


def test_during_a_flip_the_old_and_the_new_version_may_answer() -> None:
    either = [Asked(9, 10.5, (1, 1)), Asked(9, 10.5, (2, 2)), Asked(10.5, 12, (1, 1))]
    assert verdict(*either)["stale"] == 0


def test_a_version_before_its_time_or_after_it_is_stale() -> None:
    early, late = Asked(1, 2, (2, 2)), Asked(11.5, 13, (1, 1))
    assert verdict(early, late) == {"failed": 0, "torn": 0, "stale": 2}


def test_half_of_each_is_torn_and_none_is_failed() -> None:
    assert verdict(Asked(1, 2, (1, 2)), Asked(1, 2, None)) == {"failed": 1, "torn": 1, "stale": 0}


def test_the_99th_of_a_hundred_is_not_the_worst_of_two_hundred() -> None:
    assert p99([Asked(0, n / 1000, ()) for n in range(1, 201)]) == 199.0


def test_waits_are_compared_among_tenants_that_ask_alike() -> None:
    told = judge_waits({HOT: [900.0, 1100.0], "cold0": [10.0, 30.0], "cold1": [60.0]})
    assert told["largest_over_mean_wait"] == 1.5
    assert (told["cold_mean_ms"], told["hot_mean_ms"]) == (40.0, 1000.0)
    assert (told["hot_answers"], told["cold_answers"]) == (2, 3)
