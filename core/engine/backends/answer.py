"""An answer that comes from elsewhere, put together piece by piece."""

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from core.engine.backends.server import Call, ModelGoneError
from core.engine.records import Chunk, FinishReason, Generation, GenerationRequest, TokenFacts
from core.errors import RmnError, UnavailableError

TOKEN_PREFIX = "token_id:"  # noqa: S105 - what vLLM writes before the number of a token


class RemoteAnswer:
    """One request on the server. The caller waits on it; `release` is called once, however it ends.

    `start` opens the stream. `again` is asked when the server does not know the adapter any more: whether it does now.
    """

    def __init__(
        self,
        start: Callable[[], Call],
        request: GenerationRequest,
        prompt_tokens: int,
        composition_key: str,
        *,
        submitted: float,
        release: Callable[[], None],
        again: Callable[[float], bool],
    ) -> None:
        self._start, self._release, self._again = start, release, again
        self._key, self._prompt_tokens = composition_key, prompt_tokens
        self._submitted, self._started = submitted, time.perf_counter()
        self._deadline = submitted + request.time_limit_s if request.time_limit_s else math.inf
        self._first_token = 0.0
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._facts: list[TokenFacts] = []
        self._reason: FinishReason | None = None
        self._usage: dict[str, Any] = {}
        self._over = threading.Lock()
        self._restarted = False
        self._asked_at = time.monotonic()
        self._call = start()

    def wait(self, seconds: float) -> Chunk | None:
        """The next piece, or None when none came in time. Raises what the request failed with."""
        left = min(seconds, self._deadline - time.perf_counter())
        try:
            event = self._call.events.get(timeout=max(0.0, left))
        except queue.Empty:
            if time.perf_counter() < self._deadline:
                return None
            return Chunk("", self.finish("timeout"))
        if isinstance(event, RmnError):
            if isinstance(event, ModelGoneError) and not self._restarted:
                self._restart(event)
                return None
            self.abandon()
            raise event
        if event is not None:
            piece = self._take(event)
            return Chunk(piece) if piece else None
        if self._reason is None:
            self.abandon()
            raise UnavailableError(
                "The model server failed.", "Its answer has no end.", "Try again; look at the server's log."
            )
        return Chunk("", self.finish(self._reason))

    def _restart(self, error: ModelGoneError) -> None:
        """The server lost the adapter's name: load it again and ask once more, but only once."""
        self._restarted = True
        try:
            if not self._again(self._asked_at):
                raise error
            self._call = self._start()
        except BaseException:
            self.abandon()
            raise

    def finish(self, reason: FinishReason) -> Generation:
        """End the request; what came so far is the answer."""
        self.abandon()
        now = time.perf_counter()
        count = len(self._facts)
        cached = (self._usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Generation(
            text="".join(self._text),
            finish_reason=reason,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._usage.get("completion_tokens") or len(self._tokens),
            queued_ms=(self._started - self._submitted) * 1e3,
            generate_ms=(now - self._started) * 1e3,
            mean_logprob=math.fsum(fact.logprob for fact in self._facts) / max(1, count),
            composition_key=self._key,
            token_ids=tuple(self._tokens),
            token_facts=tuple(self._facts),
            mean_entropy=math.fsum(fact.entropy for fact in self._facts) / max(1, count),
            min_margin=min((fact.margin for fact in self._facts), default=0.0),
            cached_tokens=cached,
            first_token_ms=((self._first_token or now) - self._submitted) * 1e3,
        )

    def abandon(self) -> None:
        """Close the connection and let go of the adapter. Again: nothing."""
        if self._over.acquire(blocking=False):
            self._call.close()
            self._release()

    def _take(self, event: dict[str, Any]) -> str:
        """The text of one event of the stream."""
        self._usage = event.get("usage") or self._usage
        choices = event.get("choices") or ()
        if not choices:
            return ""
        self._first_token = self._first_token or time.perf_counter()
        choice = choices[0]
        if choice.get("finish_reason"):
            self._reason = "length" if choice["finish_reason"] == "length" else "stop"
        self._take_tokens(choice.get("logprobs") or {})
        piece = str(choice.get("text") or "")
        self._text.append(piece)
        return piece

    def _take_tokens(self, logprobs: dict[str, Any]) -> None:
        tokens, own = logprobs.get("tokens") or (), logprobs.get("token_logprobs") or ()
        tops = logprobs.get("top_logprobs") or ()
        for token, logprob, top in zip(tokens, own, tops, strict=False):
            if str(token).startswith(TOKEN_PREFIX):
                self._tokens.append(int(str(token).removeprefix(TOKEN_PREFIX)))
            if logprob is not None:
                self._facts.append(token_facts(float(logprob), [float(v) for v in (top or {}).values()]))


class RemoteStream:
    """The pieces of one answer. `close`, or dropping it, cancels the request."""

    def __init__(self, next_chunk: Callable[[], Chunk], abandon: Callable[[], None]) -> None:
        self._next_chunk, self._abandon = next_chunk, abandon
        self._over = False

    def __iter__(self) -> "RemoteStream":
        return self

    def __next__(self) -> Chunk:
        if self._over:
            raise StopIteration
        try:
            chunk = self._next_chunk()
        except BaseException:
            self.close()
            raise
        self._over = chunk.final is not None
        return chunk

    def close(self) -> None:
        """Stop the answer."""
        self._over = True
        self._abandon()

    def __del__(self) -> None:
        self._abandon()


def token_facts(logprob: float, top: list[float]) -> TokenFacts:
    """From the logarithms of the most probable tokens: the margin is exact; the entropy counts all others as one
    token, so it is a lower bound."""
    shares = sorted((math.exp(value) for value in top), reverse=True)
    rest = 1.0 - math.fsum(shares)
    entropy = -math.fsum(share * math.log(share) for share in [*shares, rest] if share > 0.0)
    margin = shares[0] - (shares[1] if len(shares) > 1 else 0.0) if shares else 0.0
    return TokenFacts(logprob, max(0.0, entropy), margin)
