"""One request: who asks, what it means, the answer. The database is never held while the engine works."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from core.compose.cache import CompositionCache
from core.compose.resolved import Resolved, ResolvedComposition, ResolvedPipeline
from core.engine.records import EnginePort, GenerationRequest
from core.errors import IntegrityError, InvalidInputError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.serve.answers import Plan, TokenTexts, answer_of
from core.serve.models import list_models
from core.serve.pieces import AnswerPieces, begin_pipeline, begin_single
from core.serve.pipelines import PipelineRun
from core.serve.records import AnswerLimits, InferenceAnswer, InferenceRequest, ServedModel
from core.serve.resolution import Resolutions
from core.serve.steps import begin_step
from core.storage.database import Database
from core.storage.ids import new_id
from core.tenants import audit
from core.tenants.records import Permission, Principal

LOG = structlog.get_logger(__name__)
MAX_FALLBACKS = 5
T = TypeVar("T")
RequestHook = Callable[[Principal, InferenceRequest], InferenceRequest]
AnswerHook = Callable[[Principal, InferenceRequest, InferenceAnswer], None]
LimitsOf = Callable[[Principal], AnswerLimits]


def utc_now() -> datetime:
    """The clock, unless another one is given."""
    return datetime.now(UTC)


def no_limits(_: Principal) -> AnswerLimits:
    """Everybody alike."""
    return AnswerLimits()


def numbered(token_ids: Sequence[int]) -> Sequence[str]:
    """Names for tokens where nobody can say their text."""
    return tuple(f"<{token_id}>" for token_id in token_ids)


class Runtime:
    """Answers requests of all tenants from any thread.

    `before` may change a request before it is resolved (which variant of an experiment answers); what it raises
    reaches the caller. `hooks` see every whole answer; their errors are logged and change nothing. `limits` says what
    a tenant's requests may take, `token_texts` what the text of a token is. An adapter whose files have changed since
    they were registered goes into quarantine, and a request that names it by name is answered by a version that is left.
    """

    def __init__(
        self,
        database: Database,
        engine: Callable[[], EnginePort],
        *,
        cache: CompositionCache | None = None,
        max_new_tokens: int = 512,
        before: Sequence[RequestHook] = (),
        hooks: Sequence[AnswerHook] = (),
        limits: LimitsOf = no_limits,
        token_texts: TokenTexts = numbered,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._engine = database, engine
        self.cache = cache or CompositionCache(engine)
        self._max_new_tokens = max_new_tokens
        self._before, self._hooks = tuple(before), tuple(hooks)
        self._limits, self._token_texts = limits, token_texts
        self._clock = clock
        self._resolutions = Resolutions(database)

    def answer(
        self,
        principal: Principal,
        request: InferenceRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
        request_id: str | None = None,
    ) -> InferenceAnswer:
        """Answer one request. Blocks until done. The answer has the `request_id` that an edge has told its client.

        Raises PermissionDeniedError, NotFoundError, ConflictError, InvalidInputError (StageFailedError where a stage
        of a pipeline did not keep its contract), BusyError, UnavailableError.
        """

        def generate(engine: EnginePort, plan: Plan) -> InferenceAnswer:
            if isinstance(plan.resolved, ResolvedPipeline):
                run = PipelineRun(engine, self.cache, plan, plan.resolved, self._max_new_tokens)
                return run.run(cancelled, self._token_texts)
            with begin_step(engine, self.cache, plan.resolved, plan.request.messages) as step:
                asked = self._generation_request(plan)
                generation = engine.generate(step.composition, asked, cancelled=cancelled)
            return answer_of(
                plan,
                generation,
                step.adapters,
                step.routing,
                self._token_texts,
                composing_ms=step.composing_ms,
                adapter_bytes=step.adapter_bytes,
            )

        plan, answer = self._act(principal, request, generate, request_id)
        self._tell(principal, plan.request, answer)
        return answer

    def stream(
        self, principal: Principal, request: InferenceRequest, *, request_id: str | None = None
    ) -> AnswerPieces:
        """Answer piece by piece. Closing what comes back cancels the request.

        Returns when the first piece is there: until then errors are raised here, as `answer` raises them. Of a
        pipeline the last stage comes in pieces, after the others are over.
        """

        def begin(engine: EnginePort, plan: Plan) -> AnswerPieces:
            def tell(answer: InferenceAnswer) -> None:
                self._tell(principal, plan.request, answer)

            if isinstance(plan.resolved, ResolvedPipeline):
                run = PipelineRun(engine, self.cache, plan, plan.resolved, self._max_new_tokens)
                return begin_pipeline(engine, run, plan, tell, self._token_texts)
            step = begin_step(engine, self.cache, plan.resolved, plan.request.messages)
            return begin_single(engine, step, plan, self._generation_request(plan), tell, self._token_texts)

        return self._act(principal, request, begin, request_id)[1]

    def models(self, principal: Principal) -> list[ServedModel]:
        """Everything that a request of this principal may name."""
        principal.require(Permission.INFER)
        status = self._engine().status()
        with self._database.reading() as s:
            return list_models(
                s, principal.tenant_id, base_name=status.base_name, base_digest=status.base_digest
            )

    def close(self) -> None:
        """End what prepares compositions in the background."""
        self.cache.close()

    def _act(
        self,
        principal: Principal,
        request: InferenceRequest,
        act: Callable[[EnginePort, Plan], T],
        request_id: str | None,
    ) -> tuple[Plan, T]:
        """Resolve and act; again with what is left after a damaged adapter went into quarantine."""
        started, request_id = time.perf_counter(), request_id or new_id("req")
        principal.require(Permission.INFER)
        self._check_length(request)
        for hook in self._before:
            request = hook(principal, request)
        engine, limits = self._engine(), self._limits(principal)
        base_name = engine.status().base_name
        attempts = 0
        while True:
            attempts += 1
            meaning = self._resolutions.find(principal.tenant_id, request, engine, base_name)
            plan = Plan(
                request_id,
                meaning.label,
                meaning.resolved,
                request,
                limits,
                principal.tenant_id,
                base_name,
                started,
            )
            try:
                return plan, act(engine, plan)
            except IntegrityError:
                if not self._quarantine(principal, plan.resolved) or attempts > MAX_FALLBACKS:
                    raise

    def _check_length(self, request: InferenceRequest) -> None:
        asked = request.max_new_tokens
        if asked > self._max_new_tokens and "max_new_tokens" in request.model_fields_set:
            raise InvalidInputError(
                f"{asked:,} new tokens are more than one answer may have.",
                f"The limit here is {self._max_new_tokens:,}.",
                "Ask for fewer, or raise RMN_MAX_NEW_TOKENS.",
            )

    def _generation_request(self, plan: Plan) -> GenerationRequest:
        request, limits = plan.request, plan.limits
        return GenerationRequest(
            messages=request.messages,
            max_new_tokens=min(request.max_new_tokens, self._max_new_tokens),
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop,
            owner=plan.tenant_id,
            share=limits.share,
            priority=limits.priority,
            time_limit_s=limits.time_limit_s,
        )

    def _quarantine(self, principal: Principal, resolved: Resolved) -> bool:
        """Put those adapters away whose files really changed. False: none did."""
        put_away: list[Adapter] = []
        changed = False
        with self._database.transaction() as s:
            for adapter_id in dict.fromkeys(adapter.id for adapter in _adapters(resolved)):
                adapter = registry.get_adapter(s, principal.tenant_id, adapter_id)
                checked = registry.check_on_disk(s, adapter)
                changed = changed or checked.state is AdapterState.QUARANTINED
                if checked.state is not adapter.state:
                    put_away.append(checked)
            for adapter in put_away:
                audit.append(
                    s,
                    tenant_id=principal.tenant_id,
                    actor="system",
                    action="adapter.quarantined",
                    subject=adapter.id,
                    detail={"name": adapter.label, "digest": adapter.digest},
                    now=self._clock(),
                )
        for adapter in put_away:
            LOG.error("adapter.quarantined", tenant_id=principal.tenant_id, adapter_id=adapter.id)
            self.cache.forget_adapter(adapter.digest)
        return changed

    def _tell(self, principal: Principal, request: InferenceRequest, answer: InferenceAnswer) -> None:
        for hook in self._hooks:
            try:
                hook(principal, request, answer)
            except Exception:  # an answer that is there is given, whatever becomes of its records
                LOG.exception(
                    "answer.hook_failed", request_id=answer.request_id, tenant_id=principal.tenant_id
                )


def _adapters(resolved: Resolved) -> list[Adapter]:
    parts: Sequence[ResolvedComposition] = (
        [stage.resolved for stage in resolved.stages]
        if isinstance(resolved, ResolvedPipeline)
        else [resolved]
    )
    return [adapter for part in parts for adapter, _ in part.adapters]
