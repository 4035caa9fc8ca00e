"""A request as a client makes it, and the answer it gets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.compose.records import CompositionSpec
from core.engine.records import FinishReason, Message


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

    @model_validator(mode="after")
    def _one_way(self) -> "InferenceRequest":
        if self.model is not None and self.composition is not None:
            raise ValueError("give either model or composition, not both")
        return self


@dataclass(frozen=True, slots=True)
class AdapterUsed:
    """An adapter that took part in an answer."""

    id: str
    name: str
    version: int
    type: str
    digest: str
    weight: float


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """The answer, what made it and what it cost. Text is untrusted: show it literally."""

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
    kind: Literal["base", "adapter", "federation"]
    id: str
    version: int | None
    description: str
    created_at: datetime | None
