"""The watch: a thread of a serving process that looks every 15 s for what is worth an alert, and sends the webhooks.

Of all processes on one database one alone watches. It holds a lease in the database and renews it at every look. Another
process takes the lease when it has seen it unrenewed for a minute by its own monotonic clock: no two clocks are ever
compared, so none has to be right. One that comes back from a long pause finds its lease gone when it writes, and stops.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from app.engine import EngineOnDemand
from core.analytics import alerts, conditions, watching, webhooks
from core.analytics.alert_records import MACHINE, Alert, AlertKind, AlertRule, Delivery, Finding
from core.analytics.destination import TIMEOUT_S
from core.analytics.health import EngineGauge, MachineGauge, no_engine
from core.analytics.health_records import EngineHealth, MachineHealth
from core.analytics.store import watched as lease_store
from core.errors import ConflictError, RmnError
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.serve.records import RequestOutcome
from core.settings import Settings
from core.storage.database import Database
from core.storage.ids import new_id
from core.tenants import service as tenants
from core.tenants.records import Tenant

LOG = structlog.get_logger(__name__)
LOOK_EVERY_S = 15.0
LEASE_S = 60.0
HOLDS_FOR = timedelta(minutes=1)  # so long memory has to be short before anybody is told
CURVES_EVERY = 4  # looks: curves of trainings move slowly
SENT_AT_ONCE = 8
LEASE = "watch"
Rules = dict[AlertKind, AlertRule]


class Watch:
    """Holds the lease, the thread, and how machine and engine were at the look before. Safe from any thread."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        engine: EngineOnDemand,
        clock: Callable[[], datetime],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._settings, self._engine, self._clock = database, settings, engine, clock
        self._machine, self._engine_gauge = MachineGauge(settings.home), EngineGauge()
        self._lease = Lease(database, monotonic)
        self._short_since: dict[AlertKind, datetime] = {}
        self._looks = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note_outcome(self, outcome: RequestOutcome) -> None:
        """A request is over: its tokens count for the engine's rate."""
        if outcome.answer is not None:
            self._engine_gauge.add_tokens(outcome.answer.completion_tokens)

    def machine(self) -> MachineHealth:
        """How this machine is now."""
        return self._machine.read()

    def engine(self) -> EngineHealth:
        """How the engine of this process is now. Opens none."""
        if not self._engine.loaded:
            return no_engine("No engine is open in this process: it opens with the first request.")
        try:
            return self._engine_gauge.read(self._engine().status())
        except RmnError as error:
            return no_engine(error.what)

    def start(self) -> None:
        """Look from now on, until `close`. Once is enough."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Look no more, and leave the lease to others at once."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(TIMEOUT_S + 1)
        try:
            self._lease.give_back()
        except Exception as error:  # noqa: BLE001 - without it the next process waits a minute
            LOG.warning("watch.lease_kept", reason=f"{type(error).__name__}: {str(error)[:200]}")

    def look(self) -> bool:
        """Look once, if this process is the one that watches. False: another one is."""
        if not self._lease.hold():
            return False
        self._looks += 1
        with self._database.reading() as s:
            everybody = tenants.list_tenants(s)
            unfinished = jobs.unfinished(s)
        machine = self._lasting(conditions.machine_findings(self.machine(), self._machine_rules(everybody)))
        for tenant in everybody:
            try:
                self._look_at(tenant, unfinished, machine if self._runs_machine(tenant, everybody) else None)
            except ConflictError:
                LOG.warning("watch.lease_lost")
                return False
            except Exception:  # one workspace's trouble must not keep the others from being watched
                LOG.exception("watch.look_failed", tenant_id=tenant.id)
        self.send()
        return True

    def send(self) -> int:
        """Send what waits for a webhook, several at once; how many messages were tried."""
        with self._database.reading() as s:
            waiting = webhooks.due(s, now=self._clock())
        if not waiting:
            return 0
        # A receiver may take five seconds for each: in a row, slow ones would keep the lease from being renewed.
        with ThreadPoolExecutor(SENT_AT_ONCE, "webhook") as pool:
            return sum(pool.map(lambda each: self._send(*each), waiting))

    def _send(self, delivery: Delivery, body: str) -> bool:
        if self._stop.is_set():
            return False
        try:
            return self._try_to_send(delivery, body)
        except Exception:  # one message's trouble must not keep the others
            LOG.exception("webhook.not_tried", delivery=delivery.id)
            return False

    def _try_to_send(self, delivery: Delivery, body: str) -> bool:
        with self._database.transaction() as s:
            target = webhooks.claim(s, delivery, now=self._clock())
        if target is None:
            return False
        came = webhooks.attempt(
            delivery,
            body,
            url=target[0],
            secret=target[1],
            allowed_hosts=self._settings.webhook_host_names,
            now=self._clock(),
        )
        with self._database.transaction() as s:
            state = webhooks.note_attempt(s, delivery, came, now=self._clock())
        LOG.info("webhook.tried", delivery=delivery.id, state=state.value, status=came.status)
        return True

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a database that is away for a while must not end the watch
                LOG.warning("watch.not_looked", reason=f"{type(error).__name__}: {str(error)[:200]}")

    def _look_at(self, tenant: Tenant, unfinished: Sequence[Job], machine: list[Finding] | None) -> None:
        """Read without holding anybody up, then write in one short transaction that begins with the lease."""
        now = self._clock()
        with self._database.reading() as s:
            rules = {rule.kind: rule for rule in alerts.rules(s, tenant.id)}
            open_ones = alerts.unresolved(s, tenant.id)
            traffic = watching.look(s, tenant.id, rules, open_ones, now=now)
            of_jobs = self._of_jobs(s, tenant.id, unfinished, rules, now)
        found = [*traffic.findings, *of_jobs, *(machine or [])]
        over = [*traffic.over, *self._no_longer(open_ones, found, unfinished, machine, rules)]
        if not (found or over or traffic.kept):
            return
        with self._database.transaction() as s:
            self._lease.check(s)
            watching.remember(s, tenant.id, traffic.kept)
            for kind, subject, note in over:
                alerts.settle(s, tenant.id, kind, subject, note=note, now=now)
            for finding in found:
                alerts.report(s, tenant.id, finding, rules[finding.kind], now=now)

    def _of_jobs(
        self, s: Session, tenant_id: str, unfinished: Sequence[Job], rules: Rules, now: datetime
    ) -> list[Finding]:
        lives = conditions.a_worker_lives(unfinished, now)
        found: list[Finding | None] = []
        for job in unfinished:
            if job.tenant_id != tenant_id:
                continue
            found.append(conditions.stuck_job(job, rules[AlertKind.STUCK_JOB], a_worker_lives=lives, now=now))
            if self._looks % CURVES_EVERY == 1 and job.state is JobState.RUNNING:
                points = jobs.points(s, tenant_id, job.id)
                found.append(conditions.loss_plateau(job, points, rules[AlertKind.LOSS_PLATEAU]))
        return [finding for finding in found if finding is not None and rules[finding.kind].enabled]

    def _no_longer(
        self,
        open_ones: Sequence[Alert],
        found: Sequence[Finding],
        unfinished: Sequence[Job],
        machine: list[Finding] | None,
        rules: Rules,
    ) -> list[tuple[AlertKind, str, str]]:
        """What is open about jobs and the machine, and not found any more."""
        still = {(finding.kind, finding.subject) for finding in found}
        living = {job.id for job in unfinished}
        over: list[tuple[AlertKind, str, str]] = []
        for alert in open_ones:
            if (alert.kind, alert.subject) in still or not rules[alert.kind].enabled:
                continue  # of what is not looked at nobody knows whether it is over
            if alert.kind is AlertKind.STUCK_JOB:
                note = "The job goes on." if alert.subject in living else "The job is over."
                over.append((alert.kind, alert.subject, note))
            elif alert.kind is AlertKind.LOSS_PLATEAU and alert.subject not in living:
                over.append((alert.kind, alert.subject, "The job is over."))
            elif alert.kind.of_machine and machine is not None and alert.kind not in self._short_since:
                over.append((alert.kind, MACHINE, "There is enough memory again."))
        return over

    def _machine_rules(self, everybody: Sequence[Tenant]) -> Rules:
        """Those of whoever runs the installation, or as they come."""
        mine = next((tenant for tenant in everybody if self._runs_machine(tenant, everybody)), None)
        with self._database.reading() as s:
            return {rule.kind: rule for rule in alerts.rules(s, mine.id if mine else "")}

    def _runs_machine(self, tenant: Tenant, everybody: Sequence[Tenant]) -> bool:
        """Alerts about the machine are for the workspace that the settings name, or for the only one that there is."""
        named = self._settings.operator_workspace
        return tenant.slug == named if named else len(everybody) == 1

    def _lasting(self, found: Sequence[Finding]) -> list[Finding]:
        """Those that have been there for HOLDS_FOR."""
        now = self._clock()
        kinds = {finding.kind for finding in found}
        self._short_since = {
            # A clock that was set back begins anew.
            kind: min(self._short_since.get(kind, now), now)
            for kind in kinds
        }
        return [finding for finding in found if now - self._short_since[finding.kind] >= HOLDS_FOR]


class Lease:
    """That one process alone watches. Each has an id of its own; `hold` takes, renews, or sees that another has it."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database, self._monotonic = database, monotonic
        self._me = new_id("prc")
        self._mine: tuple[str, int] | None = None
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    def hold(self) -> bool:
        """Whether this process may watch now."""
        current = self._current()
        if current != self._seen:
            self._seen, self._seen_at = current, self._monotonic()
        lapsed = self._monotonic() - self._seen_at >= LEASE_S
        if current[0] not in ("", self._me) and not lapsed:
            self._mine = None
            return False
        with self._database.transaction() as s:
            taken = lease_store.take_lease(s, LEASE, seen=current, holder=self._me)
        self._mine = (self._me, current[1] + 1) if taken else None
        if self._mine is not None:
            self._seen, self._seen_at = self._mine, self._monotonic()
        return taken

    def _current(self) -> tuple[str, int]:
        with self._database.reading() as s:
            found = lease_store.lease(s, LEASE)
        if found is None:
            with self._database.transaction() as s:
                lease_store.make_lease(s, LEASE)
            return self._current()
        return found

    def check(self, s: Session) -> None:
        """Renew it within a transaction that writes: it waits for whoever takes it now. Raises ConflictError when it is
        gone."""
        if self._mine is None or not lease_store.take_lease(s, LEASE, seen=self._mine, holder=self._me):
            self._mine = None
            raise ConflictError("Another process watches now.")
        self._mine = (self._me, self._mine[1] + 1)
        self._seen, self._seen_at = self._mine, self._monotonic()

    def give_back(self) -> None:
        """Let the next process take it at once."""
        if self._mine is not None:
            with self._database.transaction() as s:
                lease_store.take_lease(s, LEASE, seen=self._mine, holder="")
            self._mine = None
