"""What a training run is asked to do, and what its evaluation says."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.registry.records import AdapterType

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$"
NAME_WORDS = "use 1 to 100 letters, digits, spaces, dots, dashes and underscores, a letter or digit first"
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraSpec(BaseModel):
    """Size and shape of the adapter: ΔW = (alpha / rank)·B·A on each target layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1, le=256, description="Size of the adapter: larger learns more, weighs more.")
    alpha: float = Field(32.0, gt=0, le=1024, description="Strength of the adapter; usually twice the rank.")
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="Share of inputs hidden at each step, against overfitting."
    )
    rslora: bool = Field(
        False, description="Scale by alpha over the root of the rank; steadier at high ranks."
    )
    target_modules: tuple[str, ...] = Field(
        LINEAR_LAYERS, min_length=1, description="Layers of the base that get an adapter."
    )


class TrainingSpec(BaseModel):
    """One LoRA training run. Valid once built; contradictions are refused here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="Name of the adapter that comes out.")
    adapter_type: AdapterType = Field(description="What the adapter teaches: a retailer, a task or a brand.")
    dataset_id: str = Field(description="Dataset to learn from.")
    method: Literal["sft"] = Field("sft", description="Learn from demonstrations.")
    preset: str = Field("balanced", description="Preset these values started from.")
    lora: LoraSpec = LoraSpec()
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none", description="Hold the base in fewer bits: less memory."
    )
    epochs: float = Field(8.0, gt=0, le=100, description="How often every example is seen.")
    batch_size: int = Field(8, ge=1, le=256, description="Examples in one forward pass.")
    gradient_accumulation: int = Field(1, ge=1, le=256, description="Passes that are added up to one step.")
    learning_rate: float = Field(
        2e-3, gt=0, le=0.1, description="Size of a step: too large diverges, too small learns little."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rate falls during the run."
    )
    warmup_ratio: float = Field(
        0.05, ge=0, lt=1, description="Share of the run in which the rate rises to its full size."
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Pull of the weights towards zero, against overfitting."
    )
    max_length: int = Field(
        512, ge=16, le=131072, description="Longest example, in tokens; longer ones are refused."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="The same seed, data and machine give the same adapter.")
    checkpoint_every: int = Field(
        25, ge=1, description="Steps between checkpoints; a run continues from the last one."
    )
    evaluate: bool = Field(True, description="Compare with the base on held-out rows when done.")
    evaluation_rows: int = Field(240, ge=1, le=100000, description="Most held-out rows that are evaluated.")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingSpec":
        if self.schedule == "constant" and self.warmup_ratio > 0.5:
            raise ValueError("a constant rate with more than half the run as warm-up is a contradiction")
        return self


def readable_reasons(error: ValueError) -> str:
    """Why a spec was refused, one sentence per field, without pydantic's vocabulary."""
    if not isinstance(error, ValidationError):
        return f"{error}."
    reasons = []
    for each in error.errors():
        field = ".".join(map(str, each["loc"])) or "The values"
        reason = each["msg"].removeprefix("Value error, ")
        if each["type"] == "string_pattern_mismatch" and field == "name":
            reason = NAME_WORDS
        reasons.append(f"{field}: {reason}.")
    return " ".join(reasons)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point of the wizard: values of TrainingSpec fields."""

    name: str
    title: str
    description: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take on this machine. Low and high are a band, not a promise."""

    steps: int
    train_tokens: int
    seconds_low: float
    seconds_high: float
    memory_bytes: int
    memory_available_bytes: int
    memory_parts: dict[str, int]
    calibrated_from_runs: int

    @property
    def fits(self) -> bool:
        """Whether the memory that is free now is enough."""
        return self.memory_bytes <= self.memory_available_bytes


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % interval. `n` rows (or fields) were counted."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class AnswerLoss:
    """Mean surprise at the expected answers, in nats per token, with its 95 % interval. Less is better."""

    value: float
    low: float
    high: float
    rows: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SliceScore:
    """Base and adapter on the same held-out rows. JSON validity and field accuracy only where JSON is expected.

    The answer losses are None where there are fewer than two rows, and in evaluations of the first release.
    """

    n: int
    base_exact_match: Proportion
    adapter_exact_match: Proportion
    exact_match_lift: tuple[float, float, float]  # value, low, high of the paired difference
    base_json_validity: Proportion | None
    adapter_json_validity: Proportion | None
    base_field_accuracy: Proportion | None
    adapter_field_accuracy: Proportion | None
    base_answer_loss: AnswerLoss | None = None
    adapter_answer_loss: AnswerLoss | None = None
    answer_loss_change: tuple[float, float, float] | None = (
        None  # adapter minus base, paired: value, low, high
    )

    @property
    def main_figure(self) -> str:
        """What says most: how often the answer is right, or for free text, where no two are the same, its loss."""
        if self.adapter_json_validity is None and self.answer_loss_change is not None:
            return "answer_loss"
        return "exact_match"


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """One held-out row with both answers, for people to look at."""

    prompt: str
    expected: str
    base: str
    adapter: str
    slice: str | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Headline on new values in known columns (all test rows when the set names no slices); slices apart."""

    headline_slice: str | None
    headline: SliceScore
    slices: dict[str, SliceScore]
    samples: tuple[SampleAnswer, ...]
    dataset_digest: str
    seconds: float
