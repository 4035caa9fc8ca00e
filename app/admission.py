"""Before an answer and after it: may this workspace have one now, and what did it cost."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol

import structlog

from app.metrics import LEFT, Metrics, error_kind
from app.rates import Charge, Rates
from app.standings import Standing, Standings, default_limits
from app.usage import UsageBook
from core.errors import BusyError, UnavailableError
from core.serve.records import AnswerLimits, AnswerPiece, InferenceAnswer, InferenceRequest, RequestOutcome
from core.settings import Settings
from core.storage.database import Database
from core.storage.ids import new_id
from core.tenants.limits import day_of
from core.tenants.records import Principal, UsageDay

LOG = structlog.get_logger(__name__)
Observer = Callable[[RequestOutcome], None]
BYTES_PER_TOKEN = 4  # of a prompt that nobody has encoded yet; the answer says how many it were
TOKENS_PER_MESSAGE = 8


class Admission:
    """Lets answers in, one `Entry` each. Safe from any thread."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        rates: Rates,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._rates, self._metrics, self._clock = settings, rates, metrics, clock
        self.standings = Standings(database, default_limits(settings), clock)
        self.usage = UsageBook(database, self.standings.forget)
        self._observers: list[Observer] = []
        self._changed = threading.Condition()
        self._inside: Counter[str] = Counter()
        self._reserved: Counter[str] = Counter()  # tokens that answers which run now may still need
        self._closed = False

    @property
    def inside(self) -> int:
        """Answers that are under way."""
        with self._changed:
            return self._inside.total()

    def answer_limits(self, principal: Principal) -> AnswerLimits:
        """What an answer may take of the engine."""
        limits = self.standings(principal.tenant_id).limits
        return AnswerLimits(float(limits.weight), limits.priority, self._settings.answer_seconds)

    def observe(self, observer: Observer) -> None:
        """Tell this one, too, of every request that is over. Quickly: the request's thread waits for it."""
        self._observers.append(observer)

    def enter(
        self, principal: Principal, request: InferenceRequest, request_id: str | None = None
    ) -> "Entry":
        """Let an answer in. Raises BusyError, or UnavailableError while the process stops."""
        standing, tenant_id = self.standings(principal.tenant_id), principal.tenant_id
        prompt, longest = estimate(request, self._settings.max_new_tokens)
        tokens = prompt + longest
        with self._changed:
            if self._closed:
                raise UnavailableError("This process is stopping.", "", "Send the request again in a moment.")
            self._check_concurrent(tenant_id, standing)
            self._check_day(tenant_id, standing, tokens)
            amount = standing.limits.tokens_per_minute
            charge = None if amount is None else self._rates.charge_tokens(tenant_id, tokens, amount)
            self._inside[tenant_id] += 1
            self._reserved[tenant_id] += tokens
        return Entry(
            self, principal, standing.slug, request, request_id or new_id("req"), prompt, tokens, charge
        )

    def close(self) -> None:
        """Let nobody in any more. Who is in goes on."""
        with self._changed:
            self._closed = True

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Until all answers are over. False: the time was over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside.total(), timeout_s)

    def leave(self, entry: "Entry", answer: InferenceAnswer | None, error: BaseException | None) -> None:
        """Called by an entry, once: its answer, or what it ended with."""
        tenant_id = entry.tenant_id
        seconds = time.perf_counter() - entry.began
        prompt, completion = entry.used(answer)
        if prompt + completion:
            day = day_of(self._clock())
            self.usage.add(tenant_id, UsageDay(day, 1, prompt, completion))
        with self._changed:
            for counts, amount in ((self._inside, 1), (self._reserved, entry.tokens)):
                counts[tenant_id] -= amount
                if counts[tenant_id] <= 0:
                    del counts[tenant_id]
            self._changed.notify_all()
        if entry.charge is not None:
            self._rates.correct_tokens(tenant_id, entry.charge, prompt + completion)
        if answer is not None:
            self._metrics.note_answer(entry.slug, answer)
        else:
            self._metrics.note_failure(entry.slug, error, seconds)
        self._tell(entry, answer, error, seconds)

    def _tell(
        self, entry: "Entry", answer: InferenceAnswer | None, error: BaseException | None, seconds: float
    ) -> None:
        left = answer is not None and answer.finish_reason == "cancelled"
        kind = error_kind(error) if answer is None else LEFT if left else ""
        outcome = RequestOutcome(
            entry.tenant_id,
            entry.actor,
            entry.request_id,
            entry.request,
            answer,
            kind,
            seconds,
            self._clock(),
        )
        for observer in self._observers:
            try:
                observer(outcome)
            except Exception:  # an answer that is there is given, whatever becomes of its records
                LOG.exception("answer.observer_failed", request_id=entry.request_id)

    def _check_concurrent(self, tenant_id: str, standing: Standing) -> None:
        most = standing.limits.concurrent_requests
        if most is not None and self._inside[tenant_id] >= most:
            raise BusyError(
                "Too many requests at the same time.",
                f"Your workspace may wait for {most:,} answers at once.",
                "Wait until one of them is there.",
                retry_after_s=1.0,
            )

    def _check_day(self, tenant_id: str, standing: Standing, tokens: int) -> None:
        most = standing.limits.tokens_per_day
        if most is None:
            return
        now = self._clock().astimezone(UTC)
        used = standing.tokens_today + self.usage.unwritten(tenant_id, now.date()) + self._reserved[tenant_id]
        if used + tokens > most:
            midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
            raise BusyError(
                "The tokens of today are used up.",
                f"Your workspace may use {most:,} a day; {max(0, most - used):,} are left, "
                f"and this asks for up to {tokens:,}.",
                "Ask for a shorter answer, or come back after midnight UTC.",
                retry_after_s=float(max(1, math.ceil((midnight - now).total_seconds()))),
            )


class Entry:
    """One answer that was let in. Leave it, or call `end`; more than once changes nothing."""

    def __init__(
        self,
        admission: Admission,
        principal: Principal,
        slug: str,
        request: InferenceRequest,
        request_id: str,
        prompt_tokens: int,
        tokens: int,
        charge: Charge | None,
    ) -> None:
        self.tenant_id, self.actor = principal.tenant_id, principal.actor
        self.request, self.request_id = request, request_id
        self.slug, self.tokens, self.charge = slug, tokens, charge
        self.began = time.perf_counter()
        self.pieces = 0
        self._admission, self._prompt_tokens = admission, prompt_tokens
        self._answer: InferenceAnswer | None = None
        self._over = False

    def answered(self, answer: InferenceAnswer) -> None:
        """The whole answer."""
        self._answer = answer

    def used(self, answer: InferenceAnswer | None) -> tuple[int, int]:
        """Tokens read and generated. Of a stream that its reader left: the guess, and about a token for each piece."""
        if answer is not None:
            return answer.prompt_tokens, answer.completion_tokens
        return (self._prompt_tokens, self.pieces) if self.pieces else (0, 0)

    def end(self, error: BaseException | None = None) -> None:
        """It is over."""
        if not self._over:
            self._over = True
            self._admission.leave(self, self._answer, error)

    def __enter__(self) -> "Entry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class Pieces(Protocol):
    """A streamed answer: its pieces, what answers, and the way to stop it."""

    @property
    def request_id(self) -> str: ...

    @property
    def model(self) -> str: ...

    def __next__(self) -> AnswerPiece: ...

    def close(self) -> None: ...


class CountedPieces(Iterator[AnswerPiece]):
    """A streamed answer whose entry ends with it, whatever becomes of it."""

    def __init__(self, pieces: Pieces, entry: Entry) -> None:
        self._pieces, self._entry = pieces, entry
        self.request_id, self.model = pieces.request_id, pieces.model

    def __next__(self) -> AnswerPiece:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._entry.end()
            raise
        except BaseException as error:
            self._entry.end(error)
            raise
        self._entry.pieces += 1
        if piece.final is not None:
            self._entry.answered(piece.final)
            self._entry.end()
        return piece

    def close(self) -> None:
        """Stop the answer; what was not read is lost."""
        try:
            self._pieces.close()
        finally:
            self._entry.end()

    def __del__(self) -> None:
        self._entry.end()


def estimate(request: InferenceRequest, most_new_tokens: int) -> tuple[int, int]:
    """Tokens that a request may need: of its prompt by its bytes, and of the longest answer that it may have."""
    prompt = sum(
        TOKENS_PER_MESSAGE + len(message.content.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN
        for message in request.messages
    )
    return prompt, min(request.max_new_tokens, most_new_tokens)
