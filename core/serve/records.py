"""A request as a client makes it, and the answer it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.compose.records import CompositionSpec
from core.engine.records import FinishReason, Message, TokenFacts


class InferenceRequest(BaseModel):
    """`model` names an adapter, a federation, or the base; `composition` says it in full. Neither: the base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = Field(min_length=1, max_length=64)
    model: str | None = Field(None, max_length=200)
    composition: CompositionSpec | None = None
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: tuple[str, ...] = Field(default=(), max_length=8)
    logprobs: bool = Field(False, description="Whether the answer tells each token's log-probability.")
    user_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Who asks, as you call them: keeps to one variant of an experiment.",
    )
    task: str | None = Field(None, max_length=80, description="What kind of work this is, for analytics.")
    context: Mapping[str, str] = Field(
        default_factory=dict,
        max_length=16,
        description="What an experiment may look at: retailer, brand, and so on.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "InferenceRequest":
        if self.model is not None and self.composition is not None:
            raise ValueError("give either model or composition, not both")
        return self


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What a tenant's requests may take of the engine: a share beside others, a priority among its own, seconds."""

    share: float = 1.0
    priority: int = 0
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class AdapterUsed:
    """An adapter that took part in an answer, with its weight there, on the blocks of `layers` (None: on all)."""

    id: str
    name: str
    version: int
    type: str
    digest: str
    weight: float
    layers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """What a request gate decided. `chosen` is the adapter that answers, as shown; None: the base, for `reason`.

    `probability` is the gate's own of what it chose, or of the likeliest when it abstained. `probabilities` are by
    adapter, «base» is the base; their `entropy` is in nats.
    """

    gate: str
    chosen: str | None
    probability: float
    probabilities: Mapping[str, float]
    entropy: float
    abstained: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token: its text, and what the model was sure of there (nats; margin of probabilities)."""

    token: str
    logprob: float
    entropy: float
    margin: float

    @classmethod
    def of(cls, text: str, facts: TokenFacts) -> "TokenLogprob":
        """From what the engine tells."""
        return cls(text, facts.logprob, facts.entropy, facts.margin)


@dataclass(frozen=True, slots=True)
class StageTrace:
    """One stage of a pipeline as it ran: what it was sent, what it answered, with what and at what cost."""

    name: str
    system: str | None
    prompt: str
    text: str
    finish_reason: FinishReason
    adapters: tuple[AdapterUsed, ...]
    routing: Routing | None
    composition_key: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    latency_ms: float
    queued_ms: float
    composing_ms: float = 0.0
    adapter_bytes: int = 0


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """The answer, what made it and what it cost. Text is untrusted: show it literally.

    Means and the least margin are over the generated tokens (nats). `composing_ms` went into choosing and preparing the
    adapters; `adapter_bytes` is what they occupy together (of a pipeline: at most). Of a pipeline, tokens and times are
    those of all stages together, which stand in `stages`; text, means and log-probabilities are the last one's.
    `experiment` and `variant` say which arm of which experiment answered, where one did.
    """

    request_id: str
    text: str
    finish_reason: FinishReason
    model: str
    adapters: tuple[AdapterUsed, ...]
    composition_key: str
    base_name: str
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float
    queued_ms: float
    mean_logprob: float
    mean_entropy: float = 0.0
    min_margin: float = 0.0
    cached_tokens: int = 0
    first_token_ms: float = 0.0
    routing: Routing | None = None
    stages: tuple[StageTrace, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    composing_ms: float = 0.0
    adapter_bytes: int = 0
    experiment: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """A request that is over, whatever became of it. `error` is the code of what it ended with, "" for an answer.

    `answer` is None when none came; `seconds` are those from the request's arrival. `at` is when it ended.
    """

    tenant_id: str
    actor: str
    request_id: str
    request: InferenceRequest
    answer: InferenceAnswer | None
    error: str
    seconds: float
    at: datetime


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """A piece of a streamed answer; the last one carries the whole answer in `final`."""

    text: str
    final: InferenceAnswer | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Something that a request may name. `model` is what to write there; `id` is that of the registry.

    Adapters and federations stand here once, in their newest version; older ones answer to «name@version».
    """

    model: str
    kind: Literal["base", "adapter", "federation", "experiment"]
    id: str
    version: int | None
    description: str
    created_at: datetime | None
