"""Running a pipeline: one stage after another, each with the adapters of its own composition and no others."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.compose.cache import CompositionCache
from core.compose.pipeline import checked_answer, stage_messages
from core.compose.records import Stage
from core.compose.resolved import ResolvedPipeline, ResolvedStage
from core.engine.records import EnginePort, Generation, GenerationRequest, Message
from core.serve.answers import Plan, TokenTexts, piped_answer
from core.serve.records import InferenceAnswer, StageTrace
from core.serve.steps import Step, begin_step

MAX_STOPS = 8


@dataclass(frozen=True, slots=True)
class StageStart:
    """A stage that is about to run: what it is sent, and what is pinned for it."""

    stage: Stage
    position: int
    generation: GenerationRequest
    step: Step
    started: float


class PipelineRun:
    """One request on its way through the stages. Used by one thread at a time.

    `max_new_tokens` is the most that any stage may generate here.
    """

    def __init__(
        self,
        engine: EnginePort,
        cache: CompositionCache,
        plan: Plan,
        pipeline: ResolvedPipeline,
        max_new_tokens: int,
    ) -> None:
        self._engine, self._cache, self._plan = engine, cache, plan
        self._stages = pipeline.stages
        self._max_new_tokens = max_new_tokens
        self._answers: dict[str, str] = {}
        self._traces: list[StageTrace] = []

    def run_to_last(self, cancelled: Callable[[], bool] | None) -> Generation | None:
        """Run all stages but the last. None when the last may begin, else the generation that ended it early.

        Raises StageFailedError, and what the engine raises.
        """
        for position in range(1, len(self._stages)):
            start = self.begin(position)
            with start.step:
                generation = self._engine.generate(
                    start.step.composition, start.generation, cancelled=cancelled
                )
            if self.end(start, generation) is None:
                return generation
        return None

    def run(self, cancelled: Callable[[], bool] | None, token_texts: TokenTexts) -> InferenceAnswer:
        """Run all stages. Raises StageFailedError, and what the engine raises."""
        early = self.run_to_last(cancelled)
        if early is not None:
            return self.answer(early, token_texts, early=True)
        start = self.begin_last()
        with start.step:
            generation = self._engine.generate(start.step.composition, start.generation, cancelled=cancelled)
        self.end(start, generation)
        return self.answer(generation, token_texts)

    def begin_last(self) -> StageStart:
        """As `begin`, of the last stage."""
        return self.begin(len(self._stages))

    def begin(self, position: int) -> StageStart:
        """Fill the prompt of a stage (from 1), choose and pin. The caller releases its step."""
        started = time.perf_counter()
        resolved = self._stages[position - 1]
        messages = stage_messages(resolved.stage, self._plan.request.messages, self._answers)
        step = begin_step(self._engine, self._cache, resolved.resolved, messages)
        return StageStart(
            resolved.stage, position, self._generation(resolved, position, messages), step, started
        )

    def end(self, start: StageStart, generation: Generation) -> str | None:
        """Note what a stage did. Its answer as it goes on, or None when the client or the clock ended it.

        Raises StageFailedError.
        """
        sent = start.generation.messages
        self._traces.append(
            StageTrace(
                name=start.stage.name,
                system=next((m.content for m in sent if m.role == "system"), None),
                prompt=sent[-1].content,
                text=generation.text,
                finish_reason=generation.finish_reason,
                adapters=start.step.adapters,
                routing=start.step.routing,
                composition_key=generation.composition_key,
                prompt_tokens=generation.prompt_tokens,
                completion_tokens=generation.completion_tokens,
                cached_tokens=generation.cached_tokens,
                latency_ms=(time.perf_counter() - start.started) * 1000,
                queued_ms=generation.queued_ms,
                composing_ms=start.step.composing_ms,
                adapter_bytes=start.step.adapter_bytes,
            )
        )
        if generation.finish_reason in ("cancelled", "timeout"):
            return None
        text = checked_answer(start.stage, start.position, len(self._stages), generation)
        self._answers[start.stage.name] = text
        return text

    def answer(self, last: Generation, token_texts: TokenTexts, *, early: bool = False) -> InferenceAnswer:
        """The whole answer. `early`: a stage before the last was ended, so that there is no text."""
        text = "" if early else last.text
        return piped_answer(self._plan, last, tuple(self._traces), self._key(), text, token_texts)

    def _generation(
        self, resolved: ResolvedStage, position: int, messages: tuple[Message, ...]
    ) -> GenerationRequest:
        request, limits, stage = self._plan.request, self._plan.limits, resolved.stage
        tokens, stops = min(stage.max_new_tokens, self._max_new_tokens), stage.stop
        if position == len(self._stages):
            stops = tuple(dict.fromkeys((*stage.stop, *request.stop)))[:MAX_STOPS]
            if "max_new_tokens" in request.model_fields_set:
                tokens = min(tokens, request.max_new_tokens)
        left = limits.time_limit_s
        if left is not None:
            left = max(0.001, left - (time.perf_counter() - self._plan.started))
        return GenerationRequest(
            messages=messages,
            max_new_tokens=tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=stops,
            owner=self._plan.tenant_id,
            share=limits.share,
            priority=limits.priority,
            time_limit_s=left,
        )

    def _key(self) -> str:
        """SHA-256 of what really answered: each stage's words and the content that it ran with."""
        content = [
            [resolved.stage.model_dump(mode="json", exclude={"composition"}), trace.composition_key]
            for resolved, trace in zip(self._stages, self._traces, strict=False)
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
