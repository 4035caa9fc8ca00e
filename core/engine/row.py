"""One request on its way through the engine."""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from core.engine.bank import Lease
from core.engine.decode import Choice, Sampler, TextAssembly
from core.engine.records import Chunk, FinishReason, Generation, GenerationRequest
from core.errors import RmnError, UnavailableError


class Row:
    """A prompt and its answer so far. The caller makes it and waits; the inference thread does the rest."""

    def __init__(
        self,
        prompt: Sequence[int],
        request: GenerationRequest,
        lease: Lease,
        composition_key: str,
        *,
        decode: Callable[[Sequence[int]], str],
        streamed: bool,
        submitted: float,
    ) -> None:
        self.prompt, self.lease = list(prompt), lease
        self.total_length = len(self.prompt) + request.max_new_tokens
        self.sampler = (
            Sampler(request.temperature, request.top_p, request.seed) if request.temperature else None
        )
        self.cancelled = threading.Event()
        self.chunks: queue.SimpleQueue[Chunk | RmnError] = queue.SimpleQueue()
        self._max_new_tokens = request.max_new_tokens
        self._decode, self._streamed = decode, streamed
        self._assembly = TextAssembly(decode, request.stop) if streamed or request.stop else None
        self._composition_key = composition_key
        self._tokens: list[int] = []
        self._ended = False
        self._logprob_sum = 0.0
        self._submitted, self._started = submitted, 0.0

    @property
    def last_token(self) -> int:
        """What the next step reads."""
        return self._tokens[-1]

    def start(self) -> None:
        """The row joins the batch."""
        self._started = self._started or time.perf_counter()

    def accept(self, choice: Choice | None, end_tokens: frozenset[int]) -> FinishReason | None:
        """Take the next token. Returns why the answer is over, or None. Raises when no token is usable."""
        if choice is None:
            raise UnavailableError(
                "The composition produced values that are not numbers.",
                "An adapter or a weight is too large for this base.",
                "Use smaller weights, or check the adapter.",
            )
        self._tokens.append(choice.token)
        self._logprob_sum += choice.logprob
        if choice.token in end_tokens:
            self._ended = True
            return "stop"
        if self._assembly is not None:
            piece = self._assembly.add(choice.token)
            if piece and self._streamed:
                self.chunks.put(Chunk(piece))
            if self._assembly.stopped:
                return "stop"
        return "length" if len(self._tokens) >= self._max_new_tokens else None

    def finish(self, reason: FinishReason) -> None:
        """Unpin the adapters and hand the answer to the caller."""
        now = time.perf_counter()
        started = self._started or now
        if self._assembly is not None:
            rest = self._assembly.finish()
            text = self._assembly.text
        else:
            rest = text = self._decode(self._tokens[:-1] if self._ended else self._tokens)
        generation = Generation(
            text=text,
            finish_reason=reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self._tokens),
            queued_ms=(started - self._submitted) * 1e3,
            generate_ms=(now - started) * 1e3,
            mean_logprob=self._logprob_sum / max(1, len(self._tokens)),
            composition_key=self._composition_key,
            token_ids=tuple(self._tokens),
        )
        self.lease.release()
        self.chunks.put(Chunk(rest, generation))

    def fail(self, error: BaseException) -> None:
        """Unpin the adapters and hand an error to the caller."""
        self.lease.release()
        if isinstance(error, RmnError):
            self.chunks.put(error)
            return
        failure = UnavailableError(
            "The engine could not answer this request.",
            f"{type(error).__name__}: {str(error)[:300]}.",
            "Try again; if it happens again, look at the engine's log.",
        )
        failure.__cause__ = error
        self.chunks.put(failure)


class AnswerStream:
    """The pieces of one answer. `close`, or dropping it, cancels the request."""

    def __init__(self, row: Row, next_chunk: Callable[[Row], Chunk], cancel: Callable[[Row], None]) -> None:
        self._row, self._next_chunk, self._cancel = row, next_chunk, cancel
        self._over = False

    def __iter__(self) -> "AnswerStream":
        return self

    def __next__(self) -> Chunk:
        if self._over:
            raise StopIteration
        try:
            chunk = self._next_chunk(self._row)
        except BaseException:
            self.close()
            raise
        self._over = chunk.final is not None
        return chunk

    def close(self) -> None:
        """Stop the answer."""
        if not self._over:
            self._over = True
            self._cancel(self._row)

    def __del__(self) -> None:
        self._row.cancelled.set()
