"""How the machine, the engine and the jobs are: read from the device itself, never guessed."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psutil
from sqlalchemy.orm import Session

from core.analytics.health_records import ActiveJob, EngineHealth, MachineHealth
from core.analytics.nvml import read_gpus
from core.engine.records import EngineStatus
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.jobs.service import UNFINISHED

LEAST_WINDOW_S = 1.0
MOST_JOBS = 1000


class MachineGauge:
    """This machine. Remembers the processor times of the look before. Safe from any thread."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._before: tuple[float, float] | None = None
        self._share: float | None = None

    def read(self) -> MachineHealth:
        """How it is now."""
        memory = psutil.virtual_memory()
        disk = shutil.disk_usage(_folder_that_is_there(self._home))
        gpus, note = read_gpus()
        return MachineHealth(
            cores=os.cpu_count() or 1,
            cpu_share=self._cpu_share(),
            load=_load(),
            memory_used_bytes=int(memory.total - memory.available),
            memory_total_bytes=int(memory.total),
            process_bytes=int(self._process.memory_info().rss),
            disk_used_bytes=disk.used,
            disk_total_bytes=disk.total,
            gpus=gpus,
            gpu_note=note,
        )

    def _cpu_share(self) -> float | None:
        times = psutil.cpu_times()
        total = float(sum(times[:8]))  # what follows (guest) is counted in user already
        busy = total - float(times.idle) - float(getattr(times, "iowait", 0.0))
        with self._lock:
            before = self._before
            if before is None:
                self._before = (busy, total)
            elif total - before[1] >= LEAST_WINDOW_S:
                self._share = min(1.0, max(0.0, (busy - before[0]) / (total - before[1])))
                self._before = (busy, total)
            return self._share


class EngineGauge:
    """The engine of this process. Tell it of tokens as they are generated. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = 0
        self._before: tuple[float, int, int] | None = None
        self._rates: tuple[float, float, float] | None = None

    def add_tokens(self, tokens: int) -> None:
        """An answer of so many tokens was given."""
        with self._lock:
            self._tokens += tokens

    def read(self, status: EngineStatus) -> EngineHealth:
        """How it is now; rates are over the time since the look before, a second at least."""
        rates = self._rated(status.answered)
        return EngineHealth(
            ready=status.ready,
            note="" if status.ready else "The engine takes no requests.",
            device=status.device,
            base_name=status.base_name,
            running=status.running_rows,
            waiting=status.waiting_rows,
            answered=status.answered,
            adapters_in_memory=status.adapters_resident,
            memory_bytes=status.base_bytes + status.adapter_bytes + status.kv_bytes + status.prefix.bytes,
            answers_per_s=None if rates is None else rates[0],
            tokens_per_s=None if rates is None else rates[1],
            window_s=None if rates is None else rates[2],
        )

    def _rated(self, answered: int) -> tuple[float, float, float] | None:
        now = self._clock()
        with self._lock:
            before = self._before
            if before is None or answered < before[1]:  # an engine that was opened anew counts anew
                self._before, self._rates = (now, answered, self._tokens), None
            elif now - before[0] >= LEAST_WINDOW_S:
                window = now - before[0]
                self._rates = (
                    (answered - before[1]) / window,
                    (self._tokens - before[2]) / window,
                    window,
                )
                self._before = (now, answered, self._tokens)
            return self._rates


def no_engine(note: str) -> EngineHealth:
    """Where nothing can be asked, and why."""
    return EngineHealth(False, note)


def active_jobs(s: Session, tenant_id: str, *, now: datetime) -> tuple[ActiveJob, ...]:
    """Queued and running jobs of one tenant, newest first."""
    return tuple(
        active_job(job, now) for job in jobs.list_jobs(s, tenant_id, states=UNFINISHED, limit=MOST_JOBS)
    )


def active_job(job: Job, now: datetime) -> ActiveJob:
    """One of them, with the seconds since it was last heard of."""
    heard = last_sign_of(job)
    silent = None if job.state is JobState.QUEUED else max(0.0, (now - heard).total_seconds())
    return ActiveJob(job.id, job.name, job.kind, job.state, job.progress, job.eta_s, silent)


def last_sign_of(job: Job) -> datetime:
    """When a job last gave a sign of life; before it has begun, when it was submitted."""
    return job.heartbeat_at or job.started_at or job.created_at


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _folder_that_is_there(home: Path) -> Path:
    return next((folder for folder in (home, *home.absolute().parents) if folder.is_dir()), Path("/"))
