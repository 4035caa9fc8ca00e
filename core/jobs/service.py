"""The verbs of jobs. No function commits; time is an argument.

What a run writes is guarded by its fence: once a newer attempt has claimed the job, or the job has ended,
every write of the older one raises ConflictError and changes nothing.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.jobs import store
from core.jobs.records import Job, JobError, JobPoint, JobState, check_transition
from core.storage.ids import new_id
from core.storage.text import storable_document

NAME_LETTERS = 200
KIND_LETTERS = 32
STAGE_LETTERS = 64
UNFINISHED = (JobState.QUEUED, JobState.RUNNING)
CAME_TO_NOTHING = (JobState.FAILED, JobState.CANCELLED)
_CURVES = tuple(field.name for field in fields(JobPoint) if field.name not in ("step", "at"))


def submit(
    s: Session,
    tenant_id: str,
    *,
    kind: str,
    name: str,
    spec: Mapping[str, Any],
    submitted_by: str,
    now: datetime,
) -> Job:
    """Write the row of a new job. Once this is committed the job will run, even if nothing else happens."""
    job = _new_job(tenant_id, kind, name, spec, submitted_by, now)
    store.insert_job(s, job)
    return job


def submit_once(
    s: Session,
    tenant_id: str,
    *,
    submission: str,
    kind: str,
    name: str,
    spec: Mapping[str, Any],
    submitted_by: str,
    now: datetime,
) -> tuple[Job, bool]:
    """As `submit`, for what can be sent twice: a double click, two tabs, a retry. True: the job is a new one.

    `submission` is a digest of what was sent. Sent again, the first job is answered, however far it is; after one
    that failed or was cancelled a new one is written.
    """
    job = _new_job(tenant_id, kind, name, spec, submitted_by, now)
    former = store.job_by_submission(s, tenant_id, submission)
    if former is not None and former.state in CAME_TO_NOTHING:
        store.forget_submission(s, former.id)
    elif former is not None:
        return former, False
    if store.insert_once(s, job, submission):
        return job, True
    return _found(store.job_by_submission(s, tenant_id, submission)), False


def find_submitted(s: Session, tenant_id: str, submission: str) -> Job | None:
    """The job that a submission has become; None where there is none, or where it came to nothing."""
    job = store.job_by_submission(s, tenant_id, submission)
    return None if job is None or job.state in CAME_TO_NOTHING else job


def _new_job(
    tenant_id: str, kind: str, name: str, spec: Mapping[str, Any], submitted_by: str, now: datetime
) -> Job:
    if not 1 <= len(kind) <= KIND_LETTERS or not 1 <= len(name.strip()) <= NAME_LETTERS:
        raise InvalidInputError(
            "This job cannot be submitted.",
            f"A job has a kind and a name; a name has 1 to {NAME_LETTERS} characters.",
            "Choose another name.",
        )
    return Job(
        id=new_id("job"),
        tenant_id=tenant_id,
        kind=kind,
        name=name.strip(),
        state=JobState.QUEUED,
        spec=storable_document(spec),
        stage="queued",
        step=0,
        total_steps=0,
        eta_s=None,
        attempt=0,
        fence="",
        cancel_requested=False,
        submitted_by=submitted_by[:NAME_LETTERS],
        result=None,
        error=None,
        created_at=now,
        started_at=None,
        heartbeat_at=None,
        finished_at=None,
    )


def get(s: Session, tenant_id: str, job_id: str) -> Job:
    """Raises NotFoundError, also for a job of another tenant."""
    return _found(store.job_by_id(s, tenant_id, job_id))


def list_jobs(
    s: Session,
    tenant_id: str,
    *,
    kind: str | None = None,
    states: Collection[JobState] | None = None,
    limit: int = 100,
) -> list[Job]:
    """Newest first."""
    return store.jobs(s, tenant_id, kind, states, limit)


def points(s: Session, tenant_id: str, job_id: str) -> list[JobPoint]:
    """The curve of a job, by step. Raises NotFoundError."""
    return store.points(s, get(s, tenant_id, job_id).id)


def request_cancel(s: Session, tenant_id: str, job_id: str, *, now: datetime) -> Job:
    """End a queued job at once; ask a running one to stop. Cancelling twice changes nothing.

    Raises IllegalTransitionError for a job that has succeeded or failed.
    """
    if not store.cancel_queued(s, tenant_id, job_id, now) and not store.flag_running(s, tenant_id, job_id):
        job = get(s, tenant_id, job_id)
        if job.state is not JobState.CANCELLED:
            check_transition(job.state, JobState.CANCELLED)
        return job
    return get(s, tenant_id, job_id)


def claim(
    s: Session,
    job_id: str,
    *,
    now: datetime,
    lapsed_before: datetime | None = None,
    gone_fence: str | None = None,
) -> Job | None:
    """Start an attempt: a new fence, one more on the count. None when the job has ended.

    A job that is running already is taken away from its attempt. With `lapsed_before` only if that attempt handed
    it back, has given no sign of life since that moment, or has the fence `gone_fence`, of which the caller knows
    that its process is gone; else None. Raises NotFoundError.
    """
    fence = new_id("fence")
    if not store.claim(s, job_id, fence, now, lapsed_before=lapsed_before, gone_fence=gone_fence):
        load_for_worker(s, job_id)
        return None
    return load_for_worker(s, job_id)


def report(
    s: Session,
    job_id: str,
    fence: str,
    *,
    stage: str,
    step: int,
    total_steps: int,
    eta_s: float | None,
    point: JobPoint | None,
    now: datetime,
) -> bool:
    """Say how far an attempt is, and that it lives. False: stop, somebody has asked to cancel.

    Raises ConflictError when this attempt may no longer write.
    """
    eta = eta_s if eta_s is not None and math.isfinite(eta_s) else None
    kept = store.change_running(
        s,
        job_id,
        fence,
        stage=stage[:STAGE_LETTERS],
        step=step,
        total_steps=total_steps,
        eta_s=eta,
        heartbeat_at=now,
    )
    if not kept:
        raise _fenced(s, job_id)
    if point is not None:
        store.put_point(s, job_id, point, {name: _finite(getattr(point, name)) for name in _CURVES})
    return not load_for_worker(s, job_id).cancel_requested


def heartbeat(s: Session, job_id: str, fence: str, *, now: datetime) -> bool:
    """Say that an attempt lives. Answers and raises as `report` does."""
    if not store.change_running(s, job_id, fence, heartbeat_at=now):
        raise _fenced(s, job_id)
    return not load_for_worker(s, job_id).cancel_requested


def succeed(s: Session, job_id: str, fence: str, *, result: Mapping[str, Any], now: datetime) -> Job:
    """The job is done. Raises ConflictError when this attempt may no longer write."""
    return _end(s, job_id, fence, JobState.SUCCEEDED, now=now, result=storable_document(result))


def fail(s: Session, job_id: str, fence: str, *, error: JobError, now: datetime) -> Job:
    """The job cannot be done. Raises ConflictError as `succeed` does."""
    return _end(s, job_id, fence, JobState.FAILED, now=now, error=error)


def cancelled(s: Session, job_id: str, fence: str, *, now: datetime) -> Job:
    """The job has stopped because somebody asked. Raises ConflictError as `succeed` does."""
    return _end(s, job_id, fence, JobState.CANCELLED, now=now)


def count_death(s: Session, job_id: str, fence: str) -> int:
    """Note that an attempt died without a word; returns how many in a row have died and got no further.

    An attempt that got further than the one that died before starts the count anew. So a long job survives
    any number of accidents, and one that dies at the same step again and again does not run for ever. Raises
    ConflictError as `succeed` does.
    """
    deaths = store.count_death(s, job_id, fence)
    if deaths is None:
        raise _fenced(s, job_id)
    return deaths


def hand_back(s: Session, job_id: str, fence: str) -> None:
    """Leave a running job to the next attempt, which need not wait for signs of life to lapse."""
    if not store.change_running(s, job_id, fence, stage="waiting to go on", eta_s=None, heartbeat_at=None):
        raise _fenced(s, job_id)


def unfinished(s: Session) -> list[Job]:
    """Queued and running jobs of all tenants, oldest first. For the worker alone."""
    return store.jobs_in(s, UNFINISHED)


def load_for_worker(s: Session, job_id: str) -> Job:
    """A job of any tenant. For the worker and its child alone. Raises NotFoundError."""
    return _found(store.job_of_any_tenant(s, job_id))


def _end(
    s: Session,
    job_id: str,
    fence: str,
    state: JobState,
    *,
    now: datetime,
    result: dict[str, Any] | None = None,
    error: JobError | None = None,
) -> Job:
    if not store.end(s, job_id, fence, state, now=now, result=result, error=error):
        raise _fenced(s, job_id)
    return load_for_worker(s, job_id)


def _fenced(s: Session, job_id: str) -> ConflictError:
    job = load_for_worker(s, job_id)
    why = (
        f"The job is {job.state} already."
        if job.state.final
        else f"Attempt {job.attempt} has taken the job over, or it was never started."
    )
    return ConflictError("This attempt was fenced off: it may not write any more.", why, "It must stop.")


def _found(job: Job | None) -> Job:
    if job is None:
        raise NotFoundError("There is no such job in this workspace.")
    return job


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
