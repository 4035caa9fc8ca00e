"""How the machine, the engine and the jobs are, as values."""

from dataclasses import dataclass
from datetime import datetime

from core.jobs.records import JobState


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """One GPU, as NVML tells. Shares are 0 to 1; bytes; °C; watts. None: this GPU does not tell."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    utilisation: float | None
    temperature_c: int | None
    power_w: float | None


@dataclass(frozen=True, slots=True)
class MachineHealth:
    """This machine. `gpu_note` says in words why there are no GPUs in the list; empty where there are.

    `cpu_share` is that of all cores since the last look, None at the first; `load` the mean of the last minute.
    """

    cores: int
    cpu_share: float | None
    load: float | None
    memory_used_bytes: int
    memory_total_bytes: int
    process_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int
    gpus: tuple[GpuHealth, ...]
    gpu_note: str

    @property
    def memory_share(self) -> float:
        """Of the machine's memory, what cannot be given to anybody."""
        return self.memory_used_bytes / self.memory_total_bytes if self.memory_total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """The engine of this process. Rates are since the look before, over `window_s`; None at the first look.

    `note` says why nothing is known: no engine is open yet, or it cannot be asked. Then all numbers are 0.
    """

    ready: bool
    note: str
    device: str = ""
    base_name: str = ""
    running: int = 0
    waiting: int = 0
    answered: int = 0
    adapters_in_memory: int = 0
    memory_bytes: int = 0
    answers_per_s: float | None = None
    tokens_per_s: float | None = None
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class ActiveJob:
    """A job of the workspace that is queued or runs. `silent_s`: seconds since its last sign of life."""

    id: str
    name: str
    kind: str
    state: JobState
    progress: float
    eta_s: float | None
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class SystemHealth:
    """How everything is at a moment. `machine` and `engine` are None for whoever may not see them; `hidden` says so."""

    at: datetime
    machine: MachineHealth | None
    engine: EngineHealth | None
    jobs: tuple[ActiveJob, ...]
    hidden: str = ""
