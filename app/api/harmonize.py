"""Harmonizing datasets: submit, watch, list, download."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse

from app.actions import harmonize
from app.actions.harmonize import RunPart
from app.api.mapping_schemas import HarmonizedRunOut, HarmonizeIn, run_out
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import JobOut, Listed, job_out

router = APIRouter(prefix="/harmonize", tags=["harmonize"], dependencies=KEY_NEEDED)
MEDIA_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}


@router.post("", status_code=202, summary="Harmonize a dataset", responses=errors(404))
def submit(
    console: TheConsole,
    caller: Caller,
    body: HarmonizeIn,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="A name of your own for this request. Sent again with the same values it is answered with the "
            "same job, so that a retry makes no second one.",
        ),
    ] = None,
) -> JobOut:
    """The job is durable once this answers. Its result names the run, whose rows can then be downloaded."""
    job = harmonize.submit_harmonize(
        console,
        caller,
        dataset=body.dataset,
        mapping=body.mapping,
        format=body.format,
        card=body.card,
        key=idempotency_key,
    )
    return job_out(job)


@router.get("/jobs/{job_id}", summary="One harmonize job", responses=errors(404))
def get_job(console: TheConsole, caller: Caller, job_id: str) -> JobOut:
    """State, progress, and once it has ended its result or the reason why there is none."""
    return job_out(harmonize.get_job(console, caller, job_id))


@router.get("/runs", summary="List harmonized data", responses=errors())
def list_runs(
    console: TheConsole,
    caller: Caller,
    dataset_id: Annotated[
        str | None, Query(max_length=200, description="Only those of this dataset.")
    ] = None,
    mapping_id: Annotated[
        str | None, Query(max_length=200, description="Only those of this mapping.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listed[HarmonizedRunOut]:
    """Newest first, each with its report: totals, coverage, findings."""
    found = harmonize.list_runs(console, caller, dataset_id=dataset_id, mapping_id=mapping_id, limit=limit)
    return Listed(items=[run_out(run) for run in found])


@router.get(
    "/runs/{run_id}/download",
    summary="Download harmonized rows",
    response_class=FileResponse,
    responses={
        **errors(404),
        200: {
            "description": "The rows as RMIS, or what was kept apart from them.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in MEDIA_TYPES.values()
            },
        },
    },
)
def download(
    console: TheConsole,
    caller: Caller,
    run_id: str,
    part: Annotated[
        RunPart, Query(description="rows, rejected (values), broken (rows), or other_windows.")
    ] = RunPart.ROWS,
) -> FileResponse:
    """CSV or Parquet, as the job was asked to write."""
    path = harmonize.run_file(console, caller, run_id, part)
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], filename=f"{run_id}.{path.name}")
