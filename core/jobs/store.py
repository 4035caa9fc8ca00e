"""All SQL of jobs. Every change of a running job names the fence of the attempt that makes it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.jobs.records import Job, JobError, JobPoint, JobState
from core.storage.tables import JobPointRow, JobRow


def insert_once(s: Session, job: Job, submission: str) -> bool:
    """False when this submission is a job already, perhaps one that somebody wrote a moment ago."""
    try:
        with s.begin_nested():
            insert_job(s, job, submission)
    except DuplicateRowError:
        if job_by_submission(s, job.tenant_id, submission) is None:
            raise
        return False
    return True


def insert_job(s: Session, job: Job, submission: str | None = None) -> None:
    s.execute(
        insert(JobRow).values(
            id=job.id,
            tenant_id=job.tenant_id,
            kind=job.kind,
            name=job.name,
            state=job.state.value,
            spec=job.spec,
            stage=job.stage,
            step=job.step,
            total_steps=job.total_steps,
            attempt=job.attempt,
            deaths=0,
            died_at_step=0,
            fence=job.fence,
            cancel_requested=job.cancel_requested,
            submitted_by=job.submitted_by,
            submission=submission,
            created_at=job.created_at,
        )
    )


def job_by_id(s: Session, tenant_id: str, job_id: str) -> Job | None:
    return _first(s, select(JobRow).where(JobRow.tenant_id == tenant_id, JobRow.id == job_id))


def job_by_submission(s: Session, tenant_id: str, submission: str) -> Job | None:
    """The job that a submission has become."""
    return _first(s, select(JobRow).where(JobRow.tenant_id == tenant_id, JobRow.submission == submission))


def forget_submission(s: Session, job_id: str) -> None:
    """From now on the same may be submitted again."""
    _changed(s, update(JobRow).where(JobRow.id == job_id).values(submission=None))


def job_of_any_tenant(s: Session, job_id: str) -> Job | None:
    """For the worker alone, which runs the jobs of all."""
    return _first(s, select(JobRow).where(JobRow.id == job_id))


def jobs(
    s: Session, tenant_id: str, kind: str | None, states: Collection[JobState] | None, limit: int
) -> list[Job]:
    """Newest first."""
    statement = select(JobRow).where(JobRow.tenant_id == tenant_id)
    if kind is not None:
        statement = statement.where(JobRow.kind == kind)
    if states is not None:
        statement = statement.where(JobRow.state.in_([state.value for state in states]))
    return [
        _job(row)
        for row in _fresh(s, statement.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit))
    ]


def jobs_in(s: Session, states: Collection[JobState]) -> list[Job]:
    """Jobs of all tenants in these states, oldest first."""
    statement = select(JobRow).where(JobRow.state.in_([state.value for state in states]))
    return [_job(row) for row in _fresh(s, statement.order_by(JobRow.created_at, JobRow.id))]


def cancel_queued(s: Session, tenant_id: str, job_id: str, now: datetime) -> bool:
    """End a job that nobody has claimed; False when it is not queued (any more)."""
    _lock(s, job_id)
    return _changed(
        s,
        update(JobRow)
        .where(JobRow.tenant_id == tenant_id, JobRow.id == job_id, JobRow.state == JobState.QUEUED.value)
        .values(state=JobState.CANCELLED.value, stage="cancelled", cancel_requested=True, finished_at=now),
    )


def flag_running(s: Session, tenant_id: str, job_id: str) -> bool:
    """Ask a running job to stop; False when it is not running (any more)."""
    return _changed(
        s,
        update(JobRow)
        .where(JobRow.tenant_id == tenant_id, JobRow.id == job_id, JobRow.state == JobState.RUNNING.value)
        .values(cancel_requested=True),
    )


def claim(
    s: Session,
    job_id: str,
    fence: str,
    now: datetime,
    *,
    lapsed_before: datetime | None,
    gone_fence: str | None,
) -> bool:
    """Make `fence` the one that may write; False when the job has ended or a living attempt holds it."""
    _lock(s, job_id)
    running = JobRow.state == JobState.RUNNING.value
    if lapsed_before is not None:
        gone = or_(
            JobRow.heartbeat_at.is_(None),
            JobRow.heartbeat_at < lapsed_before,
            JobRow.fence == (gone_fence or ""),
        )
        running = and_(running, gone)
    return _changed(
        s,
        update(JobRow)
        .where(JobRow.id == job_id, or_(JobRow.state == JobState.QUEUED.value, running))
        .values(
            state=JobState.RUNNING.value,
            stage="starting",
            eta_s=None,
            fence=fence,
            attempt=JobRow.attempt + 1,
            started_at=case((JobRow.started_at.is_(None), now), else_=JobRow.started_at),
            heartbeat_at=now,
        ),
    )


def change_running(s: Session, job_id: str, fence: str, **changes: Any) -> bool:
    """Set columns of a running job; False when `fence` is not (any longer) the one that may write."""
    return _changed(
        s,
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.fence == fence, JobRow.state == JobState.RUNNING.value)
        .values(**changes),
    )


def end(
    s: Session,
    job_id: str,
    fence: str,
    state: JobState,
    *,
    now: datetime,
    result: dict[str, Any] | None = None,
    error: JobError | None = None,
) -> bool:
    """Write a final state; False when `fence` is not (any longer) the one that may write."""
    return change_running(
        s,
        job_id,
        fence,
        state=state.value,
        stage=state.value,
        eta_s=None,
        result=result,
        error_what=error.what if error else None,
        error_why=error.why if error else None,
        error_next=error.next_step if error else None,
        heartbeat_at=now,
        finished_at=now,
    )


def count_death(s: Session, job_id: str, fence: str) -> int | None:
    """Note a death, and return how many in a row got no further; None when `fence` may not write."""
    further = JobRow.step > JobRow.died_at_step
    # MariaDB and MySQL assign from left to right: the count must come before the step that it compares with.
    statement = (
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.fence == fence, JobRow.state == JobState.RUNNING.value)
        .ordered_values(
            (JobRow.deaths, case((further, 1), else_=JobRow.deaths + 1)),
            (JobRow.died_at_step, case((further, JobRow.step), else_=JobRow.died_at_step)),
        )
    )
    if not _changed(s, statement):
        return None
    return s.scalar(select(JobRow.deaths).where(JobRow.id == job_id))


def put_point(s: Session, job_id: str, point: JobPoint, values: dict[str, float | None]) -> None:
    """Write a point over the one that a former attempt left at this step. The job's row is locked."""
    here = update(JobPointRow).where(JobPointRow.job_id == job_id, JobPointRow.step == point.step)
    if not _changed(s, here.values(at=point.at, **values)):
        s.execute(insert(JobPointRow).values(job_id=job_id, step=point.step, at=point.at, **values))


def points(s: Session, job_id: str) -> list[JobPoint]:
    """The curve, by step."""
    statement = select(JobPointRow).where(JobPointRow.job_id == job_id).order_by(JobPointRow.step)
    return [
        JobPoint(
            step=row.step,
            at=row.at,
            loss=row.loss,
            validation_loss=row.validation_loss,
            learning_rate=row.learning_rate,
            grad_norm=row.grad_norm,
            tokens_per_s=row.tokens_per_s,
        )
        for row in _fresh(s, statement)
    ]


def _lock(s: Session, job_id: str) -> None:
    """Lock the row by its key. Two that change its state at once could otherwise deadlock on MariaDB: each
    would hold an index entry that the other needs."""
    s.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())


def _changed(s: Session, statement: Any) -> bool:
    return bool(s.execute(statement.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]


def _fresh(s: Session, statement: Select[Any]) -> Sequence[Any]:
    # A row that this session read before may have been changed by an UPDATE since.
    return s.scalars(statement.execution_options(populate_existing=True)).all()


def _first(s: Session, statement: Select[Any]) -> Job | None:
    return next((_job(row) for row in _fresh(s, statement)), None)


def _job(row: JobRow) -> Job:
    error = None
    if row.error_what is not None:
        error = JobError(row.error_what, row.error_why or "", row.error_next or "")
    return Job(
        id=row.id,
        tenant_id=row.tenant_id,
        kind=row.kind,
        name=row.name,
        state=JobState(row.state),
        spec=row.spec,
        stage=row.stage,
        step=row.step,
        total_steps=row.total_steps,
        eta_s=row.eta_s,
        attempt=row.attempt,
        fence=row.fence,
        cancel_requested=row.cancel_requested,
        submitted_by=row.submitted_by,
        result=row.result,
        error=error,
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
    )
