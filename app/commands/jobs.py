"""jobs list | show | cancel."""

from typing import Annotated

import typer

from app.actions import training
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, moment, plain, table
from core.jobs.records import Job, JobState

commands = typer.Typer(help="Training jobs.", no_args_is_help=True)
Given = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@commands.command("list")
def list_all(
    state: Annotated[
        list[JobState] | None, typer.Option(help="Only those in this state; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs, newest first."""
    with local(tenant) as here:
        found = training.list_jobs(here.console, here.principal, states=state or None, limit=limit)
    answer(
        [summary(job) for job in found],
        lambda: table(
            ("NAME", "STATE", "PROGRESS", "STAGE", "SUBMITTED", "BY", "ID"),
            (
                (j.name, j.state, f"{j.progress:.0%}", j.stage, moment(j.created_at), j.submitted_by, j.id)
                for j in found
            ),
            "No jobs yet. Submit one: python -m app train --help",
        ),
        as_json,
    )


@commands.command("show")
def show(job_id: Given, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Show a job with its result, or the reason why there is none."""
    with local(tenant) as here:
        job = training.get_job(here.console, here.principal, job_id)
        points = training.job_points(here.console, here.principal, job_id) if as_json else []
    answer({**summary(job), "points": points}, lambda: _text(job), as_json)


@commands.command("cancel")
def cancel(job_id: Given, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """End a queued job, or ask a running one to stop."""
    with local(tenant) as here:
        job = training.cancel_job(here.console, here.principal, job_id)
    done = job.state is JobState.CANCELLED
    answer(
        summary(job), lambda: f"{job.name} is cancelled." if done else f"{job.name} will stop soon.", as_json
    )


def summary(job: Job) -> dict[str, object]:
    """A job without what only the worker needs."""
    told: dict[str, object] = plain(job)
    told.pop("fence")
    told.pop("tenant_id")
    return {**told, "progress": job.progress}


def _text(job: Job) -> str:
    why = job.error
    return facts(
        [
            ("name", job.name),
            ("id", job.id),
            (
                "state",
                f"{job.state}{' (asked to stop)' if job.cancel_requested and not job.state.final else ''}",
            ),
            ("progress", f"{job.progress:.0%} ({job.step} of {job.total_steps} steps)"),
            ("stage", job.stage or None),
            ("attempt", job.attempt),
            ("submitted", f"{job.created_at.isoformat()} by {job.submitted_by}"),
            ("finished", job.finished_at.isoformat() if job.finished_at else None),
            ("adapter", (job.result or {}).get("adapter_id")),
            ("failed", f"{why.what} {why.why} {why.next_step}" if why else None),
        ]
    )
