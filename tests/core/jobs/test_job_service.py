"""Jobs on the three databases: states, fences, cancelling, curves."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.errors import ConflictError, IllegalTransitionError, InvalidInputError, NotFoundError
from core.jobs import service as jobs
from core.jobs.records import Job, JobError, JobPoint, JobState
from core.storage.database import Database
from core.tenants.records import Tenant


@pytest.fixture
def submit(database: Database, tenant: Tenant, now: datetime) -> Callable[..., Job]:
    def submitted(
        name: str = "first", *, tenant_id: str = tenant.id, after_s: float = 0, kind: str = "train"
    ) -> Job:
        with database.transaction() as s:
            return jobs.submit(
                s,
                tenant_id,
                kind=kind,
                name=name,
                spec={"rank": 16, "rate": 1e-3},
                submitted_by="ann@example.com",
                now=now + timedelta(seconds=after_s),
            )

    return submitted


def _claim(database: Database, job: Job, now: datetime, **more: Any) -> Job:
    with database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=now, **more)
    assert claimed is not None
    return claimed


def _report(database: Database, job: Job, step: int, now: datetime, point: JobPoint | None = None) -> bool:
    with database.transaction() as s:
        return jobs.report(
            s,
            job.id,
            job.fence,
            stage="training",
            step=step,
            total_steps=100,
            eta_s=9.5,
            point=point,
            now=now,
        )


def test_a_submitted_job_is_queued_and_reads_back_as_it_was_written(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    assert (job.state, job.attempt, job.cancel_requested) == (JobState.QUEUED, 0, False)
    assert job.created_at == now
    with database.transaction() as s:
        assert jobs.get(s, tenant.id, job.id) == job


def test_a_queued_job_is_claimed_once(database: Database, submit: Callable[..., Job], now: datetime) -> None:
    job = submit()

    def claim(_: int) -> Job | None:
        with database.transaction() as s:
            return jobs.claim(s, job.id, now=now, lapsed_before=now - timedelta(seconds=30))

    with ThreadPoolExecutor(8) as pool:
        winners = [claimed for claimed in pool.map(claim, range(8)) if claimed is not None]
    assert len(winners) == 1
    assert (winners[0].state, winners[0].attempt) == (JobState.RUNNING, 1)
    assert winners[0].fence.startswith("fence_")


def test_a_claim_takes_a_running_job_over_and_shuts_the_old_attempt_out(
    database: Database, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    old = _claim(database, job, now)
    new = _claim(database, job, now)
    assert new.attempt == 2
    assert new.fence != old.fence
    for write in (
        lambda s: jobs.heartbeat(s, job.id, old.fence, now=now),
        lambda s: jobs.succeed(s, job.id, old.fence, result={}, now=now),
        lambda s: jobs.fail(s, job.id, old.fence, error=JobError("a", "b", "c"), now=now),
        lambda s: jobs.cancelled(s, job.id, old.fence, now=now),
        lambda s: jobs.count_death(s, job.id, old.fence),
    ):
        with pytest.raises(ConflictError, match="fenced"), database.transaction() as s:
            write(s)
    with pytest.raises(ConflictError, match="fenced"):
        _report(database, old, 1, now, JobPoint(1, now, loss=1.0))
    with database.transaction() as s:
        assert jobs.load_for_worker(s, job.id) == new
        assert jobs.points(s, job.tenant_id, job.id) == []


def test_a_job_that_gives_signs_of_life_is_not_taken_over(
    database: Database, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    _claim(database, job, now)
    with database.transaction() as s:
        assert jobs.claim(s, job.id, now=now, lapsed_before=now - timedelta(seconds=1)) is None
        taken = jobs.claim(s, job.id, now=now, lapsed_before=now + timedelta(seconds=1))
        assert taken is not None
        assert taken.attempt == 2


def test_a_job_that_has_ended_cannot_be_claimed(
    database: Database, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    with database.transaction() as s:
        done = jobs.succeed(s, job.id, job.fence, result={"adapter_id": "adp_1", "loss": math.nan}, now=now)
    assert (done.state, done.progress, done.finished_at) == (JobState.SUCCEEDED, 1.0, now)
    assert done.result == {"adapter_id": "adp_1", "loss": None}
    with database.transaction() as s:
        assert jobs.claim(s, job.id, now=now) is None
    with pytest.raises(ConflictError, match="succeeded already"), database.transaction() as s:
        jobs.fail(s, job.id, job.fence, error=JobError("a", "b", "c"), now=now)


def test_a_failed_job_says_what_why_and_what_next(
    database: Database, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    error = JobError("The run ran out of memory.", "Killed by signal 9 \0.", "Choose a smaller batch.")
    with database.transaction() as s:
        failed = jobs.fail(s, job.id, job.fence, error=error, now=now)
    assert failed.state is JobState.FAILED
    assert failed.error == replace(error, why="Killed by signal 9 \ufffd.")


def test_a_queued_job_is_cancelled_at_once(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    with database.transaction() as s:
        assert jobs.request_cancel(s, tenant.id, job.id, now=now).state is JobState.CANCELLED
        assert jobs.request_cancel(s, tenant.id, job.id, now=now).state is JobState.CANCELLED
        assert jobs.claim(s, job.id, now=now) is None


def test_a_running_job_hears_of_a_cancel_at_its_next_report(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    assert _report(database, job, 1, now) is True
    with database.transaction() as s:
        asked = jobs.request_cancel(s, tenant.id, job.id, now=now)
        assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert _report(database, job, 2, now) is False
    with database.transaction() as s:
        assert jobs.heartbeat(s, job.id, job.fence, now=now) is False
        assert jobs.cancelled(s, job.id, job.fence, now=now).state is JobState.CANCELLED


def test_a_job_that_has_succeeded_cannot_be_cancelled(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    with database.transaction() as s:
        jobs.succeed(s, job.id, job.fence, result={}, now=now)
    with pytest.raises(IllegalTransitionError), database.transaction() as s:
        jobs.request_cancel(s, tenant.id, job.id, now=now)


def test_cancel_and_claim_at_once_leave_one_truth(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    for number in range(10):
        job = submit(f"race {number}")

        def cancel(job: Job = job) -> JobState:
            with database.transaction() as s:
                return jobs.request_cancel(s, tenant.id, job.id, now=now).state

        def claim(job: Job = job) -> Job | None:
            with database.transaction() as s:
                return jobs.claim(s, job.id, now=now)

        with ThreadPoolExecutor(2) as pool:
            asked, claimed = pool.submit(cancel), pool.submit(claim)
            state, winner = asked.result(), claimed.result()
        assert (state is JobState.CANCELLED) == (winner is None)


def test_points_of_a_resumed_run_overwrite_what_it_repeats(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    for step in (1, 2, 3):
        _report(database, job, step, now, JobPoint(step, now, loss=float(step), grad_norm=math.inf))
    job = _claim(database, job, now)
    later = now + timedelta(seconds=5)
    _report(database, job, 2, later, JobPoint(2, later, loss=0.25, learning_rate=1e-3))
    with database.transaction() as s:
        curve = jobs.points(s, tenant.id, job.id)
    assert [(point.step, point.loss) for point in curve] == [(1, 1.0), (2, 0.25), (3, 3.0)]
    assert curve[1] == JobPoint(2, later, loss=0.25, learning_rate=1e-3)
    assert curve[2].grad_norm is None


def test_a_report_shows_how_far_the_job_is(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = _claim(database, submit(), now)
    later = now + timedelta(seconds=7)
    _report(database, job, 25, later)
    with database.transaction() as s:
        seen = jobs.get(s, tenant.id, job.id)
    assert (seen.stage, seen.progress, seen.eta_s, seen.heartbeat_at) == ("training", 0.25, 9.5, later)
    assert seen.started_at == now


def test_deaths_without_progress_are_counted_and_progress_starts_the_count_anew(
    database: Database, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    counts = []
    for step in (0, 10, 10, 9, 20):
        job = _claim(database, job, now)
        _report(database, job, step, now)
        with database.transaction() as s:
            counts.append(jobs.count_death(s, job.id, job.fence))
    assert counts == [1, 1, 2, 3, 1]


def test_jobs_are_listed_newest_first_and_by_kind_and_state(
    database: Database, tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    first, second, third = submit("a"), submit("b", after_s=1, kind="export"), submit("c", after_s=1)
    _claim(database, third, now)
    with database.transaction() as s:
        assert [job.name for job in jobs.list_jobs(s, tenant.id)] == ["c", "b", "a"]
        assert [job.id for job in jobs.list_jobs(s, tenant.id, kind="export")] == [second.id]
        assert [job.id for job in jobs.list_jobs(s, tenant.id, states=[JobState.RUNNING])] == [third.id]
        assert [job.name for job in jobs.list_jobs(s, tenant.id, limit=1)] == ["c"]
        assert [job.id for job in jobs.unfinished(s)] == [first.id, second.id, third.id]


def test_another_tenants_job_is_not_found(
    database: Database, tenant: Tenant, other_tenant: Tenant, submit: Callable[..., Job], now: datetime
) -> None:
    job = submit()
    with database.transaction() as s:
        assert jobs.list_jobs(s, other_tenant.id) == []
    for look in (
        lambda s: jobs.get(s, other_tenant.id, job.id),
        lambda s: jobs.points(s, other_tenant.id, job.id),
        lambda s: jobs.request_cancel(s, other_tenant.id, job.id, now=now),
        lambda s: jobs.get(s, tenant.id, "job_\0\ud800"),
        lambda s: jobs.claim(s, "job_nobody", now=now),
    ):
        with pytest.raises(NotFoundError), database.transaction() as s:
            look(s)
    with database.transaction() as s:
        assert jobs.get(s, tenant.id, job.id).state is JobState.QUEUED


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_job_without_a_usable_name_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, name: str
) -> None:
    with pytest.raises(InvalidInputError), sqlite_database.transaction() as s:
        jobs.submit(s, sqlite_tenant.id, kind="train", name=name, spec={}, submitted_by="ann", now=now)


@pytest.fixture
def submit_once(database: Database, now: datetime) -> Callable[..., tuple[Job, bool]]:
    def submitted(tenant_id: str, submission: str = "a" * 64) -> tuple[Job, bool]:
        with database.transaction() as s:
            return jobs.submit_once(
                s,
                tenant_id,
                submission=submission,
                kind="train",
                name="n",
                spec={},
                submitted_by="ann",
                now=now,
            )

    return submitted


def test_one_submission_is_one_job_however_often_and_at_once_it_is_sent(
    database: Database, tenant: Tenant, submit_once: Callable[..., tuple[Job, bool]]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: submit_once(tenant.id), range(8)))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    with database.reading() as s:
        assert len(jobs.list_jobs(s, tenant.id)) == 1
        assert jobs.find_submitted(s, tenant.id, "a" * 64) == answers[0][0]
        assert jobs.find_submitted(s, tenant.id, "b" * 64) is None


def test_submissions_are_told_apart_by_digest_and_by_tenant(
    tenant: Tenant, other_tenant: Tenant, submit_once: Callable[..., tuple[Job, bool]]
) -> None:
    made = [submit_once(tenant.id), submit_once(tenant.id, "b" * 64), submit_once(other_tenant.id)]
    assert len({job.id for job, _ in made}) == 3
    assert all(is_new for _, is_new in made)


@pytest.mark.parametrize("end", ["cancelled", "failed", "succeeded"])
def test_what_came_to_nothing_may_be_submitted_again_and_what_succeeded_may_not(
    database: Database, tenant: Tenant, submit_once: Callable[..., tuple[Job, bool]], now: datetime, end: str
) -> None:
    first, _ = submit_once(tenant.id)
    claimed = _claim(database, first, now)
    with database.transaction() as s:
        if end == "cancelled":
            jobs.cancelled(s, first.id, claimed.fence, now=now)
        elif end == "failed":
            jobs.fail(s, first.id, claimed.fence, error=JobError("w", "y", "n"), now=now)
        else:
            jobs.succeed(s, first.id, claimed.fence, result={}, now=now)
    again, is_new = submit_once(tenant.id)
    assert is_new is (end != "succeeded")
    assert (again.id == first.id) is (end == "succeeded")
    assert submit_once(tenant.id) == (again, False)
