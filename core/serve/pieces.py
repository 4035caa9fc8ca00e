"""A streamed answer, in pieces. Whatever becomes of it, what was pinned for it is let go."""

from collections.abc import Callable, Iterator

from core.engine.records import Chunk, EnginePort, Generation, GenerationRequest
from core.serve.answers import Plan, TokenTexts, answer_of
from core.serve.pipelines import PipelineRun
from core.serve.records import AnswerPiece, InferenceAnswer
from core.serve.steps import Step

Finish = Callable[[Generation], InferenceAnswer]


class AnswerPieces:
    """A streamed answer. The last piece carries the whole; `close`, or dropping it, cancels."""

    def __init__(
        self, first: Chunk, rest: Iterator[Chunk], plan: Plan, finish: Finish, release: Callable[[], None]
    ) -> None:
        self._waiting: Chunk | None = first
        self._rest, self._plan, self._finish, self._release = rest, plan, finish, release

    @property
    def request_id(self) -> str:
        """The id that the whole answer will have."""
        return self._plan.request_id

    @property
    def model(self) -> str:
        """What answers, as shown."""
        return self._plan.label

    def __iter__(self) -> "AnswerPieces":
        return self

    def __next__(self) -> AnswerPiece:
        chunk, self._waiting = self._waiting, None
        try:
            if chunk is None:
                chunk = next(self._rest)
            if chunk.final is None:
                return AnswerPiece(chunk.text)
        except BaseException:
            self._release()
            raise
        self._release()
        return AnswerPiece(chunk.text, self._finish(chunk.final))

    def close(self) -> None:
        """Stop the answer; what was not read is lost."""
        self._waiting = None
        _close(self._rest)
        self._release()

    def __del__(self) -> None:
        self._release()


def begin_single(
    engine: EnginePort,
    step: Step,
    plan: Plan,
    generation: GenerationRequest,
    tell: Callable[[InferenceAnswer], None],
    token_texts: TokenTexts,
) -> AnswerPieces:
    """Begin to stream one composition. Takes `step` over."""

    def finish(whole: Generation) -> InferenceAnswer:
        answer = answer_of(
            plan,
            whole,
            step.adapters,
            step.routing,
            token_texts,
            composing_ms=step.composing_ms,
            adapter_bytes=step.adapter_bytes,
        )
        tell(answer)
        return answer

    first, rest = _first(engine, step, generation)
    return AnswerPieces(first, rest, plan, finish, step.release)


def begin_pipeline(
    engine: EnginePort,
    run: PipelineRun,
    plan: Plan,
    tell: Callable[[InferenceAnswer], None],
    token_texts: TokenTexts,
) -> AnswerPieces:
    """Run all stages but the last, and begin to stream that one."""
    early = run.run_to_last(None)
    if early is not None:
        over = Chunk("", early)

        def told(whole: Generation) -> InferenceAnswer:
            answer = run.answer(whole, token_texts, early=True)
            tell(answer)
            return answer

        return AnswerPieces(over, iter(()), plan, told, lambda: None)
    start = run.begin_last()

    def finish(whole: Generation) -> InferenceAnswer:
        run.end(start, whole)
        answer = run.answer(whole, token_texts)
        tell(answer)
        return answer

    first, rest = _first(engine, start.step, start.generation)
    return AnswerPieces(first, rest, plan, finish, start.step.release)


def _first(engine: EnginePort, step: Step, generation: GenerationRequest) -> tuple[Chunk, Iterator[Chunk]]:
    try:
        chunks = engine.stream(step.composition, generation)
        return next(chunks), chunks
    except BaseException:
        step.release()
        raise


def _close(chunks: Iterator[Chunk]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
