"""How long an experiment takes, against R and against simulated experiments."""

import math

import numpy as np
import pytest

from core.errors import InvalidInputError
from core.experiments import service
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import MetricDraft
from core.stats.pairs import log_e_pairs
from tests.core.experiments.drafted import draft


def test_one_look_at_a_share_is_power_prop_test_of_r() -> None:
    fixed = service.advise(
        draft(mode=Mode.FIXED, planned_units=1000), baseline=0.9, difference=0.02, units_per_day=600
    )
    assert fixed.units_per_arm == 3213  # power.prop.test(p1 = .90, p2 = .92, power = .8): n = 3212.9
    assert fixed.total_units == 6426
    assert fixed.days == pytest.approx(2 * 3213 / 600)
    assert "11 days" in fixed.sentence
    assert fixed.smallest_difference is not None
    # power.prop.test(n = 4200, p1 = .9, power = .8): p2 = .9176
    assert fixed.smallest_difference == pytest.approx(0.0176, abs=2e-4)


def test_a_mean_is_power_t_test_of_r_and_looking_always_costs_less_than_twice_as_much() -> None:
    cost = MetricDraft(name="cost", kind=MetricKind.MEAN, higher_is_better=False)
    numbers = {"baseline": 10.0, "difference": 0.5, "spread": 2.0}
    fixed = service.advise(draft(primary=cost, mode=Mode.FIXED, planned_units=10), **numbers)
    assert fixed.units_per_arm == 253  # power.t.test(delta = .5, sd = 2, power = .8): n = 252.1
    always = service.advise(draft(primary=cost), **numbers)
    assert 1.6 < always.units_per_arm / 253 < 2.1
    planned = service.advise(draft(primary=cost, mode=Mode.GROUP_SEQUENTIAL, planned_units=10), **numbers)
    assert 253 < planned.units_per_arm < always.units_per_arm


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.6), (0.9, 0.95), (0.1, 0.16)])
def test_at_the_advised_number_four_of_five_simulated_experiments_have_shown_it(
    first: float, second: float
) -> None:
    units = service.advise(draft(), baseline=first, difference=second - first).units_per_arm
    draw = np.random.default_rng(11)
    control, treatment = draw.random((1500, units)) < first, draw.random((1500, units)) < second
    plus = np.cumsum(treatment & ~control, axis=1)
    minus = np.cumsum(control & ~treatment, axis=1)
    at = np.arange(9, units, 5)
    reached = (log_e_pairs(plus[:, at], minus[:, at]) >= np.log(1 / 0.05)).any(axis=1).mean()
    assert 0.76 < reached < 0.9


def test_in_shadow_every_request_is_one_of_each_arm() -> None:
    apart = service.advise(draft(), baseline=0.5, difference=0.1, units_per_day=100)
    shadow = service.advise(draft(shadow=True), baseline=0.5, difference=0.1, units_per_day=100)
    assert shadow.units_per_arm == apart.units_per_arm
    assert shadow.total_units * 2 == pytest.approx(apart.total_units, abs=2)
    assert shadow.days == pytest.approx(apart.days / 2 if apart.days else 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"baseline": 0.9, "difference": 0.2},
        {"baseline": 0.9, "difference": 0.0},
        {"baseline": 0.9, "difference": 1e-9},
        {"baseline": 0.9, "difference": 0.02, "power": 1.0},
        {"baseline": math.nan, "difference": 0.02},
        {"baseline": 0.9, "difference": math.inf},
        *(
            {"baseline": 0.9, "difference": 0.02, "units_per_day": traffic}
            for traffic in (1e-320, math.nan, math.inf, -5.0, 0.0)
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        service.advise(draft(), **wrong)
    cost = MetricDraft(name="cost", kind=MetricKind.MEAN)
    with pytest.raises(InvalidInputError, match="cannot be planned"):
        service.advise(draft(primary=cost), baseline=1.0, difference=0.1)
    for numbers in ({"baseline": math.nan, "spread": 1.0}, {"baseline": 1.0, "spread": math.inf}):
        with pytest.raises(InvalidInputError, match="is not a number"):
            service.advise(draft(primary=cost), difference=0.1, **numbers)
    with pytest.raises(InvalidInputError, match="nearly no traffic"):
        service.advise(draft((1.0, 1e-320)), baseline=0.5, difference=0.1)
