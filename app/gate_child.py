"""The process of one gate job: `python -m app.gate_child --job ID --fence FENCE`."""

import os

# Before anything loads torch: two processes whose idle threads spin slow each other down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import logging
import sys
from collections.abc import Sequence

from app.job_child import child_main, run_claimed, utc_now
from core.jobs.records import Job
from core.settings import Settings
from core.storage.database import Database
from core.training.gate_failures import explain
from core.training.progress import Stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the arguments name. Returns the exit status."""
    return child_main("app.gate_child", __doc__ or "", run_job, arguments)


def run_job(database: Database, settings: Settings, job_id: str, fence: str, stop: Stop) -> int:
    """Run a claimed job and write how it ended."""

    def work(job: Job) -> None:
        # It tells at import which of its kernels this machine has not; nobody who reads the log can act on that.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from core.training.gate_runner import run_gate  # imports torch

        run_gate(job, database=database, settings=settings, stop=stop, clock=utc_now)

    return run_claimed(database, job_id, fence, work, explain)


if __name__ == "__main__":
    sys.exit(main())
