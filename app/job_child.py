"""What the child process of every job does: die with its worker, obey its fence, and say how the job ended.

It ends with 0 when the job's row is final, with 75 when it was told to end and the job goes on in the next attempt,
with 76 when a newer attempt owns the job, and with 1 when it cannot even say why it failed.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core.errors import ConflictError
from core.jobs import service as jobs
from core.jobs.records import Job, JobError, JobState
from core.settings import Settings, load_settings
from core.storage.database import Database
from core.training.progress import RunCancelledError, RunInterruptedError, Stop

DONE, CRASHED, INTERRUPTED, FENCED = 0, 1, 75, 76
PR_SET_PDEATHSIG = 1
PARENT_CHECK_S = 1.0

RunJob = Callable[[Database, Settings, str, str, Stop], int]


def child_main(program: str, description: str, run_job: RunJob, arguments: Sequence[str] | None) -> int:
    """Run the job that the arguments name. Returns the exit status."""
    parser = argparse.ArgumentParser(prog=program, description=description)
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


def run_claimed(
    database: Database,
    job_id: str,
    fence: str,
    work: Callable[[Job], None],
    explain: Callable[[BaseException], JobError],
) -> int:
    """Do the work of a claimed job, which writes its own success, and write any other end. The exit status."""
    with database.reading() as s:
        job = jobs.load_for_worker(s, job_id)
    if job.state is not JobState.RUNNING or job.fence != fence:
        return FENCED
    try:
        work(job)
    except RunInterruptedError:
        return INTERRUPTED
    except RunCancelledError:
        return end_job(database, job, None)
    except ConflictError as error:
        sys.stderr.write(f"{error}\n")
        return FENCED
    except Exception as error:  # noqa: BLE001 - the edge of the process: the row must say why
        traceback.print_exc()
        return end_job(database, job, explain(error))
    return DONE


def end_job(database: Database, job: Job, error: JobError | None) -> int:
    """Write that a job failed, or that it was cancelled where there is no error. The exit status."""
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


def die_with_parent() -> None:
    """End at once when the worker dies: a job must never run twice. On Linux the kernel sees to it; a thread
    that asks for the parent's id covers the rest."""
    parent = int(os.environ.get("RMN_WORKER_PID") or os.getppid())
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The worker may have died before this process could ask the kernel to watch it; then no signal ever comes.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True, name="parent-watch").start()


def utc_now() -> datetime:
    """The clock of this process."""
    return datetime.now(UTC)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.kill(os.getpid(), signal.SIGKILL)
