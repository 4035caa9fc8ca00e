"""Group-sequential bounds against published tables (Armitage 1969, Jennison and Turnbull 2000, gsDesign) and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from core.stats.group_sequential import (
    Bounds,
    Spending,
    bounds,
    crossing,
    drift_for_power,
    expected_information,
    inflation,
    power,
    spent,
    stagewise_interval,
    stagewise_p,
)

EVEN_5 = tuple(k / 5 for k in range(1, 6))


def _even(looks: int) -> list[float]:
    return [k / looks for k in range(1, looks + 1)]


@pytest.mark.parametrize(
    ("looks", "chance"),
    # Armitage, McPherson and Rowe (1969), table 2: repeated tests at the 5 % level.
    [(1, 0.050), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248), (50, 0.320)],
)
def test_looking_often_at_5_percent_is_wrong_as_often_as_armitage_says(looks: int, chance: float) -> None:
    up, down = crossing([1.959964] * looks, _even(looks))
    assert up.sum() + down.sum() == pytest.approx(chance, abs=6e-4)


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    # Jennison and Turnbull (2000), tables 2.1 and 2.3, alpha .05: constants C_P and C_B (to their last digit).
    [(2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040), (10, 2.555, 2.087)],
)
def test_the_classic_bounds_spend_5_percent(looks: int, pocock: float, obrien_fleming: float) -> None:
    for z in ([pocock] * looks, [obrien_fleming * math.sqrt(looks / k) for k in range(1, looks + 1)]):
        up, down = crossing(z, _even(looks))
        assert up.sum() + down.sum() == pytest.approx(0.05, abs=1.5e-4)


@pytest.mark.parametrize(
    ("spending", "expected"),
    # gsDesign(k = 5, test.type = 2, alpha = .025, sfu = sfLDOF | sfLDPocock)$upper$bound.
    [
        (Spending.OBRIEN_FLEMING, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        (Spending.POCOCK, (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_spending_bounds_are_those_of_gsdesign(spending: Spending, expected: tuple[float, ...]) -> None:
    found = bounds(EVEN_5, alpha=0.05, spending=spending)
    assert found.z == pytest.approx(expected, abs=1.5e-4)
    assert found.spent[-1] == pytest.approx(0.05)
    up, down = crossing(found.z, found.fractions)
    assert up == pytest.approx(down)
    assert np.cumsum(up + down) == pytest.approx(found.spent, abs=1e-9)
    assert found.nominal_p == pytest.approx([2 * stats.norm.sf(z) for z in found.z])


def test_one_sided_bounds_spend_all_upwards() -> None:
    found = bounds(EVEN_5, alpha=0.025, two_sided=False)
    assert found.z == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=1.5e-4)
    up, down = crossing(found.z, found.fractions, two_sided=False)
    assert (up.sum(), down.sum()) == (pytest.approx(0.025, abs=1e-9), 0.0)


def test_spending_is_lan_and_demets() -> None:
    # 2 − 2 Φ(z_{α/2} / √t) at t = .5, α = .025: 2 · P(Z > 2.241403 / .7071068) = 0.001525.
    assert spent(Spending.OBRIEN_FLEMING, 0.5, 0.025) == pytest.approx(0.001525, abs=1e-6)
    assert spent(Spending.POCOCK, 0.5, 0.025) == pytest.approx(0.025 * math.log(1 + (math.e - 1) / 2))
    assert spent(Spending.POCOCK, 1.3, 0.025) == 0.025


def test_bounds_of_looks_taken_do_not_move_when_others_come() -> None:
    some, more = bounds([0.1, 0.37]), bounds([0.1, 0.37, 0.371, 0.9, 1.0])
    assert more.z[:2] == pytest.approx(some.z, abs=1e-9)
    up, down = crossing(more.z, more.fractions)
    assert up.sum() + down.sum() == pytest.approx(0.05, abs=1e-7)


def test_a_first_look_at_almost_nothing_has_a_bound_that_is_never_reached() -> None:
    found = bounds([0.001, 0.5, 1.0])
    assert found.z[0] >= 30
    assert found.z[2] == pytest.approx(bounds([0.5, 1.0]).z[1], abs=1e-6)


def test_twenty_looks_are_wrong_5_times_and_right_as_often_as_reckoned() -> None:
    looks = _even(20)
    design = bounds(looks)
    draw = np.random.default_rng(1)
    steps = draw.normal(0, math.sqrt(1 / 20), (20_000, 20))
    times = np.array(looks)
    for drift, expected in ((0.0, 0.05), (3.0, power(design, 3.0))):
        z = (np.cumsum(steps, axis=1) + drift * times) / np.sqrt(times)
        assert (np.abs(z) >= np.array(design.z)).any(axis=1).mean() == pytest.approx(expected, abs=0.01)


def test_power_is_that_of_a_multivariate_normal() -> None:
    # scipy's integral over B, whose covariance is min(t, t'), summed over first crossings upwards.
    times, drift = np.array([0.2, 0.5, 0.6]), 2.7
    design = bounds(times.tolist())
    edges, covariance = np.array(design.z) * np.sqrt(times), np.minimum.outer(times, times)
    total = 0.0
    for k in range(3):
        low, high = -edges[: k + 1], edges[: k + 1].copy()
        low[k], high[k] = edges[k], np.inf
        part = stats.multivariate_normal(drift * times[: k + 1], covariance[: k + 1, : k + 1])
        total += float(part.cdf(high, lower_limit=low))
    assert power(design, drift) == pytest.approx(total, abs=2e-5)


def test_the_price_of_five_looks_is_the_published_one() -> None:
    # Jennison and Turnbull (2000), tables 2.2 and 2.4, α = .05, power .8: O'Brien–Fleming 1.028, Pocock 1.229.
    classic = [2.040 * math.sqrt(5 / k) for k in range(1, 6)]
    for z, expected in ((classic, 1.028), ([2.413] * 5, 1.229)):
        design = Bounds(EVEN_5, tuple(z), (0.0,) * 5, (0.0,) * 5, 0.05, True)
        assert inflation(design, 0.8) == pytest.approx(expected, abs=2e-3)
    design = bounds([1.0])
    assert drift_for_power(design, 0.9) == pytest.approx(1.959964 + 1.281552, abs=1e-5)


def test_the_mean_information_at_the_end_is_the_simulated_one() -> None:
    design = bounds(EVEN_5, spending=Spending.POCOCK)
    assert expected_information(bounds([1.0]), 3.0) == 1.0
    draw = np.random.default_rng(2)
    times = np.array(EVEN_5)
    z = np.cumsum(draw.normal(2.8 / 5, math.sqrt(1 / 5), (20_000, 5)), axis=1) / np.sqrt(times)
    hit = np.abs(z) >= np.array(design.z)
    ended = np.where(hit.any(axis=1), times[hit.argmax(axis=1)], 1.0)
    assert expected_information(design, 2.8) == pytest.approx(ended.mean(), abs=0.01)


def test_spending_as_the_square_lies_between_the_other_two() -> None:
    assert spent(Spending.SQUARE, 0.5, 0.04) == pytest.approx(0.01)
    first = [
        bounds(EVEN_5, spending=kind).z[0]
        for kind in (Spending.POCOCK, Spending.SQUARE, Spending.OBRIEN_FLEMING)
    ]
    assert first == sorted(first)
    square = bounds(EVEN_5, spending=Spending.SQUARE)
    up, down = crossing(square.z, square.fractions)
    assert up.sum() + down.sum() == pytest.approx(0.05, abs=1e-9)


def test_the_repeated_interval_leaves_0_out_exactly_when_the_bound_is_crossed() -> None:
    design = bounds(EVEN_5)
    for look in range(1, 6):
        for z in (design.z[look - 1] * factor for factor in (-1.001, -0.999, 0.3, 0.999, 1.001)):
            found = design.repeated_interval(look, 2 * z, 2.0)
            assert design.crossed(look, z) is (found.low >= 0 or found.high <= 0)
    assert bounds(EVEN_5, two_sided=False).repeated_interval(2, 1.0, 0.5).high == math.inf


def test_one_look_has_the_plain_p_value_and_interval() -> None:
    design = bounds([1.0])
    assert stagewise_p(design, 1, 2.2) == pytest.approx(stats.norm.sf(2.2))
    found = stagewise_interval(design, 1, 2.2, 1.0)
    assert (found.low, found.value, found.high) == (
        pytest.approx(2.2 - 1.959964, abs=1e-5),
        pytest.approx(2.2, abs=1e-6),
        pytest.approx(2.2 + 1.959964, abs=1e-5),
    )


def test_the_stagewise_p_value_is_the_alpha_spent_at_the_bound() -> None:
    design = bounds(EVEN_5)
    for look in range(1, 6):
        assert 2 * stagewise_p(design, look, design.z[look - 1]) == pytest.approx(
            design.spent[look - 1], abs=1e-9
        )


def test_the_stagewise_interval_holds_the_truth_after_stopping() -> None:
    design = bounds([1 / 3, 2 / 3, 1.0], spending=Spending.POCOCK)
    times = np.array(design.fractions)
    draw = np.random.default_rng(3)
    held = above = naive = 0
    for _ in range(250):
        b = np.cumsum(draw.normal(2.5 / 3, math.sqrt(1 / 3), 3))
        z = b / np.sqrt(times)
        crossed = np.flatnonzero(np.abs(z) >= np.array(design.z))
        k = int(crossed[0]) if crossed.size else 2
        found = stagewise_interval(design, k + 1, float(b[k] / times[k]), float(1 / math.sqrt(times[k])))
        held += found.low <= 2.5 <= found.high
        above += found.value > 2.5
        naive += b[k] / times[k] > 2.5
    assert 0.91 <= held / 250 <= 0.985
    assert abs(above / 250 - 0.5) < abs(naive / 250 - 0.5)


def test_a_downward_result_is_the_mirror_of_an_upward_one() -> None:
    design = bounds(EVEN_5)
    up, down = (stagewise_interval(design, 3, sign * 1.5, 0.5) for sign in (1, -1))
    assert (up.low, up.high) == (pytest.approx(-down.high, abs=1e-5), pytest.approx(-down.low, abs=1e-5))


@pytest.mark.parametrize(
    "refused",
    [
        lambda: bounds([]),
        lambda: bounds([0.5, 0.5]),
        lambda: bounds([0.0, 1.0]),
        lambda: bounds([0.5, math.nan]),
        lambda: bounds([1.0], alpha=0.0),
        lambda: crossing([1.0], [0.5, 1.0]),
        lambda: stagewise_p(bounds([1.0]), 2, 1.0),
        lambda: stagewise_p(bounds([1.0]), 1, math.nan),
        lambda: stagewise_interval(bounds([1.0]), 1, 1.0, 0.0),
        lambda: bounds([1.0]).repeated_interval(1, 1.0, 0.0),
        lambda: drift_for_power(bounds([1.0]), 0.01),
    ],
)
def test_an_impossible_plan_is_refused(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
