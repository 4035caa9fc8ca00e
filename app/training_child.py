"""The process of one training job: `python -m app.training_child --job ID --fence FENCE`.

It ends with 0 when the job's row is final, with 75 when it was told to end and the job goes on in the next attempt,
with 76 when a newer attempt owns the job, and with 1 when it cannot even say why it failed.
"""

import os

# Before anything loads torch: two processes whose idle threads spin slow each other down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import argparse
import ctypes
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime

from core.errors import ConflictError
from core.jobs import service as jobs
from core.jobs.records import Job, JobError, JobState
from core.settings import Settings, load_settings
from core.storage.database import Database
from core.training.failures import explain
from core.training.progress import RunCancelledError, RunInterruptedError, Stop

DONE, CRASHED, INTERRUPTED, FENCED = 0, 1, 75, 76
PR_SET_PDEATHSIG = 1
PARENT_CHECK_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the arguments name. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="app.training_child", description=__doc__.splitlines()[0])
    parser.add_argument("--job", required=True, help="id of the job")
    parser.add_argument("--fence", required=True, help="fence of this attempt")
    named = parser.parse_args(arguments)
    die_with_parent()
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.request())
    signal.signal(signal.SIGINT, lambda *_: stop.request())
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    try:
        return run_job(database, settings, named.job, named.fence, stop)
    finally:
        database.close()


def run_job(database: Database, settings: Settings, job_id: str, fence: str, stop: Stop) -> int:
    """Run a claimed job and write how it ended."""
    with database.reading() as s:
        job = jobs.load_for_worker(s, job_id)
    if job.state is not JobState.RUNNING or job.fence != fence:
        return FENCED
    # It tells at import which of its kernels this machine has not; nobody who reads the log can act on that.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        from core.training.runner import run_training  # imports torch

        run_training(job, database=database, settings=settings, stop=stop, clock=utc_now)
    except RunInterruptedError:
        return INTERRUPTED
    except RunCancelledError:
        return _end(database, job, None)
    except ConflictError as error:
        sys.stderr.write(f"{error}\n")
        return FENCED
    except Exception as error:  # noqa: BLE001 - the edge of the process: the row must say why
        traceback.print_exc()
        return _end(database, job, explain(error))
    return DONE


def die_with_parent() -> None:
    """End at once when the worker dies: a job must never run twice. On Linux the kernel sees to it; a thread
    that asks for the parent's id covers the rest."""
    parent = int(os.environ.get("RMN_WORKER_PID") or os.getppid())
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True, name="parent-watch").start()


def utc_now() -> datetime:
    """The clock of this process."""
    return datetime.now(UTC)


def _end(database: Database, job: Job, error: JobError | None) -> int:
    try:
        with database.transaction() as s:
            if error is None:
                jobs.cancelled(s, job.id, job.fence, now=utc_now())
            else:
                jobs.fail(s, job.id, job.fence, error=error, now=utc_now())
    except ConflictError as conflict:
        sys.stderr.write(f"{conflict}\n")
        return FENCED
    return DONE


def _watch_parent(parent: int) -> None:
    # Checked at once: the worker may have died before this process could ask the kernel to watch it.
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
