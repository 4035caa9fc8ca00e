"""A job, its states, and the points of its curves.

    QUEUED ──claim──▶ RUNNING ──▶ SUCCEEDED
       │                 │  ├───▶ FAILED
       │                 │  └──────▶ CANCELLED     (cancel_requested seen by the run)
       │                 └─ the process died ─▶ claimed again by the next attempt, still RUNNING
       └──cancel──▶ CANCELLED

SUCCEEDED, FAILED and CANCELLED are final.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.errors import IllegalTransitionError


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


_NEXT = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED, JobState.FAILED},
    JobState.RUNNING: {JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
}


def check_transition(current: JobState, following: JobState) -> None:
    """Raise IllegalTransitionError unless `following` may come after `current`."""
    if following not in _NEXT.get(current, set()):
        raise IllegalTransitionError(
            f"This job is {current}; it cannot become {following}.",
            "A job that has ended stays as it ended." if current.final else "",
            "Reload to see how it stands, or submit a new job.",
        )


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in words for the person who asked for it."""

    what: str
    why: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of long work. `fence` names the attempt that may write; an older one is refused."""

    id: str
    tenant_id: str
    kind: str
    name: str
    state: JobState
    spec: dict[str, Any]
    stage: str
    step: int
    total_steps: int
    eta_s: float | None
    attempt: int
    fence: str
    cancel_requested: bool
    submitted_by: str
    result: dict[str, Any] | None
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None

    @property
    def progress(self) -> float:
        """Share of the steps that are done, 0 to 1."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0


@dataclass(frozen=True, slots=True)
class JobPoint:
    """One reading of a training curve, at an optimizer step."""

    step: int
    at: datetime
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
