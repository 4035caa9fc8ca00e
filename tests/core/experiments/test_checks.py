"""What does not fit together is refused, each with words of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import ConflictError, InvalidInputError
from core.experiments.checks import check_impression, check_shares_are_shares, plan_of
from core.experiments.drafts import defined, definition_of, experiment_of
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import (
    Automatic,
    Impression,
    MetricDraft,
    RampDraft,
    ServesDraft,
    ServesKind,
    Strategy,
    UnitKind,
)
from tests.core.experiments.drafted import draft

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make(*args: Any, **changed: Any) -> Any:
    return experiment_of(draft(*args, **changed), "ten_1", [], created_by="Ada", now=NOW)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ((0.5, 0.4), "sum to 0.9, not to 1"),
        ((0.6, 0.6), "sum to 1.2, not to 1"),
        ((50, 50), "share from 0 to 1"),
        ((-0.5, 1.0), "share from 0 to 1"),
        ((float("nan"), 1.0), "share from 0 to 1"),
        ((0.5, None), "Some arms have a weight"),
        ((1.0, 0.0), "at least one other arm need traffic"),
        ((0.0, 1.0), "at least one other arm need traffic"),
        ((1.0,), "two arms or more"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: tuple[float, ...], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        plan_of(draft(weights))


def test_weights_that_are_left_out_are_equal_and_an_arm_of_weight_0_is_kept_out_of_the_plan() -> None:
    assert plan_of(draft((None,) * 4)).weights == (0.25,) * 4
    assert plan_of(draft((0.5, 0.5, 0.0))).weights == (0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"starts_at": NOW + 2 * HOUR, "ends_at": NOW + HOUR}, "end comes before the start"),
        ({"starts_at": NOW + HOUR, "ends_at": NOW + HOUR}, "end comes before the start"),
        ({"ends_at": NOW - HOUR}, "end lies in the past"),
        ({"starts_at": datetime(2027, 1, 1)}, "no time zone"),
        ({"share": float("nan")}, "share of the traffic"),
        ({"share": 1.2}, "share of the traffic"),
        ({"ramp": (RampDraft(at=NOW + HOUR, share=0.5), RampDraft(at=NOW, share=1.0)), "share": 0.1}, "ramp"),
        ({"ramp": (RampDraft(at=NOW + HOUR, share=0.05),), "share": 0.1}, "ramp does not go up"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"minimum_units": 0}, "minimum_units"),
        ({"mode": Mode.FIXED}, "planned_units"),
        ({"mode": Mode.GROUP_SEQUENTIAL}, "planned_units"),
        ({"holdout": 0.6}, "holdout"),
        ({"equivalence": 0.0}, "equivalence"),
        ({"targeting": {"retailer": ()}}, "target"),
        ({"primary": MetricDraft(margin=-1.0)}, "margin"),
        ({"primary": MetricDraft(kind=MetricKind.MEAN)}, "share"),
        ({"primary": MetricDraft(name="latency_ms")}, "«latency_ms» is no share"),
        ({"guardrails": (MetricDraft(name="feedback_score"),)}, "«feedback_score» is no share"),
        ({"guardrails": (MetricDraft(name="completion_tokens"),)}, "«completion_tokens» is no share"),
        (
            {"primary": MetricDraft(name="mean_logprob", kind=MetricKind.QUANTILE, quantile=0.5)},
            "no quantiles",
        ),
        ({"name": " \t\u200b"}, "no name"),
        ({"targeting": {"retailer": ("\ud800",)}}, "is no text"),
        ({"targeting": {"retailer\0": ("amazon",)}}, "is no text"),
        ({"ends_at": datetime.fromisoformat("9999-12-31T23:59:59-12:00")}, "out of reach"),
        ({"starts_at": datetime.fromisoformat("9999-12-31T23:59:59-12:00")}, "out of reach"),
        ({"starts_at": datetime.fromisoformat("0001-01-01T00:00:00+14:00")}, "out of reach"),
        (
            {"ramp": (RampDraft(at=datetime.fromisoformat("0001-01-01T00:00:00+14:00"), share=1.0),)},
            "out of reach",
        ),
        ({"primary": MetricDraft(name="cost", kind=MetricKind.QUANTILE)}, "quantile exactly when"),
        ({"primary": MetricDraft(name="cost", kind=MetricKind.QUANTILE, quantile=95.0)}, "between 0 and 1"),
        ({"guardrails": (MetricDraft(),)}, "there twice"),
        ({"shadow": True, "strategy": Strategy.BANDIT}, "shadow"),
        ({"strategy": Strategy.BANDIT, "mode": Mode.FIXED, "planned_units": 10}, "bandit"),
        (
            {"strategy": Strategy.BANDIT, "primary": MetricDraft(name="cost", kind=MetricKind.MEAN)},
            "needs a share",
        ),
        ({"namespace_share": 0.5}, "needs a namespace"),
        ({"automatic": Automatic.PROMOTE}, "Nothing can be promoted"),
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        make(**changed)


def test_two_arms_of_one_name_are_refused() -> None:
    twice = draft()
    with pytest.raises(InvalidInputError, match="same id"):
        plan_of(twice.model_copy(update={"arms": (twice.arms[0], twice.arms[0])}))


def test_a_namespace_that_is_full_or_holds_out_another_share_is_refused() -> None:
    first = make(namespace="home", namespace_share=0.7)
    for changed, told in (
        ({"namespace_share": 0.4}, "no room"),
        ({"namespace_share": 0.1, "holdout": 0.2}, "hold out another share"),
    ):
        with pytest.raises(ConflictError, match=told):
            experiment_of(
                draft(id="b", namespace="home", **changed), "ten_1", [first], created_by="Ada", now=NOW
            )
    rest = experiment_of(draft(id="b", namespace="home"), "ten_1", [first], created_by="Ada", now=NOW)
    assert rest.slots == (0.7, 1.0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"variant": "v9"}, "no variant «v9»"),
        ({"latency_ms": float("nan")}, "latency"),
        ({"latency_ms": -1.0}, "latency"),
        ({"latency_ms": float("inf")}, "latency"),
        ({"feedback_score": float("nan")}, "feedback score"),
        ({"feedback_score": -1.0}, "feedback score"),
        ({"metrics": {"cost": float("inf")}}, "cost"),
        ({"metrics": {"cost": 1e13}}, "cost"),
        ({"metrics": {"latency_ms": -5e11}}, "field of its own"),
        ({"metrics": {"success": 1.0}}, "field of its own"),
        ({"metrics": {"feedback_score": 5.0}}, "field of its own"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changed: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"event_id": "e", "variant": "v1", "unit": "u", "at": NOW}
    with pytest.raises(InvalidInputError, match=told):
        check_impression(Impression(**{**given, **changed}), ["v1", "v2"])
    check_impression(Impression(**given, latency_ms=0.0, feedback_score=4.5), ["v1", "v2"])


def test_a_share_is_0_or_1_in_each_request() -> None:
    plan = plan_of(draft(primary=MetricDraft(name="accepted")))
    for value in (0.0, 1.0):
        check_shares_are_shares(plan, Impression("e", "v1", "u", NOW, metrics={"accepted": value}))
    with pytest.raises(InvalidInputError, match="accepted"):
        check_shares_are_shares(plan, Impression("e", "v1", "u", NOW, metrics={"accepted": 0.5}))


def test_an_experiment_comes_back_from_its_document_as_it_was() -> None:
    made = make(
        (0.2, 0.3, 0.5),
        primary=MetricDraft(name="cost", kind=MetricKind.MEAN, higher_is_better=False, cap=9.5),
        guardrails=(MetricDraft(name="latency_ms", kind=MetricKind.QUANTILE, quantile=0.95, margin=20.0),),
        strategy=Strategy.RANDOM,
        unit=UnitKind.SESSION,
        namespace="home",
        namespace_share=0.25,
        holdout=0.1,
        targeting={"task": ("mapping",)},
        starts_at=NOW,
        ends_at=NOW + HOUR,
        ramp=(RampDraft(at=NOW + HOUR / 2, share=1.0),),
        share=0.5,
        serves=ServesDraft(kind=ServesKind.ADAPTER, name="amazon"),
        automatic=Automatic.BOTH,
    )
    fields = defined(definition_of(made))
    assert {name: getattr(made, name) for name in fields} == fields
