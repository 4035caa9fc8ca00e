"""Real worker processes on the real queue: killed, stopped, doubled, and what becomes of the jobs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from app.worker import a_worker_runs, child_environment, run_worker
from core.errors import UnavailableError
from core.jobs import service as jobs
from core.jobs.queue import JobQueue
from core.jobs.records import Job, JobState
from core.settings import Settings
from core.storage.database import Database, open_engine
from core.tenants import service as tenants

PATIENCE_S = 120.0  # for what takes a second where nothing else computes
WORKER = str(Path(__file__).with_name("worker_process.py"))


class Site:
    """One installation: its database, its queue, its workers."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self.settings = settings
        self.database = Database(settings.resolved_database_url)
        self.queue = JobQueue(settings.resolved_queue_url)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.log = settings.home / "workers.log"
        with self.database.transaction() as s:
            self.tenant = tenants.create_tenant(s, name="Alpha Stores", now=now)

    def start_worker(self, **options: Any) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, WORKER, json.dumps(options)],
                stdout=log,
                stderr=log,
                env=child_environment(self.settings),
            )
        self.workers.append(worker)
        return worker

    def submit(self, *, enqueue: bool = True, **spec: Any) -> Job:
        with self.database.transaction() as s:
            job = jobs.submit(
                s,
                self.tenant.id,
                kind="count",
                name="count",
                spec=spec,
                submitted_by="ann",
                now=datetime.now(UTC),
            )
        if enqueue:
            assert self.queue.enqueue(job.id)
        return job

    def load(self, job: Job) -> Job:
        with self.database.reading() as s:
            return jobs.load_for_worker(s, job.id)

    def wait(self, job: Job, reached: Callable[[Job], bool], seconds: float = PATIENCE_S) -> Job:
        deadline = time.monotonic() + seconds
        while not reached(seen := self.load(job)):
            assert time.monotonic() < deadline, (seen, self.log.read_text()[-3000:])
            time.sleep(0.03)
        return seen

    def wait_for_end(self, job: Job, seconds: float = PATIENCE_S) -> Job:
        return self.wait(job, lambda seen: seen.state.final, seconds)

    def notes(self, job: Job) -> list[dict[str, Any]]:
        path = self.settings.jobs_dir / job.id / "notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self, job: Job) -> list[str]:
        return [str(note["event"]) for note in self.notes(job)]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.queue.close()
        self.database.close()


@pytest.fixture
def site(settings: Settings, now: datetime) -> Iterator[Site]:
    site = Site(settings, now)
    yield site
    site.close()


def test_a_worker_runs_what_was_queued_and_what_was_only_written_down(site: Site) -> None:
    queued = site.submit(steps=3)
    forgotten = site.submit(steps=3, enqueue=False)
    assert a_worker_runs(site.settings) is False
    worker = site.start_worker()
    for job in (queued, forgotten):
        done = site.wait_for_end(job)
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert a_worker_runs(site.settings) is True
    assert psutil.Process(worker.pid).net_connections(kind="inet") == []
    later = site.submit(steps=3)
    assert site.wait_for_end(later).state is JobState.SUCCEEDED
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    assert a_worker_runs(site.settings) is False
    written = site.log.read_text()
    assert "worker.ready" in written
    assert "Traceback" not in written
    assert "dbos" not in written.lower()


def test_a_worker_whose_queue_cannot_be_opened_says_so(settings: Settings) -> None:
    unreachable = settings.model_copy(update={"queue_url": "postgresql://postgres@127.0.0.1:1/none"})
    with pytest.raises(UnavailableError, match="queue"):
        run_worker(unreachable)


def test_a_job_goes_on_after_its_worker_was_killed(site: Site) -> None:
    job = site.submit(steps=60, pause_s=0.03)
    first = site.start_worker()
    site.wait(job, lambda seen: seen.step >= 5)
    child = int(site.notes(job)[0]["pid"])
    first.kill()
    first.wait()
    wait_until_gone(child)
    assert site.load(job).state is JobState.RUNNING
    assert "done" not in site.events(job)
    site.start_worker()
    done = site.wait_for_end(job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    assert site.events(job) == ["start", "start", "done"]
    assert site.notes(job)[1]["begin"] >= 4


def test_a_worker_that_is_told_to_stop_hands_its_job_over(site: Site) -> None:
    job = site.submit(steps=60, pause_s=0.03)
    first = site.start_worker()
    site.wait(job, lambda seen: seen.step >= 5)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE_S) == 0
    waiting = site.load(job)
    assert (waiting.state, waiting.stage) == (JobState.RUNNING, "waiting to go on")
    site.start_worker()
    assert site.wait_for_end(job).state is JobState.SUCCEEDED
    assert site.events(job) == ["start", "stopped", "start", "done"]


def test_a_worker_stops_though_another_one_has_taken_its_entry_over(site: Site) -> None:
    """As after a machine stood still: the entry waits again, or is another worker's, while the job runs here."""
    job = site.submit(steps=2000, pause_s=0.03)
    worker = site.start_worker()
    site.wait(job, lambda seen: seen.step >= 5)
    site.queue.put_back(job.id, site.queue.entries([job.id])[job.id])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    assert site.load(job).stage == "waiting to go on"
    written = site.log.read_text()
    assert "Traceback" not in written
    assert "dbos" not in written.lower()


def test_two_workers_share_the_jobs_and_run_each_once(site: Site) -> None:
    queued = [site.submit(steps=12, pause_s=0.03, enqueue=number % 2 == 0) for number in range(5)]
    for _ in range(2):
        site.start_worker(jobs_at_once=2)
    for job in queued:
        done = site.wait_for_end(job, PATIENCE_S)
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
        assert site.events(job) == ["start", "done"]


def test_a_cancel_reaches_a_job_of_another_process(site: Site) -> None:
    job = site.submit(steps=2000, pause_s=0.05)
    site.start_worker()
    site.wait(job, lambda seen: seen.step >= 1)
    with site.database.transaction() as s:
        jobs.request_cancel(s, site.tenant.id, job.id, now=datetime.now(UTC))
    assert site.wait_for_end(job).state is JobState.CANCELLED
    assert site.events(job)[-1] == "stopped"
    next_one = site.submit(steps=1)
    assert site.wait_for_end(next_one).state is JobState.SUCCEEDED


def test_a_job_survives_kills_of_child_and_worker_at_random_moments(site: Site) -> None:
    chance = random.Random(7)
    job = site.submit(steps=100, pause_s=0.02)
    worker = site.start_worker()
    for killing in ("child", "worker", "child"):
        before = site.load(job).step
        reach = before + chance.randint(3, 15)
        site.wait(job, lambda seen, reach=reach: seen.step >= reach or seen.state.final)
        if killing == "child":
            kill_quietly(int(site.notes(job)[-1]["pid"]))
        else:
            worker.kill()
            worker.wait()
            worker = site.start_worker()
    done = site.wait_for_end(job, PATIENCE_S)
    assert (done.state, done.result) == (JobState.SUCCEEDED, {"counted": 100})
    events = site.events(job)
    assert events.count("done") == 1
    assert "overlap" not in events
    with site.database.reading() as s:
        assert [point.step for point in jobs.points(s, site.tenant.id, job.id)] == list(range(1, 101))


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_worker_serves_a_team_database_with_the_queue_on_postgresql(
    backend: str, database: Database, tmp_path: Path, now: datetime
) -> None:
    queue_url = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
    name = f"rmn_queue_{os.getpid()}_{backend}"
    settings = Settings(
        home=tmp_path / "home",
        database_url=database.engine.url.render_as_string(hide_password=False),
        queue_url=f"{queue_url.rpartition('/')[0]}/{name}",
    )
    settings.home.mkdir()
    site = Site(settings, now)
    try:
        queued = site.submit(steps=3)
        forgotten = site.submit(steps=3, enqueue=False)
        worker = site.start_worker()
        assert site.wait_for_end(queued).state is JobState.SUCCEEDED
        assert site.wait_for_end(forgotten).state is JobState.SUCCEEDED
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
    finally:
        site.close()
        engine = open_engine(queue_url).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        engine.dispose()


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
