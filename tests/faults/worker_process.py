"""A real worker process for the fault tests, whose jobs are counting children and whose times are short."""

import json
import sys
from pathlib import Path

from app.worker import run_worker
from core.jobs.attempts import Pace
from core.jobs.records import Job
from core.settings import load_settings

CHILD = str(Path(__file__).with_name("counting_child.py"))
PACE = Pace(watch_s=0.05, heartbeat_s=0.5, terminate_s=8.0, retry_s=0.1, lease_s=4.0, grace_s=0.5)


def counting_command(job: Job) -> list[str]:
    return [sys.executable, CHILD, "--job", job.id, "--fence", job.fence]


if __name__ == "__main__":
    sys.exit(
        run_worker(
            load_settings(),
            command=counting_command,
            pace=PACE,
            sweep_every_s=0.3,
            **json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"),
        )
    )
