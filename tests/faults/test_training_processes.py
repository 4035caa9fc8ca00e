"""The real child process under the real worker: killed, cancelled, orphaned."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from app.worker import child_environment, run_job_here, training_command
from core.jobs import service as jobs
from core.jobs.attempts import Outcome, Pace
from core.jobs.records import Job, JobState
from core.registry import service as registry
from core.settings import Settings
from core.storage.database import Database
from core.tenants import service as tenants
from tests.core.training.tiny_base import make_tiny_base, register_small_set, small_spec, submit_run

pytestmark = pytest.mark.slow
PACE = Pace(watch_s=0.1, retry_s=0.05)
PATIENCE_S = 120.0


class Place:
    """A home with a tiny base, one tenant, and jobs long enough to be disturbed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.database = Database(settings.resolved_database_url)
        with self.database.transaction() as s:
            self.tenant_id = tenants.create_tenant(s, name="Alpha Stores", now=datetime.now(UTC)).id

    def submit(self, **overrides: object) -> str:
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            dataset = register_small_set(s, self.tenant_id, self.folder, now)
        spec = small_spec(dataset, **({"epochs": 40.0, "checkpoint_every": 5} | overrides))
        return submit_run(self.database, self.tenant_id, spec, self.settings, now).id

    def job(self, job_id: str) -> Job:
        with self.database.reading() as s:
            return jobs.get(s, self.tenant_id, job_id)

    def wait(self, what: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline, f"never {what}"
            time.sleep(0.05)

    def steps(self, job_id: str) -> list[int]:
        with self.database.reading() as s:
            return [p.step for p in jobs.points(s, self.tenant_id, job_id)]


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Iterator[Place]:
    base = make_tiny_base(tmp_path / "models")
    chosen = settings.model_copy(update={"base_model": str(base), "training_threads": 1, "device": "cpu"})
    place = Place(chosen, tmp_path)
    yield place
    place.database.close()


def children_of(job_id: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if job_id in (p.info["cmdline"] or [])]


def run_in_thread(place: Place, job_id: str) -> tuple[threading.Thread, list[Outcome]]:
    outcomes: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run_job_here(place.settings, job_id, pace=PACE)), daemon=True
    )
    thread.start()
    return thread, outcomes


def test_the_worker_heals_a_child_that_is_killed_and_cancels_the_next_one(place: Place) -> None:
    job_id = place.submit()
    thread, outcomes = run_in_thread(place, job_id)
    place.wait("step 12", lambda: place.job(job_id).step >= 12)
    (child,) = children_of(job_id)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 5
    child.kill()
    place.wait("second attempt", lambda: place.job(job_id).attempt == 2)
    place.wait("progress", lambda: place.job(job_id).step >= 30)
    steps = place.steps(job_id)
    assert steps == list(range(1, len(steps) + 1))
    with place.database.transaction() as s:
        jobs.request_cancel(s, place.tenant_id, job_id, now=datetime.now(UTC))
    thread.join(PATIENCE_S)
    assert outcomes == [Outcome.ENDED]
    assert place.job(job_id).state is JobState.CANCELLED
    assert children_of(job_id) == []
    with place.database.reading() as s:
        assert registry.list_adapters(s, place.tenant_id) == []


def test_a_child_whose_worker_is_killed_dies_with_it(place: Place) -> None:
    job_id = place.submit(epochs=100.0)
    with place.database.transaction() as s:
        job = jobs.claim(s, job_id, now=datetime.now(UTC))
    assert job is not None
    program = (
        "import os, subprocess, sys, time\n"
        "os.environ['RMN_WORKER_PID'] = str(os.getpid())\n"
        "subprocess.Popen(sys.argv[1:])\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, *training_command(job)],
        env=child_environment(place.settings),
        stderr=subprocess.DEVNULL,
    )
    try:
        place.wait("step 3", lambda: place.job(job_id).step >= 3)
        assert len(children_of(job_id)) == 2  # the stand-in for the worker names the job, too
        worker.kill()
        worker.wait()
        place.wait("dead", lambda: children_of(job_id) == [])
    finally:
        worker.kill()
        worker.wait()
