"""Experiments as the API takes them and tells them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from app.api.schemas import Answered
from app.arms import arm_of_adapters
from core.compose.records import CompositionSpec
from core.experiments.plan import MetricKind, Mode, Verdict
from core.experiments.records import (
    ID_PATTERN,
    ArmDraft,
    Automatic,
    BanditRule,
    Experiment,
    ExperimentDraft,
    MetricDraft,
    RampDraft,
    ServesDraft,
    State,
    Strategy,
    UnitKind,
)

ShortText = Annotated[str, Field(max_length=200)]
EXAMPLE: dict[str, Any] = {
    "experiment_id": "amazon_v1_vs_v2",
    "name": "Test new Amazon adapter",
    "variants": [
        {"variant_id": "v1", "adapter_ids": ["amazon_v1"], "traffic_percentage": 0.5},
        {"variant_id": "v2", "adapter_ids": ["amazon_v2"], "traffic_percentage": 0.5},
    ],
}


class VariantIn(BaseModel):
    """One variant: adapters, a model by its name, or a composition said in full. The first variant is the control."""

    model_config = ConfigDict(extra="forbid")

    variant_id: str = Field(pattern=ID_PATTERN)
    adapter_ids: list[ShortText] | None = Field(
        None, min_length=1, max_length=16, description="Added up, each with weight 1."
    )
    model: str | None = Field(
        None, min_length=1, max_length=200, description="An adapter, a federation, or the base."
    )
    composition: CompositionSpec | None = None
    traffic_percentage: float | None = Field(None, description="A share from 0 to 1; left out by all: equal.")
    label: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _one_way(self) -> "VariantIn":
        if sum(each is not None for each in (self.adapter_ids, self.model, self.composition)) != 1:
            raise ValueError("give one of adapter_ids, model and composition")
        return self

    def draft(self) -> ArmDraft:
        """As the service takes it."""
        composition: dict[str, Any] = {}
        if self.adapter_ids is not None:
            composition = arm_of_adapters(self.adapter_ids)
        elif self.model is not None:
            composition = {"model": self.model}
        elif self.composition is not None:
            composition = self.composition.model_dump(mode="json", by_alias=True)
        return ArmDraft(
            id=self.variant_id, composition=composition, weight=self.traffic_percentage, label=self.label
        )


class ExperimentIn(BaseModel):
    """What is compared, for whom, and what decides. Everything but name and variants has a good default."""

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True, json_schema_extra={"examples": [EXAMPLE]}
    )

    experiment_id: str | None = Field(None, pattern=ID_PATTERN, description="Left out: one is made.")
    name: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=2000)
    hypothesis: str = Field("", max_length=2000)
    variants: list[VariantIn] = Field(
        min_length=1, max_length=10, validation_alias=AliasChoices("variants", "variant_configs")
    )
    confidence_level: float = 0.95
    min_sample_size: int = Field(
        100, description="Units per variant before anything is concluded, but for harm."
    )
    primary: MetricDraft = MetricDraft()
    guardrails: list[MetricDraft] = Field(default_factory=list, max_length=10)
    mode: Mode = Mode.ALWAYS_VALID
    minimum_days: float = 0.0
    planned_units: int | None = Field(
        None, description="Per variant; for group_sequential, fixed and hybrid."
    )
    looks: int = 5
    equivalence: float | None = None
    returning: bool | None = None
    strategy: Strategy = Strategy.HASH
    bandit: BanditRule = BanditRule.THOMPSON
    unit: UnitKind = UnitKind.USER
    namespace: str | None = Field(None, pattern=ID_PATTERN)
    namespace_share: float | None = None
    holdout: float = 0.0
    targeting: dict[ShortText, list[ShortText]] = Field(
        default_factory=dict,
        max_length=16,
        description='Field of the context → values that take part: {"retailer": ["amazon"]}.',
    )
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    share: float = Field(1.0, description="Share of the traffic that takes part.")
    ramp: list[RampDraft] = Field(default_factory=list, max_length=20)
    shadow: bool = False
    serves: ServesDraft | None = None
    automatic: Automatic = Automatic.OFF

    def draft(self) -> ExperimentDraft:
        """As the service takes it."""
        named = {"variants", "experiment_id", "confidence_level", "min_sample_size"}
        same = {name: getattr(self, name) for name in type(self).model_fields if name not in named}
        return ExperimentDraft(
            **{
                **same,
                "id": self.experiment_id,
                "arms": tuple(variant.draft() for variant in self.variants),
                "confidence": self.confidence_level,
                "minimum_units": self.min_sample_size,
                "guardrails": tuple(self.guardrails),
                "targeting": {field: tuple(allowed) for field, allowed in self.targeting.items()},
                "ramp": tuple(self.ramp),
            }
        )


class VariantOut(Answered):
    """A variant. `digest` names what it is made of, from the start on."""

    variant_id: str
    label: str
    traffic_percentage: float
    composition: dict[str, Any]
    digest: str


class ExperimentOut(Answered):
    """An experiment."""

    experiment_id: str
    name: str
    description: str
    hypothesis: str
    state: State
    reason: str
    variants: list[VariantOut]
    primary: MetricDraft
    guardrails: list[MetricDraft]
    mode: Mode
    confidence_level: float
    min_sample_size: int
    strategy: Strategy
    unit: UnitKind
    seed: str = Field(
        description="What is hashed with each unit: with it anybody can recompute who got what."
    )
    namespace: str
    namespace_slots: tuple[float, float]
    holdout: float
    targeting: dict[str, list[str]]
    share: float
    shadow: bool
    serves: ServesDraft | None
    automatic: Automatic
    starts_at: datetime | None
    ends_at: datetime | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    verdict: Verdict | None = Field(description="The first that ended the question.")
    winner: str | None

    @classmethod
    def of(cls, e: Experiment) -> "ExperimentOut":
        """Of a record."""
        return cls(
            experiment_id=e.id,
            name=e.name,
            description=e.description,
            hypothesis=e.hypothesis,
            state=e.state,
            reason=e.reason,
            variants=[
                VariantOut(
                    variant_id=arm.id,
                    label=arm.label,
                    traffic_percentage=arm.weight,
                    composition=dict(arm.composition),
                    digest=arm.digest,
                )
                for arm in e.arms
            ],
            primary=_metric(e.plan.primary),
            guardrails=[_metric(each) for each in e.plan.guardrails],
            mode=e.plan.mode,
            confidence_level=e.plan.confidence,
            min_sample_size=e.plan.minimum_units,
            strategy=e.strategy,
            unit=e.unit,
            seed=e.salt,
            namespace=e.namespace,
            namespace_slots=e.slots,
            holdout=e.holdout,
            targeting={field: list(allowed) for field, allowed in e.targeting.items()},
            share=e.share,
            shadow=e.shadow,
            serves=None if e.serves is None else ServesDraft(kind=e.serves.kind, name=e.serves.name),
            automatic=e.automatic,
            starts_at=e.starts_at,
            ends_at=e.ends_at,
            created_by=e.created_by,
            created_at=e.created_at,
            started_at=e.started_at,
            stopped_at=e.stopped_at,
            verdict=None if e.reached is None else e.reached.verdict,
            winner=None if e.reached is None else e.reached.winner,
        )


class ReasonIn(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=1000)


class ShareIn(BaseModel):
    """How much of the traffic takes part from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"share": 0.5}]})

    share: float


class PromoteIn(BaseModel):
    """Which variant; left out, the winner."""

    model_config = ConfigDict(extra="forbid")

    variant_id: str | None = Field(None, max_length=40)


def _metric(plan: Any) -> MetricDraft:
    return MetricDraft(
        name=plan.name,
        kind=MetricKind(plan.kind),
        higher_is_better=plan.higher_is_better,
        margin=plan.margin,
        quantile=plan.quantile,
        cap=plan.cap,
    )
