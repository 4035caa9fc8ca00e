"""The other arms of a shadow experiment answer the same request, after the control has, and nobody sees their answers.

One request at a time, so that shadows never crowd out what people wait for. When too many wait, the newest are left out,
all arms of them together, and counted in the log: what is counted is always answered by every arm.
"""

import queue
import threading

import structlog

from app.admission import Admission
from app.impression_book import ImpressionBook
from app.metrics import error_kind
from app.variants import Routed
from core.compose.records import CompositionSpec
from core.errors import RmnError
from core.experiments.records import Arm
from core.serve.records import InferenceAnswer, InferenceRequest, RequestOutcome
from core.serve.runtime import Runtime
from core.storage.ids import new_id
from core.tenants.records import Principal, Role

LOG = structlog.get_logger(__name__)
MOST_WAITING = 64
Waiting = tuple[Routed, RequestOutcome]


class Shadows:
    """Safe from any thread."""

    def __init__(
        self, runtime: Runtime, admission: Admission, book: ImpressionBook, *, most: int = MOST_WAITING
    ) -> None:
        self._runtime, self._admission, self._book = runtime, admission, book
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(most)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        book.shadow = self.submit

    def submit(self, routed: Routed, outcome: RequestOutcome) -> None:
        """The control's part of a request is over; the others follow. Waits for nothing."""
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
            try:
                self._waiting.put_nowait((routed, outcome))
            except queue.Full:
                LOG.warning(
                    "shadow.left_out", experiment_id=routed.experiment.id, request_id=outcome.request_id
                )

    def wait(self) -> None:
        """Until everything that was submitted is over."""
        self._waiting.join()

    def close(self) -> None:
        """End after the request that is under way; what waits is left out."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None:
            return
        try:
            while True:
                self._waiting.get_nowait()
                self._waiting.task_done()
        except queue.Empty:
            self._waiting.put(None)
        thread.join()

    def _run(self) -> None:
        while (taken := self._waiting.get()) is not None:
            try:
                self._answer(*taken)
            except Exception:  # one request that goes wrong must not end the others
                LOG.exception("shadow.failed", experiment_id=taken[0].experiment.id)
            finally:
                self._waiting.task_done()
        self._waiting.task_done()

    def _answer(self, routed: Routed, outcome: RequestOutcome) -> None:
        caller = Principal(outcome.tenant_id, "", outcome.actor, Role.VIEWER)
        found = [(routed, outcome.answer, outcome.error)]
        for arm in routed.experiment.arms:
            if arm.id != routed.experiment.control.id:
                other = _of_arm(routed, arm)
                found.append((other, *self._ask(caller, other.request)))
        if any(error == "busy" for _, _, error in found):
            return  # it is no arm's fault, and pairs are whole
        for each, answer, error in found:
            self._book.note(each, outcome.request_id, answer, error, outcome.at)

    def _ask(self, caller: Principal, request: InferenceRequest) -> tuple[InferenceAnswer | None, str]:
        try:
            with self._admission.enter(caller, request, new_id("req")) as entry:
                given = self._runtime.answer(caller, request, request_id=entry.request_id)
                entry.answered(given)
        except RmnError as error:
            return None, error_kind(error)
        return given, ""


def _of_arm(routed: Routed, arm: Arm) -> Routed:
    spec = CompositionSpec.model_validate(dict(arm.pinned or {}))
    request = routed.request.model_copy(update={"composition": spec})
    return Routed(request, routed.experiment, arm, routed.assignment, routed.session_id)
