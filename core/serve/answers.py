"""From what the engine generated to the answer that a client gets."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.compose.resolved import Resolved
from core.engine.records import Generation
from core.serve.records import (
    AdapterUsed,
    AnswerLimits,
    InferenceAnswer,
    InferenceRequest,
    Routing,
    StageTrace,
    TokenLogprob,
)

TokenTexts = Callable[[Sequence[int]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request made definite. It keeps its adapters, whatever is swapped or archived meanwhile.

    `started` is when the request came, by time.perf_counter().
    """

    request_id: str
    label: str
    resolved: Resolved
    request: InferenceRequest
    limits: AnswerLimits
    tenant_id: str
    base_name: str
    started: float


def answer_of(
    plan: Plan,
    generation: Generation,
    adapters: tuple[AdapterUsed, ...],
    routing: Routing | None,
    token_texts: TokenTexts,
    *,
    composing_ms: float = 0.0,
    adapter_bytes: int = 0,
) -> InferenceAnswer:
    """The answer of one composition."""
    return InferenceAnswer(
        request_id=plan.request_id,
        text=generation.text,
        finish_reason=generation.finish_reason,
        model=plan.label,
        adapters=adapters,
        composition_key=generation.composition_key,
        base_name=plan.base_name,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        latency_ms=(time.perf_counter() - plan.started) * 1000,
        queued_ms=generation.queued_ms,
        mean_logprob=generation.mean_logprob,
        mean_entropy=generation.mean_entropy,
        min_margin=generation.min_margin,
        cached_tokens=generation.cached_tokens,
        first_token_ms=generation.first_token_ms,
        routing=routing,
        logprobs=_logprobs(generation, token_texts) if plan.request.logprobs else None,
        composing_ms=composing_ms,
        adapter_bytes=adapter_bytes,
    )


def piped_answer(
    plan: Plan,
    last: Generation,
    traces: tuple[StageTrace, ...],
    key: str,
    text: str,
    token_texts: TokenTexts,
) -> InferenceAnswer:
    """The answer of a pipeline: tokens and queueing of all stages, the text and sureness of the last."""
    used = {(a.id, a.layers): a for trace in traces for a in trace.adapters}
    whole_ms = (time.perf_counter() - plan.started) * 1000
    return InferenceAnswer(
        request_id=plan.request_id,
        text=text,
        finish_reason=last.finish_reason,
        model=plan.label,
        adapters=tuple(used.values()),
        composition_key=key,
        base_name=plan.base_name,
        prompt_tokens=sum(trace.prompt_tokens for trace in traces),
        completion_tokens=sum(trace.completion_tokens for trace in traces),
        latency_ms=whole_ms,
        queued_ms=sum(trace.queued_ms for trace in traces),
        mean_logprob=last.mean_logprob,
        mean_entropy=last.mean_entropy,
        min_margin=last.min_margin,
        cached_tokens=sum(trace.cached_tokens for trace in traces),
        # Of the last stage, for that is the first token that a reader sees.
        first_token_ms=max(0.0, whole_ms - traces[-1].latency_ms + last.first_token_ms),
        stages=traces,
        logprobs=_logprobs(last, token_texts) if plan.request.logprobs else None,
        composing_ms=sum(trace.composing_ms for trace in traces),
        adapter_bytes=max(trace.adapter_bytes for trace in traces),
    )


def _logprobs(generation: Generation, token_texts: TokenTexts) -> tuple[TokenLogprob, ...]:
    facts = generation.token_facts
    texts = token_texts(generation.token_ids[: len(facts)])
    return tuple(TokenLogprob.of(text, fact) for text, fact in zip(texts, facts, strict=True))
