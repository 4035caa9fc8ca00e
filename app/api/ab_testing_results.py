"""What an experiment says now, as the API tells it."""

import math
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from app.api.schemas import Answered
from core.experiments.plan import Comparison, Decision, OneLook, Verdict
from core.experiments.records import State
from core.experiments.results import ArmFigures, ExperimentResults


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]


class IntervalOut(Answered):
    """An estimate with the ends of its interval; null: there is none on that side."""

    value: Number
    low: Number
    high: Number


class VariantFigures(Answered):
    """One variant in numbers. Its intervals are its own, for one look."""

    label: str
    traffic_percentage: float
    exposed_units: int
    units: int
    impressions: int
    success_rate: IntervalOut | None
    latency_ms: dict[str, Number] = Field(
        description="mean, p50, p95, p99; percentiles are null below 10 requests."
    )
    feedback_score: IntervalOut | None
    ratings: int
    metrics: dict[str, Number]

    @classmethod
    def of(cls, arm: ArmFigures) -> "VariantFigures":
        """Of a record."""
        return cls(
            label=arm.label,
            traffic_percentage=arm.weight,
            exposed_units=arm.exposed,
            units=arm.units,
            impressions=arm.requests,
            success_rate=None if arm.success_rate is None else IntervalOut.model_validate(arm.success_rate),
            latency_ms={
                "mean": arm.latency_mean_ms,
                "p50": arm.latency_p50_ms,
                "p95": arm.latency_p95_ms,
                "p99": arm.latency_p99_ms,
            },
            feedback_score=None if arm.rating is None else IntervalOut.model_validate(arm.rating),
            ratings=arm.ratings,
            metrics=dict(arm.metrics),
        )


class ComparisonOut(Answered):
    """A variant against the control in one metric: variant minus control, in the metric's unit."""

    metric: str
    variant: str = Field(validation_alias=AliasChoices("arm", "variant"))
    control: str
    value: Number
    control_value: Number
    interval: IntervalOut
    relative: IntervalOut | None
    p_value: Number
    always_valid: bool = Field(description="Whether it holds however often anybody looks.")
    better: bool
    harmed: bool
    units: int
    method: str


class TestOut(Answered):
    """A classic test. It holds for one look only and decides nothing here."""

    statistic: Number
    degrees_of_freedom: int = Field(validation_alias=AliasChoices("degrees", "degrees_of_freedom"))
    p_value: Number
    label: str


class SampleRatioOut(Answered):
    """Whether the variants got as many units as their weights say."""

    expected: dict[str, Number]
    observed: dict[str, int]
    p_value: Number
    chi_square_p: Number
    found: bool


class HistoryOut(Answered):
    """How a variant stood against the control at the end of a day (UTC)."""

    day: date
    variant: str = Field(validation_alias=AliasChoices("arm", "variant"))
    value: Number
    low: Number
    high: Number
    units: int
    verdict: str


class SegmentOut(Answered):
    """One part of the units. Exploratory: it proves nothing."""

    field: str
    value: str
    variant: str = Field(validation_alias=AliasChoices("arm", "variant"))
    units: int
    rate: IntervalOut | None
    difference: IntervalOut | None


class AgeOut(Answered):
    """The effect by days since a unit was first exposed."""

    days: str
    variant: str = Field(validation_alias=AliasChoices("arm", "variant"))
    units: int
    difference: IntervalOut | None


class ResultsOut(BaseModel):
    """What the experiment says now. `winner` stays once there is one; `statistical_tests` hold for one look only."""

    experiment_id: str
    state: State
    at: datetime
    verdict: Verdict
    winner: str | None
    reason: str
    reached_at: datetime | None
    units_needed: int | None
    variants: dict[str, VariantFigures]
    comparisons: list[ComparisonOut]
    guardrails: list[ComparisonOut]
    statistical_tests: dict[str, TestOut]
    sample_ratio: SampleRatioOut
    history: list[HistoryOut]
    segments: list[SegmentOut] = Field(description="Exploratory.")
    by_age: list[AgeOut]
    warnings: list[str]
    crossed_units: int
    independent_units: int = Field(description="Requests that named nobody: treated as independent requests.")
    unfolded: int
    days: float

    @classmethod
    def of(cls, results: ExperimentResults) -> "ResultsOut":
        """Of a record."""
        decision: Decision = results.decision
        reached = results.reached
        tests = [*decision.one_look, *([results.exposure_test] if results.exposure_test else [])]
        return cls(
            experiment_id=results.experiment.id,
            state=results.experiment.state,
            at=results.at,
            verdict=decision.verdict if reached is None else reached.verdict,
            winner=results.winner,
            reason=decision.reason if reached is None else reached.reason,
            reached_at=None if reached is None else reached.at,
            units_needed=decision.units_needed,
            variants={arm.arm: VariantFigures.of(arm) for arm in results.arms},
            comparisons=[_comparison(each) for each in decision.comparisons],
            guardrails=[_comparison(each) for each in decision.guardrails],
            statistical_tests={_key(each): TestOut.model_validate(each) for each in tests},
            sample_ratio=SampleRatioOut.model_validate(decision.mismatch),
            history=[HistoryOut.model_validate(each) for each in results.history],
            segments=[SegmentOut.model_validate(each) for each in results.segments],
            by_age=[AgeOut.model_validate(each) for each in results.ages],
            warnings=list(results.warnings),
            crossed_units=results.evidence.crossed_units,
            independent_units=results.independent_units,
            unfolded=results.unfolded,
            days=results.evidence.days,
        )


def _comparison(each: Comparison) -> ComparisonOut:
    return ComparisonOut.model_validate(each)


def _key(test: OneLook) -> str:
    return test.name.lower().replace("-", "_").replace(" ", "_")
