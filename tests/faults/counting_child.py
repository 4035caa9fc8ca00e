"""A small real job for the fault tests: counts to `spec["steps"]`, keeps its place in a file, reports each step.

`spec["ends"]` says how it misbehaves at `spec["at"]`: "kill" (kill -9 of itself), "exit" (status 3 and a last word),
"leave" (status 0 without an outcome), "ignore" (never listens to SIGTERM), "raise" (an outcome of its own: failed).
"""

import argparse
import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from core.jobs import service as jobs
from core.jobs.records import JobError, JobPoint
from core.settings import load_settings
from core.storage.database import Database
from core.storage.files import write_atomically


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job")
    parser.add_argument("--fence")
    named = parser.parse_args()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(os.environ["RMN_WORKER_PID"]):
        return 1
    settings = load_settings()
    folder = settings.jobs_dir / named.job
    with (folder / "alone").open("w") as alone, closing(Database(settings.resolved_database_url)) as database:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(folder, event="overlap")
        return count(database, folder, named.job, named.fence)


def count(database: Database, folder: Path, job_id: str, fence: str) -> int:
    with database.transaction() as s:
        spec = jobs.load_for_worker(s, job_id).spec
    stopped: list[int] = []
    listen = signal.SIG_IGN if spec.get("ends") == "ignore" else lambda number, _: stopped.append(number)
    signal.signal(signal.SIGTERM, listen)
    place = folder / "place"
    begin = int(place.read_text()) if place.exists() else 0
    surroundings = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    note(folder, event="start", pid=os.getpid(), begin=begin, nice=os.nice(0), **surroundings)
    for step in range(begin + 1, spec["steps"] + 1):
        time.sleep(spec.get("pause_s", 0.01))
        if stopped:
            note(folder, event="stopped", step=step)
            return 75
        now = datetime.now(UTC)
        with database.transaction() as s:
            point = JobPoint(step, now, loss=1 / step)
            total = spec["steps"]
            jobs.report(
                s,
                job_id,
                fence,
                stage="counting",
                step=step,
                total_steps=total,
                eta_s=1.0,
                point=point,
                now=now,
            )
        write_atomically(place, str(step).encode())
        if step == spec.get("at"):
            misbehave(spec["ends"], database, job_id, fence)
    with database.transaction() as s:
        jobs.succeed(s, job_id, fence, result={"counted": spec["steps"]}, now=datetime.now(UTC))
    note(folder, event="done", fence=fence)
    return 0


def misbehave(ends: str, database: Database, job_id: str, fence: str) -> None:
    if ends == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if ends == "exit":
        sys.exit("\x1b[31mthe disk is full\x1b[0m")
    if ends == "leave":
        sys.exit(0)
    if ends == "raise":
        with database.transaction() as s:
            error = JobError("No.", "Because.", "Go home.")
            jobs.fail(s, job_id, fence, error=error, now=datetime.now(UTC))
        sys.exit(0)


def note(folder: Path, **what: object) -> None:
    with (folder / "notes").open("a") as notes:
        notes.write(json.dumps(what) + "\n")


if __name__ == "__main__":
    sys.exit(main())
