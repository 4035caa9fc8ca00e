"""Sizes and power against R's pwr, power.prop.test and power.t.test, and against simulation."""

import math

import numpy as np
import pytest

from core.stats.moments import UnitSums
from core.stats.power import (
    Aim,
    ShareMethod,
    arcsine_effect,
    design_effect,
    detectable_mean,
    detectable_ratio,
    detectable_share,
    duration,
    mean_power,
    ratio_power,
    share_power,
    units_for_means,
    units_for_ratios,
    units_for_shares,
    whole,
)
from core.stats.proportions import share_z


def test_the_normal_size_is_rs_power_prop_test() -> None:
    # R's help page: n = 50 gives 0.740; power .90 needs n = 76.7 (76.65294); power .90 with n = 50 finds 0.8026141.
    assert share_power(50, 0.50, 0.75) == pytest.approx(0.740, abs=5e-4)
    assert units_for_shares(0.50, 0.75, Aim(power=0.9)) == pytest.approx(76.7, abs=0.05)
    # … as near as R's root finder goes (1e-4); the exact one is 0.8026306.
    found = detectable_share(50, 0.5, Aim(power=0.9))
    assert found == pytest.approx(0.8026141, abs=2e-5)
    assert share_power(50, 0.5, found) == pytest.approx(0.9, abs=1e-10)


def test_the_arcsine_size_is_rs_pwr() -> None:
    # pwr.2p.test(h = 0.3, sig.level = 0.05, power = 0.8): n = 174.4195 = 2 ((z.975 + z.8) / 0.3)².
    second = math.sin(math.asin(math.sqrt(0.4)) + 0.15) ** 2
    assert arcsine_effect(0.4, second) == pytest.approx(0.3)
    assert units_for_shares(0.4, second, method=ShareMethod.ARCSINE) == pytest.approx(174.4195, abs=1e-3)
    # ES.h(0.5, 0.4) = 0.2013579.
    assert arcsine_effect(0.4, 0.5) == pytest.approx(0.2013579, abs=1e-7)


def test_the_size_for_means_is_rs_power_t_test() -> None:
    # R's help page: power.t.test(n = 20, delta = 1): 0.8689528; (power = .90, delta = 1): n = 22.02110; one side: 17.84713.
    assert mean_power(20, 1, 1) == pytest.approx(0.8689528, abs=1e-6)
    assert units_for_means(1, 1, Aim(power=0.9)) == pytest.approx(22.02110, abs=1e-3)
    assert units_for_means(1, 1, Aim(power=0.9, two_sided=False)) == pytest.approx(17.84713, abs=1e-3)


def test_large_sizes_for_means_join_the_normal_ones() -> None:
    small = units_for_means(0.01, 1.0)
    assert small == pytest.approx(2 * (1.959964 + 0.8416212) ** 2 / 0.01**2, rel=1e-4)
    assert detectable_mean(small, 1.0) == pytest.approx(0.01, rel=1e-6)


def test_a_huge_difference_needs_two_units_an_arm_and_a_tiny_one_is_still_found() -> None:
    assert units_for_means(1e6, 1.0) == 2.0
    assert units_for_means(1e6, 1.0, Aim(ratio=0.5)) == 4.0
    assert detectable_mean(1e9, 2.0) == pytest.approx(
        2 * (1.959964 + 0.8416212) * math.sqrt(2 / 1e9), rel=1e-6
    )
    with pytest.raises(ValueError, match="three units"):
        mean_power(1.4, 1.0, 1.0)


def test_the_power_is_how_often_the_test_finds_it() -> None:
    n = whole(units_for_shares(0.10, 0.12))
    draw = np.random.default_rng(1)
    z = share_z(draw.binomial(n, 0.10, 4000), n, draw.binomial(n, 0.12, 4000), n)
    assert n == 3841  # R: power.prop.test(p1 = .10, p2 = .12, power = .8): n = 3840.847
    assert float(np.mean(np.abs(z) > 1.959964)) == pytest.approx(0.8, abs=0.02)


def test_unequal_arms_need_more_in_all() -> None:
    even = 2 * units_for_shares(0.1, 0.12)
    uneven = 10 * units_for_shares(0.1, 0.12, Aim(ratio=9.0))
    assert uneven > 2 * even
    n = units_for_shares(0.1, 0.12, Aim(ratio=9.0))
    assert share_power(n, 0.1, 0.12, Aim(ratio=9.0)) == pytest.approx(0.8)


def test_units_that_bring_many_requests_need_the_design_effect_more_of_them() -> None:
    # Donner and Klar: m = 20, ρ = .05: 1 + 19 · .05 = 1.95; with cv .5: 1 + (1.25 · 20 − 1) · .05 = 2.2.
    assert design_effect(20, 0.05) == pytest.approx(1.95)
    assert design_effect(20, 0.05, variation=0.5) == pytest.approx(2.2)
    draw = np.random.default_rng(2)
    m, rho, share = 20, 0.1, 0.3
    a = share * (1 - rho) / rho
    chance = draw.beta(a, a * (1 - share) / share, 40_000)
    pilot = UnitSums.of(draw.binomial(m, chance).tolist(), [float(m)] * 40_000)
    units = units_for_ratios(0.02, pilot)
    plain = 2 * (1.959964 + 0.8416212) ** 2 * share * (1 - share) / 0.02**2
    assert units * m == pytest.approx(plain * design_effect(m, rho), rel=0.04)
    assert ratio_power(units, 0.02, pilot) == pytest.approx(0.8)
    assert detectable_ratio(units, pilot) == pytest.approx(0.02, rel=1e-6)


def test_a_share_falls_as_well_as_it_rises() -> None:
    low = detectable_share(500, 0.3, higher=False)
    assert low < 0.3
    assert share_power(500, 0.3, low) == pytest.approx(0.8)


def test_a_duration_waits_for_the_arm_that_gets_least() -> None:
    found = duration(1000, [0.5, 0.3, 0.2, 0.0], 500, share=0.5)
    assert found.days == pytest.approx(1000 / (0.2 * 0.5 * 500))
    assert found.whole_weeks == 3
    assert duration(10, [0.5, 0.5], 1000).whole_weeks == 1
    assert duration(700, [1.0], 100).whole_weeks == 1


@pytest.mark.parametrize(
    "refused",
    [
        lambda: units_for_shares(0.2, 0.2),
        lambda: units_for_shares(0.0, 0.0),
        lambda: units_for_shares(-0.1, 0.2),
        lambda: units_for_means(0.0, 1.0),
        lambda: units_for_means(1.0, 0.0),
        lambda: units_for_means(1e-12, 1.0),
        lambda: units_for_ratios(0.0, UnitSums.of([1.0, 2.0])),
        lambda: units_for_ratios(0.1, UnitSums.of([1.0, 1.0])),
        lambda: detectable_share(3, 0.5),
        lambda: share_power(0, 0.1, 0.2),
        lambda: Aim(alpha=0.9, power=0.8),
        lambda: Aim(ratio=0.0),
        lambda: design_effect(0.5, 0.1),
        lambda: duration(10, [0.5, 0.6], 100),
        lambda: duration(10, [1.5, -0.5], 100),
        lambda: duration(10, [0.5, 0.5], 0),
        lambda: duration(10, [0.5, 0.5], 1e-320),
        lambda: duration(10, [1.0, 1e-320], 1e-10),
    ],
)
def test_an_impossible_aim_is_refused(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
