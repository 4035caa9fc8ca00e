"""One request on its way through the engine."""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence

from core.engine.decode import Choice, Sampler, TextAssembly
from core.engine.lease import Lease
from core.engine.memory import is_out_of_memory
from core.engine.records import Chunk, FinishReason, Generation, GenerationRequest, TokenFacts
from core.errors import InsufficientMemoryError, RmnError, UnavailableError


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
        self.owner, self.share, self.priority = request.owner, request.share, request.priority
        self.submitted, self.deadline = submitted, submitted + (request.time_limit_s or math.inf)
        # Who may use what was read of this prompt: the same owner under the same composition.
        self.prefix_key = (request.owner, composition_key)
        self.cached_tokens = 0
        self._max_new_tokens = request.max_new_tokens
        self._decode, self._streamed = decode, streamed
        self._assembly = TextAssembly(decode, request.stop) if streamed or request.stop else None
        self._composition_key = composition_key
        self._tokens: list[int] = []
        self._facts: list[TokenFacts] = []
        self._ended = self._lent = False
        self._started = self._first_token = 0.0
        self.done = False  # it was answered, or it failed
        self._billed = (self.prompt_length, 0)  # prompt and answer tokens that its owner was charged for

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt)

    def take_bill(self) -> tuple[int, int]:
        """Prompt and answer tokens since the last call; what a cache saved comes back as negative."""
        before, self._billed = self._billed, (self.prompt_length - self.cached_tokens, len(self._tokens))
        return self._billed[0] - before[0], self._billed[1] - before[1]

    def over(self, now: float) -> FinishReason | None:
        """Why the answer ends before its next token, if it does."""
        if self.cancelled.is_set():
            return "cancelled"
        return "timeout" if now >= self.deadline else None

    @property
    def last_token(self) -> int:
        """What the next step reads."""
        return self._tokens[-1]

    def lend(self) -> None:
        """While the row waits: others may have the room of its adapters."""
        self._lent = self._lent or self.lease.pins > 0
        self.lease.release()

    def take_back(self) -> bool:
        """Have the adapters again, at its turn. False when they have to be loaded, or others go first."""
        if not self._lent:
            return True
        try:
            return self.resume(self.lease.renew_now())
        except Exception:  # noqa: BLE001 - what is wrong is found again, and told, where it is leased with time
            return False

    def resume(self, lease: Lease | None) -> bool:
        """Go on with this lease; False for None."""
        if lease is not None:
            self.lease, self._lent = lease, False
        return lease is not None

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
        if not self._tokens:
            self._first_token = time.perf_counter()
        self._tokens.append(choice.token)
        self._facts.append(choice.facts)
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
        count, facts = max(1, len(self._facts)), self._facts
        generation = Generation(
            text=text,
            finish_reason=reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self._tokens),
            queued_ms=(started - self.submitted) * 1e3,
            generate_ms=(now - started) * 1e3,
            mean_logprob=sum(fact.logprob for fact in facts) / count,
            composition_key=self._composition_key,
            token_ids=tuple(self._tokens),
            token_facts=tuple(facts),
            mean_entropy=sum(fact.entropy for fact in facts) / count,
            min_margin=min((fact.margin for fact in facts), default=0.0),
            cached_tokens=self.cached_tokens,
            first_token_ms=(self._first_token - self.submitted) * 1e3 if facts else 0.0,
        )
        self.done = True
        self.lease.release()
        self.chunks.put(Chunk(rest, generation))

    def fail(self, error: BaseException) -> None:
        """Unpin the adapters and hand an error to the caller."""
        self.done = True
        self.lease.release()
        if isinstance(error, RmnError):
            self.chunks.put(error)
            return
        failure: RmnError = UnavailableError(
            "The engine could not answer this request.",
            f"{type(error).__name__}: {str(error)[:300]}.",
            "Try again; if it happens again, look at the engine's log.",
        )
        if is_out_of_memory(error):
            failure = InsufficientMemoryError(
                "The memory ran out while this request was answered.",
                "Other requests go on.",
                "Try again in a moment; shorten the prompt, or lower kv_memory_mb or max_batch_rows.",
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
