"""Training jobs: submit, watch, cancel."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.actions import training
from app.actions.training import TrainingChoices
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import JobOut, Listed, PointOut, job_out
from core.jobs.records import JobState
from core.registry.records import AdapterType
from core.training.records import NAME_PATTERN
from core.training.service import KIND

router = APIRouter(prefix="/training/jobs", tags=["training"], dependencies=KEY_NEEDED)


class TrainingIn(BaseModel):
    """A training run: a preset, and what should differ from it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "retailer_alpha",
                    "adapter_type": "retailer",
                    "dataset": "retailer_alpha",
                    "preset": "balanced",
                    "choices": {"epochs": 6, "seed": 1},
                }
            ]
        },
    )

    name: str = Field(pattern=NAME_PATTERN, description="Name of the adapter that comes out.")
    adapter_type: AdapterType
    dataset: str = Field(
        min_length=1, max_length=200, description="Id or name of a dataset of your workspace."
    )
    preset: str = Field("balanced", max_length=40, description="quick, balanced or thorough.")
    choices: TrainingChoices = TrainingChoices()


@router.get("", summary="List jobs", responses=errors())
def list_jobs(
    console: TheConsole,
    caller: Caller,
    state: Annotated[list[JobState] | None, Query(description="Only those in one of these states.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listed[JobOut]:
    """Newest first. Harmonize jobs are under /harmonize."""
    found = training.list_jobs(console, caller, kind=KIND, states=state, limit=limit)
    return Listed(items=[job_out(job) for job in found])


@router.post("", status_code=202, summary="Submit a training run", responses=errors(404, 409))
def submit(console: TheConsole, caller: Caller, body: TrainingIn) -> JobOut:
    """The job is durable once this answers: it runs even if everything is restarted. Poll it by its id."""
    spec = training.plan_training(
        console,
        caller,
        name=body.name,
        adapter_type=body.adapter_type,
        dataset=body.dataset,
        preset=body.preset,
        choices=body.choices,
    )
    return job_out(training.submit_training(console, caller, spec))


@router.get("/{job_id}", summary="One job", responses=errors(404))
def get_job(console: TheConsole, caller: Caller, job_id: str) -> JobOut:
    """State, progress, and once it has ended its result or the reason why there is none."""
    return job_out(training.get_job(console, caller, job_id))


@router.delete("/{job_id}", summary="Cancel a job", responses=errors(404, 409))
def cancel_job(console: TheConsole, caller: Caller, job_id: str) -> JobOut:
    """A queued job ends at once; a running one stops within seconds. The job itself stays in the list."""
    return job_out(training.cancel_job(console, caller, job_id))


@router.get("/{job_id}/points", summary="The curve of a job", responses=errors(404))
def job_points(console: TheConsole, caller: Caller, job_id: str) -> Listed[PointOut]:
    """By step: loss, validation loss, learning rate, gradient norm, tokens per second."""
    points = training.job_points(console, caller, job_id)
    return Listed(items=[PointOut.model_validate(point) for point in points])
