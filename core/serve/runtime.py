"""One request: who asks, what it means, the answer. The database is never held while the engine works."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from core.compose import service as compose
from core.compose.records import CompositionSpec, ResolvedComposition
from core.engine.records import Chunk, EnginePort, Generation, GenerationRequest
from core.errors import IntegrityError, InvalidInputError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.serve.models import ChosenModel, find_model, list_models
from core.serve.records import AdapterUsed, AnswerPiece, InferenceAnswer, InferenceRequest, ServedModel
from core.storage.database import Database
from core.storage.ids import new_id
from core.tenants import audit
from core.tenants.records import Permission, Principal

LOG = structlog.get_logger(__name__)
MAX_FALLBACKS = 5
T = TypeVar("T")
AnswerHook = Callable[[Principal, InferenceRequest, InferenceAnswer], None]


def utc_now() -> datetime:
    """The clock, unless another one is given."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request made definite. It keeps its adapters, whatever is swapped or archived meanwhile."""

    request_id: str
    model: str
    resolved: ResolvedComposition
    generation: GenerationRequest
    base_name: str
    started: float


class Runtime:
    """Answers requests of all tenants from any thread.

    An adapter whose files have changed since they were registered goes into quarantine, and a request that names
    it by name is answered by the newest version that is left. `hooks` see every whole answer; their errors are
    logged and change nothing.
    """

    def __init__(
        self,
        database: Database,
        engine: Callable[[], EnginePort],
        *,
        max_new_tokens: int = 512,
        hooks: Sequence[AnswerHook] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._engine = engine
        self._max_new_tokens = max_new_tokens
        self._hooks = tuple(hooks)
        self._clock = clock

    def answer(
        self,
        principal: Principal,
        request: InferenceRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
        request_id: str | None = None,
    ) -> InferenceAnswer:
        """Answer one request. Blocks until done. The answer has the `request_id` that an edge has told its client.

        Raises PermissionDeniedError, NotFoundError, ConflictError, InvalidInputError, BusyError, UnavailableError.
        """

        def generate(engine: EnginePort, plan: _Plan) -> tuple[_Plan, Generation]:
            return plan, engine.generate(plan.resolved.composition, plan.generation, cancelled=cancelled)

        plan, generation = self._act(principal, request, generate, request_id)
        answer = _answer(plan, generation)
        self._tell(principal, request, answer)
        return answer

    def stream(
        self, principal: Principal, request: InferenceRequest, *, request_id: str | None = None
    ) -> "AnswerPieces":
        """Answer piece by piece. Closing what comes back cancels the request.

        Returns when the first piece is there: until then errors are raised here, as `answer` raises them.
        """

        def begin(engine: EnginePort, plan: _Plan) -> AnswerPieces:
            chunks = engine.stream(plan.resolved.composition, plan.generation)
            return AnswerPieces(next(chunks), chunks, plan, lambda a: self._tell(principal, request, a))

        return self._act(principal, request, begin, request_id)

    def models(self, principal: Principal) -> list[ServedModel]:
        """Everything that a request of this principal may name."""
        principal.require(Permission.INFER)
        status = self._engine().status()
        with self._database.reading() as s:
            return list_models(
                s, principal.tenant_id, base_name=status.base_name, base_digest=status.base_digest
            )

    def _act(
        self,
        principal: Principal,
        request: InferenceRequest,
        act: Callable[[EnginePort, _Plan], T],
        request_id: str | None,
    ) -> T:
        """Resolve, prepare, act; again with what is left after a damaged adapter went into quarantine."""
        started, request_id = time.perf_counter(), request_id or new_id("req")
        principal.require(Permission.INFER)
        engine = self._engine()
        attempts = 0
        while True:
            attempts += 1
            plan = self._plan(principal, request, engine, started, request_id)
            try:
                if plan.resolved.composition.terms:
                    engine.prepare(plan.resolved.composition)
                return act(engine, plan)
            except IntegrityError:
                if not self._quarantine(principal, plan.resolved) or attempts > MAX_FALLBACKS:
                    raise

    def _plan(
        self,
        principal: Principal,
        request: InferenceRequest,
        engine: EnginePort,
        started: float,
        request_id: str,
    ) -> _Plan:
        generation = self._generation_request(request)
        base_name = engine.status().base_name
        with self._database.reading() as s:
            if request.model is not None:
                chosen = find_model(s, principal.tenant_id, request.model, base_name)
            elif request.composition is not None:
                chosen = ChosenModel("composition", request.composition)
            else:
                chosen = ChosenModel(base_name, CompositionSpec())
            resolved = compose.resolve(s, principal.tenant_id, chosen.spec, base_digest=engine.base_digest)
        return _Plan(request_id, chosen.label, resolved, generation, base_name, started)

    def _generation_request(self, request: InferenceRequest) -> GenerationRequest:
        asked = request.max_new_tokens
        if asked > self._max_new_tokens and "max_new_tokens" in request.model_fields_set:
            raise InvalidInputError(
                f"{asked:,} new tokens are more than one answer may have.",
                f"The limit here is {self._max_new_tokens:,}.",
                "Ask for fewer, or raise RMN_MAX_NEW_TOKENS.",
            )
        return GenerationRequest(
            messages=request.messages,
            max_new_tokens=min(asked, self._max_new_tokens),
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop,
        )

    def _quarantine(self, principal: Principal, resolved: ResolvedComposition) -> bool:
        """Put those adapters away whose files really changed. False: none did."""
        put_away: list[Adapter] = []
        changed = False
        with self._database.transaction() as s:
            for used, _ in resolved.adapters:
                adapter = registry.get_adapter(s, principal.tenant_id, used.id)
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
        return changed

    def _tell(self, principal: Principal, request: InferenceRequest, answer: InferenceAnswer) -> None:
        for hook in self._hooks:
            try:
                hook(principal, request, answer)
            except Exception:  # an answer that is there is given, whatever becomes of its records
                LOG.exception(
                    "answer.hook_failed", request_id=answer.request_id, tenant_id=principal.tenant_id
                )


class AnswerPieces:
    """A streamed answer. The last piece carries the whole; `close`, or dropping it, cancels."""

    def __init__(
        self, first: Chunk, rest: Iterator[Chunk], plan: _Plan, tell: Callable[[InferenceAnswer], None]
    ) -> None:
        self._waiting: Chunk | None = first
        self._rest, self._plan, self._tell = rest, plan, tell

    @property
    def request_id(self) -> str:
        """The id that the whole answer will have."""
        return self._plan.request_id

    @property
    def model(self) -> str:
        """What answers, as shown."""
        return self._plan.model

    def __iter__(self) -> "AnswerPieces":
        return self

    def __next__(self) -> AnswerPiece:
        chunk, self._waiting = self._waiting, None
        if chunk is None:
            chunk = next(self._rest)
        if chunk.final is None:
            return AnswerPiece(chunk.text)
        answer = _answer(self._plan, chunk.final)
        self._tell(answer)
        return AnswerPiece(chunk.text, answer)

    def close(self) -> None:
        """Stop the answer; what was not read is lost."""
        self._waiting = None
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


def _answer(plan: _Plan, generation: Generation) -> InferenceAnswer:
    return InferenceAnswer(
        request_id=plan.request_id,
        text=generation.text,
        finish_reason=generation.finish_reason,
        model=plan.model,
        adapters=tuple(
            AdapterUsed(a.id, a.name, a.version, a.type.value, a.digest, weight)
            for a, weight in plan.resolved.adapters
        ),
        composition_key=generation.composition_key,
        base_name=plan.base_name,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        latency_ms=(time.perf_counter() - plan.started) * 1000,
        queued_ms=generation.queued_ms,
        mean_logprob=generation.mean_logprob,
    )
