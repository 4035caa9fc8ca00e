"""Bandits: probabilities of being best against closed forms, both directions, two arms, and finding the best arm."""

import math

import numpy as np
import pytest
from scipy import stats

from core.stats.bandits import (
    LinearArms,
    best_of_means,
    best_of_shares,
    choose,
    linear_ucb,
    thompson,
    top_two,
    with_floor,
)


def _second_beats_first(a1: int, b1: int, a2: int, b2: int) -> float:
    """P(Beta(a2, b2) > Beta(a1, b1)) for whole parameters (Miller 2015, in closed form)."""
    from scipy.special import betaln

    return float(
        sum(
            math.exp(betaln(a1 + i, b1 + b2) - math.log(b2 + i) - betaln(1 + i, b2) - betaln(a1, b1))
            for i in range(a2)
        )
    )


@pytest.mark.parametrize(
    "counts",
    [(0, 0, 0, 0), (1, 0, 0, 1), (30, 70, 40, 60), (3, 997, 9, 991), (900, 100, 940, 60), (0, 200, 5, 0)],
)
def test_the_chance_to_be_best_of_two_shares_is_the_closed_form(counts: tuple[int, int, int, int]) -> None:
    s1, f1, s2, f2 = counts
    found = thompson(best_of_shares([s1, s2], [f1, f2]))
    expected = _second_beats_first(s1 + 1, f1 + 1, s2 + 1, f2 + 1)
    assert found[1] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("gap", [0.0, 0.5, 3.0, 12.0, 30.0])
def test_the_chance_to_be_best_of_two_means_is_normal_to_its_far_tail(gap: float) -> None:
    found = best_of_means([0.0, gap], [1.0, 0.6])
    z = gap / math.hypot(1.0, 0.6)
    assert found[0] == pytest.approx(float(stats.norm.logsf(z)), rel=1e-7)
    assert found[1] == pytest.approx(float(stats.norm.logcdf(z)), rel=1e-7, abs=1e-12)


def test_several_arms_agree_with_a_simulation() -> None:
    draw = np.random.default_rng(1)
    won, lost = np.array([10, 14, 3, 40]), np.array([30, 28, 6, 90])
    samples = draw.beta(won + 1, lost + 1, (200_000, 4))
    simulated = np.bincount(samples.argmax(axis=1), minlength=4) / 200_000
    assert thompson(best_of_shares(won, lost)) == pytest.approx(simulated, abs=0.005)
    lowest = np.bincount(samples.argmin(axis=1), minlength=4) / 200_000
    assert thompson(best_of_shares(won, lost, higher_is_better=False)) == pytest.approx(lowest, abs=0.005)


def test_lower_is_better_is_the_mirror_of_higher_is_better() -> None:
    assert best_of_shares([3, 9], [7, 1], higher_is_better=False) == pytest.approx(
        best_of_shares([7, 1], [3, 9])
    )
    means, errors = [120.0, 95.0, 240.0], [9.0, 8.0, 30.0]
    assert best_of_means(means, errors, higher_is_better=False) == pytest.approx(
        best_of_means([-m for m in means], errors)
    )


@pytest.mark.parametrize("arms", [2, 3, 5])
@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("kind", ["shares", "means"])
def test_top_two_finds_the_best_arm_and_does_not_starve_it(arms: int, higher: bool, kind: str) -> None:
    draw = np.random.default_rng(arms)
    best = arms - 1
    truth = np.full(arms, 0.5)
    truth[best] += 0.15 if higher else -0.15
    n, total, pulls = np.ones(arms), np.full(arms, 0.5), np.zeros(arms)
    for _ in range(200):
        if kind == "shares":
            logs = best_of_shares(total, n - total, higher_is_better=higher)
        else:
            logs = best_of_means(total / n, 0.5 / np.sqrt(n), higher_is_better=higher)
        chances = top_two(logs)
        assert np.isfinite(chances).all()
        assert chances.sum() == pytest.approx(1.0)
        batch = draw.multinomial(10, chances)
        pulls += batch
        n, total = n + batch, total + draw.binomial(batch, truth)
    assert int(np.argmax(pulls)) == best
    assert 0.35 <= pulls[best] / pulls.sum() <= 0.75


def test_top_two_is_what_drawing_and_drawing_again_gives() -> None:
    draw = np.random.default_rng(4)
    alpha = np.array([0.5, 0.3, 0.2])
    leaders = draw.choice(3, 200_000, p=alpha)
    challengers = np.array(
        [draw.choice(3, 200_000, p=np.where(np.arange(3) == j, 0, alpha) / (1 - alpha[j])) for j in range(3)]
    )
    again = challengers[leaders, np.arange(200_000)]
    played = np.where(draw.random(200_000) < 0.6, leaders, again)
    simulated = np.bincount(played, minlength=3) / 200_000
    assert top_two(np.log(alpha), leader=0.6) == pytest.approx(simulated, abs=0.005)


@pytest.mark.parametrize("higher", [True, False])
def test_a_sure_leader_of_two_still_has_its_challenger(higher: bool) -> None:
    # The leader's chance is 1 to a float; 1 − α would be 0 and the challenger's share 0 / 0.
    logs = best_of_shares([5_000, 100], [100, 5_000], higher_is_better=higher)
    assert thompson(logs).max() == 1.0
    assert top_two(logs) == pytest.approx([0.5, 0.5], abs=1e-12)
    farther = best_of_means([0.0, 1e9], [1.0, 1.0], higher_is_better=higher)
    assert top_two(farther) == pytest.approx([0.5, 0.5])


def test_an_arm_given_as_impossible_is_no_crash() -> None:
    assert top_two([0.0, -math.inf]) == pytest.approx([0.5, 0.5])
    assert best_of_shares([5e8, 5.001e8], [5e8, 4.999e8])[1] == pytest.approx(0.0, abs=1e-5)


def test_among_sure_losers_the_nearest_is_the_challenger() -> None:
    found = top_two(best_of_means([100.0, 0.0, 50.0], [1.0, 1.0, 1.0]))
    assert found == pytest.approx([0.5, 0.0, 0.5], abs=1e-9)


def test_a_floor_keeps_every_arm_alive() -> None:
    found = with_floor([1.0, 0.0, 0.0], 0.05)
    assert found == pytest.approx([0.9, 0.05, 0.05])
    assert with_floor([0.3, 0.7], 0.5) == pytest.approx([0.5, 0.5])


def test_a_choice_follows_its_probabilities_and_tells_them() -> None:
    chances = [0.2, 0.0, 0.5, 0.3]
    drawn = [choose(chances, (k + 0.5) / 1000) for k in range(1000)]
    assert [sum(c.arm == arm for c in drawn) for arm in range(4)] == [200, 0, 500, 300]
    assert all(c.propensity == chances[c.arm] for c in drawn)
    assert choose([0.0, 1.0, 0.0], 0.0).arm == 1
    assert choose([0.3, 0.7, 0.0], math.nextafter(1.0, 0.0)).arm == 1


def test_a_linear_arm_is_a_ridge_regression() -> None:
    draw = np.random.default_rng(5)
    contexts, outcomes = draw.normal(0, 1, (40, 3)), draw.normal(0, 1, 40)
    arms = LinearArms.fresh(2, 3, ridge=2.0)
    for x, y in zip(contexts, outcomes, strict=True):
        arms = arms.learned(1, x, float(y))
    at = np.array([1.0, -0.5, 2.0])
    inverse = np.linalg.inv(contexts.T @ contexts + 2 * np.eye(3))
    means, widths = arms.predictions(at)
    assert means == pytest.approx([0.0, at @ inverse @ contexts.T @ outcomes])
    assert widths == pytest.approx([math.sqrt(at @ at / 2), math.sqrt(at @ inverse @ at)])
    assert arms.upper_bounds(at, alpha=2.0) == pytest.approx(means + 2 * widths)
    assert arms.upper_bounds(at, alpha=2.0, higher_is_better=False) == pytest.approx(-means + 2 * widths)


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("rule", ["thompson", "ucb"])
def test_a_contextual_bandit_learns_which_arm_suits_whom(higher: bool, rule: str) -> None:
    draw = np.random.default_rng(6)
    arms, right = LinearArms.fresh(2, 2), 0
    for k in range(600):
        side = 1.0 if draw.random() < 0.5 else -1.0
        x = np.array([1.0, side])
        if rule == "thompson":
            chances = with_floor(thompson(arms.log_best(x, spread=0.5, higher_is_better=higher)), 0.02)
        else:
            chances = linear_ucb(arms.upper_bounds(x, higher_is_better=higher), floor=0.02)
        chosen = choose(chances.tolist(), float(draw.random())).arm
        high_arm = 1 if side > 0 else 0  # arm 1 has more for one half, arm 0 for the other
        arms = arms.learned(chosen, x, float(draw.normal(1.0 if chosen == high_arm else 0.4, 0.5)))
        right += k >= 300 and (chosen == high_arm) is higher
    assert right / 300 > 0.9


@pytest.mark.parametrize(
    "refused",
    [
        lambda: best_of_shares([1], [2]),
        lambda: best_of_shares([1, -1], [2, 2]),
        lambda: best_of_shares([1, 1], [2, 2], prior=(0.0, 1.0)),
        lambda: best_of_means([1, math.nan], [1, 1]),
        lambda: best_of_means([1, 2], [1, 0]),
        lambda: top_two([0.0]),
        lambda: top_two([0.0, -1.0], leader=1.0),
        lambda: with_floor([0.5, 0.5], 0.6),
        lambda: with_floor([0.5, 0.6], 0.1),
        lambda: choose([0.5, 0.5], 1.0),
        lambda: choose([0.5, 0.6], 0.5),
        lambda: LinearArms.fresh(1, 2),
        lambda: LinearArms.fresh(2, 2).learned(2, [1, 1], 1.0),
        lambda: LinearArms.fresh(2, 2).predictions([1.0]),
        lambda: LinearArms.fresh(2, 2).log_best([0.0, 0.0]),
    ],
)
def test_an_impossible_choice_is_refused(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
