"""The worker: takes jobs from the durable queue and runs each in a child process of its own.

SIGTERM or Ctrl-C ends the children and leaves their jobs to the next worker, which goes on where they were; a second
signal does so without patience. A worker that is killed outright leaves nothing that the next one does not mend.
"""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import structlog

from core.errors import UnavailableError
from core.jobs.attempts import JobRunner, Outcome, Pace
from core.jobs.queue import JobQueue, work
from core.jobs.records import Job
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.migrate import is_current
from core.tenants import service as tenants

SWEEP_EVERY_S = 5.0
CREDENTIALS_KEPT = timedelta(days=30)
HARMONIZE = "harmonize"
GATE = "gate"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = structlog.get_logger(__name__)
Command = Callable[[Job], Sequence[str]]


def job_command(job: Job) -> list[str]:
    """The child process that runs a job of any kind."""
    commands = {HARMONIZE: harmonize_command, GATE: gate_command}
    return commands.get(job.kind, training_command)(job)


def training_command(job: Job) -> list[str]:
    """The child process that trains."""
    return [sys.executable, "-m", "app.training_child", "--job", job.id, "--fence", job.fence]


def harmonize_command(job: Job) -> list[str]:
    """The child process that harmonizes. It never loads torch."""
    return [sys.executable, "-m", "app.harmonize_child", "--job", job.id, "--fence", job.fence]


def gate_command(job: Job) -> list[str]:
    """The child process that trains a gate and judges it."""
    return [sys.executable, "-m", "app.gate_child", "--job", job.id, "--fence", job.fence]


def run_worker(
    settings: Settings,
    *,
    jobs_at_once: int | None = None,
    command: Command = job_command,
    pace: Pace | None = None,
    sweep_every_s: float = SWEEP_EVERY_S,
) -> int:
    """Work until a signal says stop. Returns the exit status. `jobs_at_once`: as the settings say if left out.

    Raises UnavailableError where the database has not been set up for this version.
    """
    at_once = jobs_at_once or settings.jobs_at_once
    with _opened_runner(settings, command, pace) as runner:
        with runner.database.transaction() as s:
            tenants.forget_spent_credentials(s, before=utc_now() - CREDENTIALS_KEPT)
        queue = JobQueue(settings.resolved_queue_url)
        try:
            with _presence(settings), _signals_stop(runner):
                work(
                    runner,
                    queue,
                    jobs_at_once=at_once,
                    sweep_every_s=sweep_every_s,
                    ready=lambda: _log.info("worker.ready", pid=os.getpid(), jobs_at_once=at_once),
                )
        finally:
            queue.close()
    _log.info("worker.stopped", pid=os.getpid())
    return 0


def run_job_here(
    settings: Settings,
    job_id: str,
    *,
    command: Command = job_command,
    pace: Pace | None = None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run one job to its end without queue or worker, as a worker would: for `train --wait` where none runs.

    HELD: another process has the job after all. Setting `stop` ends the child and leaves the job to go on later.
    """
    with _opened_runner(settings, command, pace, stop) as runner:
        return runner.run(job_id)


def a_worker_runs(settings: Settings) -> bool:
    """Whether a worker of this home folder is alive. One on another machine is not seen."""
    path = settings.home / "worker.lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child needs to see the same settings, whatever folder or file they came from."""
    chosen = {
        f"RMN_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.model_dump().items()
    }
    python_path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        **chosen,
        "RMN_HOME": str(settings.home.absolute()),
        "PYTHONPATH": python_path,
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(settings.effective_training_threads),
        "TOKENIZERS_PARALLELISM": "false",
    }


def utc_now() -> datetime:
    """The clock of this process."""
    return datetime.now(UTC)


@contextmanager
def _opened_runner(
    settings: Settings, command: Command, pace: Pace | None, stop: threading.Event | None = None
) -> Iterator[JobRunner]:
    if not is_current(settings.resolved_database_url):
        raise UnavailableError(
            "The database is not ready for this version.",
            "It has not been set up, or belongs to another version of the product.",
            "Run: python -m app db upgrade",
        )
    database = Database(settings.resolved_database_url)
    try:
        yield JobRunner(
            database=database,
            jobs_dir=settings.jobs_dir.absolute(),
            command=command,
            environment=child_environment(settings),
            clock=utc_now,
            pace=pace or Pace(),
            stop=stop or threading.Event(),
        )
    finally:
        database.close()


@contextmanager
def _presence(settings: Settings) -> Iterator[None]:
    """Let `a_worker_runs` see this process. Any number of workers may share the lock; the kernel takes it back."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "worker.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def _signals_stop(runner: JobRunner) -> Iterator[None]:
    """The first signal stops the runner, the second hurries it."""
    # A handler may interrupt this thread while it holds an event's lock, so it only writes into a pipe.
    heard, tell = os.pipe()
    os.set_blocking(tell, False)

    def listen() -> None:
        for event in (runner.stop, runner.hurry):
            if not os.read(heard, 1).strip():
                return
            _log.info("worker.stopping", hurry=event is runner.hurry)
            event.set()

    def handle(*_: object) -> None:
        with suppress(BlockingIOError):
            os.write(tell, b"s")

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(tell, b" ")
        listener.join(1.0)
        os.close(heard)
        os.close(tell)
