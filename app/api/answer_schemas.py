"""An answer as the API gives it: the text, what made it, what it cost, how sure the model was."""

from pydantic import Field

from app.api.schemas import Answered
from core.engine.records import FinishReason


class AdapterUsedOut(Answered):
    """An adapter that took part in an answer, on the blocks of `layers`, or on all."""

    id: str
    name: str
    version: int
    type: str
    digest: str
    weight: float
    layers: tuple[int, int] | None


class RoutingOut(Answered):
    """What a request gate decided. `chosen` null: the base answers, for `reason` (uncertain, foreign, base)."""

    gate: str
    chosen: str | None
    probability: float
    probabilities: dict[str, float] = Field(description="Calibrated, by adapter; «base» is the base.")
    entropy: float = Field(description="Of the probabilities, in nats.")
    abstained: bool
    reason: str


class StageTraceOut(Answered):
    """One stage of a pipeline as it ran. Its texts are untrusted: show them literally."""

    name: str
    system: str | None
    prompt: str
    text: str
    finish_reason: FinishReason
    adapters: list[AdapterUsedOut]
    routing: RoutingOut | None
    composition_key: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    latency_ms: float
    queued_ms: float


class TokenLogprobOut(Answered):
    """One generated token: natural logarithm of its probability, entropy in nats, margin to the next likeliest."""

    token: str
    logprob: float
    entropy: float
    margin: float


class InferenceOut(Answered):
    """The answer, what made it and what it cost. Of a pipeline, tokens and times are of all its stages."""

    request_id: str
    text: str = Field(description="Untrusted text: show it literally.")
    finish_reason: FinishReason
    model: str
    adapters: list[AdapterUsedOut]
    composition_key: str
    base_name: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = Field(description="Tokens of the prompt that did not have to be read again.")
    latency_ms: float
    queued_ms: float
    first_token_ms: float
    mean_logprob: float
    mean_entropy: float = Field(description="Over the generated tokens, in nats.")
    min_margin: float = Field(description="Least distance of the two likeliest tokens' probabilities.")
    routing: RoutingOut | None = Field(description="Of a composition with a request gate.")
    stages: list[StageTraceOut] = Field(description="Of a pipeline, in order.")
    logprobs: list[TokenLogprobOut] | None = Field(description="Where the request asks for them.")
    experiment: str | None = Field(None, description="The experiment that the request belonged to.")
    variant: str | None = Field(None, description="Its variant, which answered.")
