"""Shares that follow from what arms have shown."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.experiments.bandit import FLOOR, allocation_of
from core.experiments.drafts import experiment_of
from core.experiments.records import BanditRule, Experiment, MetricDraft, Strategy
from core.experiments.tally import Tally
from core.stats.moments import UnitSums
from tests.core.experiments.drafted import draft

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def bandit(weights: tuple[float | None, ...] = (None, None), **changed: object) -> Experiment:
    made = draft(weights, strategy=Strategy.BANDIT, **changed)
    return experiment_of(made, "ten_1", [], created_by="Ada", now=NOW)


def shown(experiment: Experiment, *rates: float, n: int = 100) -> Tally:
    tally = Tally.of(experiment.plan)
    for arm, rate in zip(tally.arms.values(), rates, strict=False):
        arm.first = UnitSums(n, rate * n, rate * n, n, n, rate * n)
    return tally


def test_before_anything_is_known_all_arms_get_the_same() -> None:
    shares = allocation_of(bandit((None,) * 4), Tally.of(bandit((None,) * 4).plan))
    assert shares == pytest.approx(dict.fromkeys(("v1", "v2", "v3", "v4"), 0.25))


@pytest.mark.parametrize("rule", list(BanditRule))
def test_the_best_gets_most_and_none_gets_nothing(rule: BanditRule) -> None:
    experiment = bandit((None,) * 3, bandit=rule)
    shares = allocation_of(experiment, shown(experiment, 0.2, 0.8, 0.3))
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= FLOOR - 1e-12
    assert max(shares, key=lambda arm: shares[arm]) == "v2"
    assert (shares["v2"] > 0.85) is (rule is BanditRule.THOMPSON)


def test_where_lower_is_better_the_lowest_gets_most() -> None:
    experiment = bandit(primary=MetricDraft(name="refused", higher_is_better=False))
    shares = allocation_of(experiment, shown(experiment, 0.2, 0.8))
    assert shares is not None
    assert shares["v1"] > 0.9


def test_an_arm_of_weight_0_gets_nothing_and_other_strategies_have_no_shares() -> None:
    experiment = bandit((0.5, 0.5, 0.0))
    shares = allocation_of(experiment, shown(experiment, 0.5, 0.5))
    assert shares is not None
    assert set(shares) == {"v1", "v2"}
    assert allocation_of(replace(experiment, strategy=Strategy.HASH), shown(experiment)) is None
