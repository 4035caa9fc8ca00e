"""Harmonizing: submit a run of a dataset, look at what came out, check a mapping against a file."""

import hashlib
import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.actions import datasets, mappings
from app.bootstrap import Console
from app.pseudonyms import key_for
from core.datasets import raw
from core.datasets.records import Dataset, DatasetKind
from core.errors import IntegrityError, InvalidInputError, NotFoundError
from core.harmonize import service as library
from core.harmonize.dry_run import MappingCheck, check_mapping
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.saved import HarmonizedRun
from core.jobs import service as jobs
from core.jobs.records import Job
from core.tenants import audit
from core.tenants.records import Permission, Principal

KIND = "harmonize"
RowFormat = Literal["parquet", "csv"]


class HarmonizeSpec(BaseModel):
    """What a harmonize job is asked to do. `card` counts for more than the card of the dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_id: str = Field(description="Dataset of kind events.")
    mapping_version_id: str = Field(description="Version of a saved mapping.")
    format: RowFormat = Field("parquet", description="Format of the rows that come out.")
    card: SourceCard | None = Field(None, description="What the file itself does not say.")


class RunPart(StrEnum):
    """The files of a run."""

    ROWS = "rows"
    REJECTED = "rejected"
    BROKEN = "broken"
    OTHER_WINDOWS = "other_windows"


_NOTHING = MappingProxyType(
    {
        RunPart.REJECTED: "Every value fitted.",
        RunPart.BROKEN: "Every row of the file could be read.",
        RunPart.OTHER_WINDOWS: "No other window or split was there.",
    }
)


def submit_harmonize(
    c: Console,
    p: Principal,
    *,
    dataset: str,
    mapping: str,
    format: RowFormat = "parquet",
    card: SourceCard | None = None,
    key: str | None = None,
) -> Job:
    """Write the job, then hand it to the queue. `dataset`: id or name; `mapping`: id, name or name@version.

    With a `key` (of a draft, or of a request that may be sent again) the same submission is one job: a second click,
    another tab or a retry gets the job that there is, unless that failed or was cancelled. Without one each call is a
    new run. Raises NotFoundError, InvalidInputError for a dataset that is no raw export.
    """
    p.require(Permission.TRAIN)
    chosen = datasets.find_dataset(c, p, dataset)
    if chosen.kind is not DatasetKind.EVENTS:
        raise InvalidInputError(
            f"«{chosen.name}» is no raw export of a retailer.",
            f"It is a dataset of kind {chosen.kind}.",
            "Choose a dataset of kind events.",
        )
    version = mappings.find_version(c, p, mapping)
    spec = HarmonizeSpec(dataset_id=chosen.id, mapping_version_id=version.id, format=format, card=card)
    now = c.clock()
    row: dict[str, Any] = {
        "kind": KIND,
        "name": f"{chosen.name[:90]} with {version.label[:90]}",
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "submitted_by": p.actor,
        "now": now,
    }
    with c.database.transaction() as s:
        if key is None:
            job = jobs.submit(s, p.tenant_id, **row)
        else:
            job, is_new = jobs.submit_once(s, p.tenant_id, submission=_submission(spec, p, key), **row)
            if not is_new:
                return job
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="harmonize.submitted",
            subject=job.id,
            detail={"dataset_id": chosen.id, "mapping": version.label, "digest": version.digest},
            now=now,
        )
    # Where the queue cannot be reached, the worker finds the row and the job runs a little later.
    c.queue.enqueue(job.id)
    return job


def _submission(spec: HarmonizeSpec, p: Principal, key: str) -> str:
    """Names one run: the same key of the same person with the same values is the same submission."""
    values = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(json.dumps([KIND, p.actor, key, values]).encode(errors="replace")).hexdigest()


def get_job(c: Console, p: Principal, job_id: str) -> Job:
    """A harmonize job. Raises NotFoundError, also for a job of another kind."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        job = jobs.get(s, p.tenant_id, job_id)
    if job.kind != KIND:
        raise NotFoundError("There is no such job in this workspace.")
    return job


def list_runs(
    c: Console,
    p: Principal,
    *,
    dataset_id: str | None = None,
    mapping_id: str | None = None,
    limit: int = 100,
) -> list[HarmonizedRun]:
    """Newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return library.list_runs(s, p.tenant_id, dataset_id=dataset_id, mapping_id=mapping_id, limit=limit)


def get_run(c: Console, p: Principal, run_id: str) -> HarmonizedRun:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return library.get_run(s, p.tenant_id, run_id)


def run_file(c: Console, p: Principal, run_id: str, part: RunPart = RunPart.ROWS) -> Path:
    """Where a file of a run lies. Raises NotFoundError (no such run, or nothing was kept apart), IntegrityError."""
    run = get_run(c, p, run_id)
    rows = c.settings.harmonized_dir / run.path
    if part is RunPart.ROWS:
        if not rows.is_file() or rows.stat().st_size != run.size_bytes:
            raise IntegrityError(
                "The harmonized rows are missing or have changed.",
                f"The file of {run.id} is not the one that was written.",
                "Harmonize the dataset again.",
            )
        return rows
    suffix = rows.suffix if part is RunPart.OTHER_WINDOWS else ".csv"
    beside = rows.with_name(f"rows.{part}{suffix}")
    if not beside.is_file():
        raise NotFoundError("This run has no such file.", _NOTHING[part], "Download its rows.")
    return beside


def source_of(c: Console, p: Principal, run: HarmonizedRun) -> Dataset:
    """The dataset that a run was made of. Raises NotFoundError."""
    return datasets.get_dataset(c, p, run.dataset_id)


def check_dataset_mapping(c: Console, p: Principal, dataset_id: str, mapping: Mapping) -> MappingCheck:
    """A dry run on a raw file in the library, with the card that it was imported with."""
    p.require(Permission.TRAIN)
    dataset = datasets.get_dataset(c, p, dataset_id)
    key = key_for(mapping, c.settings.home)
    with TemporaryDirectory(prefix="rmn-check-") as work_dir, raw.open_raw(dataset) as source:
        return check_mapping(
            source,
            mapping,
            raw.told_card(dataset),
            work_dir=Path(work_dir),
            pseudonym_key=key,
            now=c.clock(),
        )


def report_document(report: HarmonizeReport) -> dict[str, Any]:
    """A report as plain data, with the names of its files instead of their places."""
    told = asdict(report)
    for name in ("out_path", "rejected_path", "apart_path"):
        told[name] = Path(told[name]).name if told[name] else None
    return told
