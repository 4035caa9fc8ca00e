"""The durable queue on real queue databases, seen from the side that adds entries, and the sweep that mends it."""

import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import InvalidInputError, UnavailableError
from core.jobs import service as jobs
from core.jobs.attempts import JobRunner, Outcome, Pace
from core.jobs.folder import JobFolder
from core.jobs.queue import JobQueue, sweep
from core.jobs.records import Job
from core.storage.database import Database, open_engine
from core.tenants.records import Tenant

POSTGRESQL_URL = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")


@pytest.fixture
def queue_file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "queue.sqlite"


@pytest.fixture
def queue(queue_file: Path) -> Iterator[JobQueue]:
    queue = JobQueue(f"sqlite:///{queue_file}")
    yield queue
    queue.close()


@pytest.fixture
def runner(sqlite_database: Database, tmp_path: Path) -> JobRunner:
    return JobRunner(
        database=sqlite_database,
        jobs_dir=tmp_path / "jobs",
        command=lambda _: [sys.executable, "-c", "pass"],
        environment={},
        clock=lambda: datetime.now(UTC),
        pace=Pace(grace_s=0.0, lease_s=3600, retry_s=0.0, watch_s=0.02),
    )


@pytest.fixture
def submit(sqlite_database: Database, sqlite_tenant: Tenant) -> Callable[[], Job]:
    def submitted() -> Job:
        with sqlite_database.transaction() as s:
            now = datetime.now(UTC)
            return jobs.submit(
                s, sqlite_tenant.id, kind="count", name="n", spec={}, submitted_by="a", now=now
            )

    return submitted


def _set_status(queue_file: Path, job_id: str, status: str) -> None:
    with closing(sqlite3.connect(queue_file)) as connection, connection:
        connection.execute("UPDATE workflow_status SET status = ? WHERE workflow_uuid = ?", (status, job_id))


def _status(queue: JobQueue, job_id: str) -> str | None:
    entry = queue.entries([job_id]).get(job_id)
    return entry.status if entry else None


def test_an_entry_is_added_once_and_holds_the_id_as_json(queue: JobQueue, queue_file: Path) -> None:
    before = time.time()
    assert queue.enqueue("job_1") is True
    assert queue.enqueue("job_1") is True
    assert queue.entries([]) == {}
    (entry,) = queue.entries(["job_1", "job_2"]).values()
    assert entry.status == "ENQUEUED"
    assert before - 2 < entry.changed_at < time.time() + 2
    with closing(sqlite3.connect(queue_file)) as connection:
        rows = connection.execute("SELECT * FROM workflow_status").fetchall()
        dump = "\n".join(connection.iterdump())
    assert len(rows) == 1
    assert '"positionalArgs":["job_1"]' in dump
    assert "pickle" not in dump


def test_a_queue_that_cannot_be_reached_loses_nothing(tmp_path: Path) -> None:
    queue = JobQueue("postgresql://postgres@127.0.0.1:1/none")
    assert queue.enqueue("job_1") is False
    with pytest.raises(UnavailableError, match="RMN_QUEUE_URL"):
        queue.open()
    queue.close()


@pytest.mark.parametrize("url", ["mariadb://root@127.0.0.1/test", "nonsense", ""])
def test_a_queue_in_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="RMN_QUEUE_URL"):
        JobQueue(url)


def test_a_sweep_adds_what_is_missing_and_leaves_what_waits(
    queue: JobQueue, runner: JobRunner, submit: Callable[[], Job]
) -> None:
    waiting, forgotten = submit(), submit()
    queue.enqueue(waiting.id)
    assert sweep(runner, queue) == [forgotten.id]
    assert _status(queue, forgotten.id) == "ENQUEUED"
    assert sweep(runner, queue) == []


@pytest.mark.parametrize(
    "status", ["PENDING", "SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
)
def test_a_sweep_makes_an_unfinished_job_wait_again_whose_entry_was_used_up(
    queue: JobQueue, queue_file: Path, runner: JobRunner, submit: Callable[[], Job], status: str
) -> None:
    job = submit()
    queue.enqueue(job.id)
    _set_status(queue_file, job.id, status)
    patient = replace(runner, pace=replace(runner.pace, grace_s=3600.0))
    assert sweep(patient, queue) == []
    assert sweep(runner, queue) == [job.id]
    assert _status(queue, job.id) == "ENQUEUED"


def test_a_sweep_leaves_a_job_alone_that_somebody_runs(
    queue: JobQueue, queue_file: Path, runner: JobRunner, submit: Callable[[], Job]
) -> None:
    job = submit()
    queue.enqueue(job.id)
    _set_status(queue_file, job.id, "PENDING")
    folder = JobFolder(runner.jobs_dir, job.id)
    with folder.locked():
        assert sweep(runner, queue) == []
    with runner.database.transaction() as s:
        running = jobs.claim(s, job.id, now=datetime.now(UTC))
    assert running is not None
    assert sweep(runner, queue) == []  # a living attempt of another machine
    folder.note_fence(running.fence)
    assert sweep(runner, queue) == [job.id]  # its attempt ran here, and no process of it is left


def test_a_sweep_forgets_jobs_that_have_ended(
    queue: JobQueue, runner: JobRunner, submit: Callable[[], Job]
) -> None:
    job = submit()
    assert runner.run(job.id) is Outcome.ENDED
    assert sweep(runner, queue) == []
    assert _status(queue, job.id) is None


@pytest.mark.parametrize("backend", ["postgresql"])
def test_entries_are_kept_on_postgresql_too(database: Database) -> None:
    name = f"rmn_queue_{secrets.token_hex(6)}"
    queue = JobQueue(f"{POSTGRESQL_URL.rpartition('/')[0]}/{name}")
    try:
        assert queue.enqueue("job_1") is True
        entry = queue.entries(["job_1"])["job_1"]
        assert entry.status == "ENQUEUED"
        queue.put_back("job_1", entry)
        assert list(queue.entries(["job_1"])) == ["job_1"]
    finally:
        queue.close()
        engine = open_engine(POSTGRESQL_URL).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        engine.dispose()
