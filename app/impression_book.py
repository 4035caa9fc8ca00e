"""What came of the requests of experiments, written once a second, so that no answer waits for it.

What was noted since the last writing is lost when the process is killed: at most a second.
"""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

import structlog

from app.variants import Routed
from core.errors import RmnError
from core.experiments import service
from core.experiments.records import Experiment, Impression
from core.serve.records import InferenceAnswer, RequestOutcome
from core.storage.database import Database

LOG = structlog.get_logger(__name__)
WRITE_EVERY_S = 1.0
MOST_WAITING = 100_000
# What a request ends with that no arm is to blame for: the unit counts as exposed, and nothing is said of the arm.
NOT_THE_ARMS = frozenset({"cancelled", "busy", "invalid_input", "permission_denied", "not_authenticated"})


class ImpressionBook:
    """Observes requests (app.admission). Safe from any thread."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database, self._now = database, now
        self._lock, self._writes = threading.Lock(), threading.Lock()
        self._under_way: dict[str, Routed] = {}
        self._waiting: deque[tuple[Experiment, Impression]] = deque()
        self._dropped = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.shadow: Callable[[Routed, RequestOutcome], None] | None = None  # who has the other arms answer

    def expect(self, request_id: str, routed: Routed) -> None:
        """This request is answered by an arm; what comes of it is to be noted."""
        if routed.variant is not None:
            with self._lock:
                self._under_way[request_id] = routed

    def forget(self, request_id: str) -> None:
        """Nothing is to be noted of it after all."""
        with self._lock:
            self._under_way.pop(request_id, None)

    def __call__(self, outcome: RequestOutcome) -> None:
        """A request is over."""
        if not self._under_way:  # nearly always: nothing is locked
            return
        with self._lock:
            routed = self._under_way.pop(outcome.request_id, None)
        if routed is None:
            return
        if routed.experiment.shadow and self.shadow is not None and outcome.error not in NOT_THE_ARMS:
            self.shadow(routed, outcome)
        else:
            self.note(routed, outcome.request_id, outcome.answer, outcome.error, outcome.at)

    def note(
        self, routed: Routed, request_id: str, answer: InferenceAnswer | None, error: str, at: datetime
    ) -> None:
        """What came of one request in its arm."""
        experiment, request = routed.experiment, routed.request
        whole = answer is not None and error not in NOT_THE_ARMS
        context = request.context if request.task is None else {**request.context, "task": request.task}
        impression = service.impression_of(
            experiment,
            routed.arm.id,
            event_id=request_id,
            user_id=request.user_id,
            session_id=routed.session_id,
            at=at,
            success=None if error in NOT_THE_ARMS else whole and answer.finish_reason != "timeout",  # type: ignore[union-attr]
            latency_ms=answer.latency_ms if whole and answer is not None else None,
            metrics=_metrics(experiment, answer) if whole and answer is not None else {},
            context=context,
            propensity=routed.assignment.propensity,
            exposure=error in NOT_THE_ARMS,
        )
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append((experiment, impression))
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
                self._thread.start()

    def write(self) -> None:
        """Write what is noted. What cannot be written now is tried again."""
        if not self._waiting:
            return
        with self._writes:
            with self._lock:
                taken, self._waiting = self._waiting, deque()
                dropped, self._dropped = self._dropped, 0
            if dropped:
                LOG.error("impressions.dropped", count=dropped)
            groups: dict[tuple[str, str], list[tuple[Experiment, Impression]]] = {}
            for experiment, impression in taken:
                groups.setdefault((experiment.tenant_id, experiment.id), []).append((experiment, impression))
            for (tenant_id, experiment_id), noted in sorted(groups.items()):
                self._write_one(tenant_id, experiment_id, noted)

    def close(self) -> None:
        """Write what is left; nothing is written any more by itself."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self.write()

    def _write_one(
        self, tenant_id: str, experiment_id: str, noted: list[tuple[Experiment, Impression]]
    ) -> None:
        try:
            with self._database.transaction() as s:
                experiment = service.get_experiment(s, tenant_id, experiment_id)
                impressions = [impression for _, impression in noted]
                service.record_impressions(s, experiment, impressions, under_way=True)
        except RmnError as error:
            if len(noted) > 1:  # one that cannot be counted takes no other with it
                for each in noted:
                    self._write_one(tenant_id, experiment_id, [each])
                return
            LOG.warning(
                "impressions.refused", experiment_id=experiment_id, count=len(noted), reason=str(error)
            )
        except Exception as error:  # noqa: BLE001 - a database that is away for a while must not end the counting
            LOG.warning("impressions.not_written", reason=f"{type(error).__name__}: {str(error)[:200]}")
            with self._lock:
                self._waiting.extendleft(reversed(noted))

    def _run(self) -> None:
        while not self._stop.wait(WRITE_EVERY_S):
            self.write()


def _metrics(experiment: Experiment, answer: InferenceAnswer) -> dict[str, float]:
    """What an answer tells by itself, of what the plan asks for."""
    told = {
        "completion_tokens": float(answer.completion_tokens),
        "prompt_tokens": float(answer.prompt_tokens),
        "total_tokens": float(answer.prompt_tokens + answer.completion_tokens),
        "first_token_ms": answer.first_token_ms,
        "queued_ms": answer.queued_ms,
        "mean_logprob": answer.mean_logprob,
        "mean_entropy": answer.mean_entropy,
    }
    wanted = {experiment.plan.primary.name, *(metric.name for metric in experiment.plan.guardrails)}
    return {name: value for name, value in told.items() if name in wanted}
