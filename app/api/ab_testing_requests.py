"""Who gets what, what came of it, and what is tried before the start, as the API takes and tells them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.actions.offline import MOST_PROMPTS, OfflineComparison, OfflinePrompt, Scorer
from app.api.ab_testing_results import IntervalOut, Number
from app.api.ab_testing_schemas import EXAMPLE, ExperimentIn, VariantIn
from app.api.schemas import Answered
from core.experiments.plan import Verdict

UnitId = Annotated[
    str, Field(min_length=1, max_length=200, description="As you call them; only a hash is stored.")
]
EventId = Annotated[str, Field(min_length=1, max_length=180)]
Text = Annotated[str, Field(max_length=10_000)]
Context = dict[Text, Text]
OFFLINE: dict[str, Any] = {
    "control": {"variant_id": "v1", "model": "amazon_v1"},
    "treatment": {"variant_id": "v2", "model": "amazon_v2"},
    "prompts": [
        {
            "messages": [{"role": "user", "content": 'Map this record: {"evt": "click"}'}],
            "expected": '{"event": "click"}',
        }
    ],
    "scorer": "json",
}


class AssignIn(BaseModel):
    """Who asks, and in what context."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": "amazon_v1_vs_v2",
                    "user_id": "user_123",
                    "context": {"task": "mapping", "retailer": "amazon"},
                }
            ]
        },
    )

    experiment_id: str = Field(max_length=80)
    user_id: UnitId | None = Field(
        None, description="Needed where users are assigned, as they are by default."
    )
    session_id: UnitId | None = Field(None, description="Needed where the unit is the session.")
    event_id: EventId | None = Field(
        None, description="Needed where the unit is the request: the same as in its impression."
    )
    context: Context = Field(default_factory=dict, max_length=16)


class AssignOut(BaseModel):
    """`variant` null: the user takes no part, for the reason in `outside`; give what you would give without it."""

    experiment_id: str
    variant: str | None
    outside: str | None
    propensity: float


class ImpressionIn(BaseModel):
    """What came of one request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": "amazon_v1_vs_v2",
                    "variant_id": "v2",
                    "success": True,
                    "latency_ms": 145.0,
                    "feedback_score": 4.5,
                    "user_id": "user_123",
                }
            ]
        },
    )

    experiment_id: str = Field(max_length=80)
    variant_id: str = Field(max_length=80)
    success: bool | None = Field(None, description="Left out: nobody can say.")
    latency_ms: float | None = None
    feedback_score: float | None = None
    user_id: UnitId | None = Field(
        None, description="Left out, and no session_id: the request counts as a unit of its own."
    )
    session_id: UnitId | None = Field(None, description="Counts where no user does, as in X-Session-ID.")
    event_id: EventId | None = Field(
        None,
        description="The same again adds what is not there yet and changes nothing: send it, and retry without fear. "
        "Of a request that the experiment answered: its request id.",
    )
    metrics: dict[Text, float] = Field(
        default_factory=dict,
        max_length=16,
        description="success, latency_ms and feedback_score have fields of their own.",
    )
    context: Context = Field(default_factory=dict, max_length=16)


class RecordedOut(Answered):
    """`replayed`: this event was there before, and nothing was changed. `note`: what you should know, mostly nothing."""

    event_id: str
    replayed: bool
    note: str


class AdviceIn(BaseModel):
    """A plan, and the difference that is to be seen: from `baseline` by `difference`, in the primary metric's unit."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"experiment": EXAMPLE, "baseline": 0.9, "difference": 0.02, "units_per_day": 600}]
        },
    )

    experiment: ExperimentIn
    baseline: float
    difference: float
    units_per_day: float | None = Field(None, description="New users (or sessions, or requests) a day.")
    spread: float | None = Field(None, description="Standard deviation between units, for what is no share.")
    power: float = 0.8


class AdviceOut(Answered):
    """Before the start: units and days. `days` null: no traffic was given."""

    units_per_arm: int
    total_units: int
    days: Number
    sentence: str
    smallest_difference: Number = Field(description="What a fortnight of this traffic shows, at one look.")


class OfflineIn(BaseModel):
    """Two compositions and prompts with the answers that are expected."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [OFFLINE]})

    control: VariantIn
    treatment: VariantIn
    prompts: list[OfflinePrompt] = Field(min_length=1, max_length=MOST_PROMPTS)
    scorer: Scorer = Scorer.EXACT
    max_new_tokens: int = Field(256, ge=1)


class OfflineRowOut(Answered):
    """One prompt. Its texts are untrusted: show them literally."""

    number: int
    control_text: str
    treatment_text: str
    control_right: bool
    treatment_right: bool
    control_ms: Number
    treatment_ms: Number


class OfflineOut(Answered):
    """Both on the same prompts. `difference`: the treatment's share right minus the control's."""

    control: str
    treatment: str
    both: int
    only_control: int
    only_treatment: int
    neither: int
    difference: IntervalOut
    verdict: Verdict
    winner: str | None
    reason: str
    rows: list[OfflineRowOut]

    @classmethod
    def of(cls, found: OfflineComparison) -> "OfflineOut":
        """Of a record."""
        return cls(
            control=found.control,
            treatment=found.treatment,
            both=found.both,
            only_control=found.only_control,
            only_treatment=found.only_treatment,
            neither=found.neither,
            difference=IntervalOut.model_validate(found.difference),
            verdict=found.decision.verdict,
            winner=found.decision.winner,
            reason=found.decision.reason,
            rows=[OfflineRowOut.model_validate(row) for row in found.rows],
        )
