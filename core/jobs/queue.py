"""The durable queue: DBOS in a database of its own, SQLite or PostgreSQL.

The row of a job is the truth; the queue only says which job comes next and to whom. A job's row is committed before
its entry is made, and `sweep` makes (again) the entries that are missing, so a crash in between loses nothing. An
entry carries a job's id and nothing else, as JSON.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from core.errors import InvalidInputError, UnavailableError
from core.jobs import service
from core.jobs.attempts import JobRunner
from core.storage.ids import new_id

if TYPE_CHECKING:
    from dbos import DBOSClient

QUEUE = "jobs"
WORKFLOW = "run_job"
APPLICATION = "rmn-lora"
# Part of what an entry says: workers take only entries of their own version.
ENTRY_VERSION = "1"
POLL_S = 0.5
_WAITING = ("ENQUEUED", "DELAYED")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the queue sees it: its status, and the epoch seconds of its last change."""

    status: str
    changed_at: float


class JobQueue:
    """The side that adds entries. Connects when first used; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = checked_queue_url(url)
        self._client: DBOSClient | None = None
        self._opening = threading.Lock()

    def open(self) -> None:
        """Connect now. Raises UnavailableError when the queue's database cannot be opened."""
        from dbos import error as refusals

        try:
            self._opened()
        except (SQLAlchemyError, refusals.DBOSException, OSError) as error:
            raise UnavailableError(
                "The job queue's database cannot be opened.",
                " ".join(str(getattr(error, "orig", error)).split())[:300],
                "Start that database, or correct RMN_QUEUE_URL.",
            ) from None

    def enqueue(self, job_id: str) -> bool:
        """Add an entry for a job whose row is committed; adding it twice is the same as once.

        False when the queue cannot be reached: nothing is lost, a worker's sweep adds it later.
        """
        from dbos import EnqueueOptions, WorkflowSerializationFormat
        from dbos import error as refusals

        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": job_id,
            "app_version": ENTRY_VERSION,
            "serialization_type": WorkflowSerializationFormat.PORTABLE,
        }
        try:
            self._opened().enqueue(options, job_id)
        except (SQLAlchemyError, refusals.DBOSException, OSError) as error:
            _log.warning("queue.unreachable", job=job_id, error=str(error))
            return False
        return True

    def entries(self, job_ids: Iterable[str]) -> dict[str, Entry]:
        """The entries that there are for these jobs."""
        wanted = list(job_ids)
        if not wanted:
            return {}
        found = self._opened().list_workflows(workflow_ids=wanted, load_input=False, load_output=False)
        return {
            entry.workflow_id: Entry(entry.status, (entry.updated_at or entry.created_at or 0) / 1000)
            for entry in found
        }

    def put_back(self, job_id: str, entry: Entry | None) -> None:
        """Make a job wait again whose entry is missing, was taken by a worker that is gone, or is used up."""
        if entry is not None and entry.status in ("SUCCESS", "ERROR"):
            self._opened().delete_workflow(job_id)
        elif entry is not None:
            self._opened().resume_workflow(job_id, queue_name=QUEUE)
            return
        self.enqueue(job_id)

    def close(self) -> None:
        """Give all connections back."""
        with self._opening:
            if self._client is not None:
                self._client.destroy()
                self._client = None

    def _opened(self) -> "DBOSClient":
        from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

        with self._opening:
            if self._client is None:
                _quiet()
                DBOS.migrate(self.url)
                self._client = DBOSClient(
                    system_database_url=self.url,
                    application_name=APPLICATION,
                    serializer=DBOSPortableJSONSerializer(),
                    retry_connection_errors=False,
                )
            return self._client


def sweep(runner: JobRunner, queue: JobQueue) -> list[str]:
    """Make unfinished jobs wait again that nobody runs and that are not waiting; returns their ids."""
    with runner.database.reading() as s:
        unfinished = service.unfinished(s)
    entries = queue.entries(job.id for job in unfinished)
    mended = []
    for job in unfinished:
        entry = entries.get(job.id)
        if entry is not None and (
            entry.status in _WAITING or time.time() - entry.changed_at < runner.pace.grace_s
        ):
            continue
        if entry is None or runner.is_abandoned(job):
            queue.put_back(job.id, entry)
            mended.append(job.id)
    if mended:
        _log.info("queue.mended", jobs=mended)
    return mended


def work(
    runner: JobRunner, queue: JobQueue, *, jobs_at_once: int, sweep_every_s: float, ready: Callable[[], None]
) -> None:
    """Take entries and run their jobs until `runner.stop` is set; returns when all children have ended.

    Raises UnavailableError when the queue's database cannot be opened.
    """
    from dbos import DBOS

    queue.open()
    running = _Running()

    # Asynchronous for the sake of DBOS: where another worker has taken the entry over, it waits for that one's outcome,
    # and a wait in a thread would outlive `destroy` and keep this process from ending.
    async def run_job(job_id: str) -> str:
        with running:
            return (await asyncio.to_thread(runner.run, job_id)).value

    DBOS(config=_configuration(queue.url))
    try:
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(run_job)
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=jobs_at_once, polling_interval_sec=POLL_S, on_conflict="always_update"
        )
        ready()
        while not runner.stop.is_set():
            try:
                sweep(runner, queue)
            except SQLAlchemyError as error:
                _log.warning("queue.sweep_failed", error=str(error))
            runner.stop.wait(sweep_every_s)
    finally:
        runner.stop.set()
        running.wait_until_none()
        DBOS.destroy(destroy_registry=True)


def checked_queue_url(url: str) -> str:
    """The URL in the form that DBOS takes. Raises InvalidInputError unless it is SQLite or PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InvalidInputError(
            "The job queue cannot use this database.",
            "Its URL must look like sqlite:///path or postgresql://user@host:5432/name.",
            "Correct RMN_QUEUE_URL, or leave it empty for SQLite.",
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return parsed.render_as_string(hide_password=False)


class _Running:
    """Counts the jobs that run now."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_until_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


def _configuration(url: str) -> Any:
    from dbos import DBOSPortableJSONSerializer

    return {
        "name": APPLICATION,
        "system_database_url": url,
        "application_version": ENTRY_VERSION,
        # A new name each time: DBOS would otherwise take away the entries of a living worker of the same name.
        "executor_id": new_id("worker"),
        "serializer": DBOSPortableJSONSerializer(),
        "sys_db_pool_size": 4,
        "log_level": "ERROR",
        "enable_otlp": False,
        "max_executor_threads": 32,
        "scheduler_polling_interval_sec": 3600.0,
    }


def _quiet() -> None:
    import logging

    logging.getLogger("dbos").setLevel(logging.ERROR)
