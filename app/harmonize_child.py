"""The process of one harmonize job: `python -m app.harmonize_child --job ID --fence FENCE`. It never loads torch."""

import errno
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from app.actions.harmonize import HarmonizeSpec, report_document
from app.job_child import child_main, run_claimed, utc_now
from app.pseudonyms import key_for
from core.datasets import raw
from core.datasets import service as datasets
from core.datasets.records import Dataset
from core.errors import RmnError
from core.harmonize import service as library
from core.harmonize.apply import run_harmonize
from core.harmonize.broken_rows import export_broken
from core.harmonize.dry_run import with_traps
from core.harmonize.preamble import complete_card
from core.harmonize.records import SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.saved import MappingVersion
from core.jobs import service as jobs
from core.jobs.records import Job, JobError
from core.settings import Settings
from core.storage.database import Database
from core.storage.files import sha256_of, staged_directory
from core.tenants import audit
from core.training.progress import Progress, Stop

STEPS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the arguments name. Returns the exit status."""
    return child_main("app.harmonize_child", __doc__ or "", run_job, arguments)


def run_job(database: Database, settings: Settings, job_id: str, fence: str, stop: Stop) -> int:
    """Run a claimed job and write how it ended."""

    def work(job: Job) -> None:
        _harmonize(job, database, settings, Progress(database, job, stop, utc_now))

    return run_claimed(database, job_id, fence, work, explain)


def explain(error: BaseException) -> JobError:
    """Why a run failed, in words for the person who asked for it."""
    if isinstance(error, RmnError):
        return JobError(error.what, error.why, error.next_step)
    told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, MemoryError):
        return JobError(
            "The run ran out of memory.", told, "Close other programs, or split the file into several."
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in told:
        return JobError(
            "The disk is full.", "The rows could not be written.", "Free some space and start the job again."
        )
    if isinstance(error, pl.exceptions.PolarsError):
        return JobError(
            "The rows could not be computed.", told, "Check the mapping against the file, then try again."
        )
    return JobError(
        "The run stopped with an error that was not foreseen.", told, "Report it with the job's log."
    )


def _harmonize(job: Job, database: Database, settings: Settings, progress: Progress) -> None:
    spec = HarmonizeSpec.model_validate(job.spec)
    with database.reading() as s:
        dataset = datasets.get(s, job.tenant_id, spec.dataset_id)
        version = library.get_version_by_id(s, job.tenant_id, spec.mapping_version_id)
    final = settings.harmonized_dir / job.id
    _enter(progress, 0, "reading the file")
    with (
        _work_folder(settings.jobs_dir / job.id / "work") as work_dir,
        raw.open_raw(dataset, work_dir=work_dir) as source,
    ):
        _enter(progress, 1, "harmonizing")
        _sweep(final)
        with staged_directory(final) as staging:
            card = complete_card(_card(spec.card, dataset), source.notes, version.mapping)
            now = utc_now()
            report = run_harmonize(
                source,
                version.mapping,
                card,
                now=now,
                out=staging / f"rows.{spec.format}",
                format=spec.format,
                work_dir=work_dir,
                pseudonym_key=key_for(version.mapping, settings.home),
            )
            report = with_traps(report, source, version.mapping, card, now=now)
            export_broken(source, version.mapping, staging / f"rows.{spec.format}")
    _enter(progress, 2, "writing it down")
    _publish(database, job, dataset, version, report, final / f"rows.{spec.format}")


def _publish(
    database: Database,
    job: Job,
    dataset: Dataset,
    version: MappingVersion,
    report: HarmonizeReport,
    rows: Path,
) -> None:
    """The run and the end of the job in one transaction: a stale attempt writes neither."""
    digest, size, now = report.out_digest or sha256_of(rows), rows.stat().st_size, utc_now()
    with database.transaction() as s:
        run = library.record_run(
            s,
            version,
            run_id=job.id.replace("job_", "run_", 1),
            dataset_id=dataset.id,
            dataset_digest=dataset.digest,
            job_id=job.id,
            path=f"{job.id}/{rows.name}",
            digest=digest,
            size_bytes=size,
            report=report_document(report),
            created_by=job.submitted_by,
            now=now,
        )
        result = {
            "run_id": run.id,
            "mapping": version.label,
            "digest": digest,
            "rows_in": report.rows_in,
            "rows_out": report.rows_out,
            "broken_rows": report.broken_rows,
            "coverage": report.coverage,
            "conserved": report.conserved,
            "findings": len(report.findings),
            "seconds": report.seconds,
        }
        jobs.report(
            s, job.id, job.fence, stage="done", step=STEPS, total_steps=STEPS, eta_s=None, point=None, now=now
        )
        jobs.succeed(s, job.id, job.fence, result=result, now=now)
        audit.append(
            s,
            tenant_id=job.tenant_id,
            actor=job.submitted_by,
            action="harmonize.finished",
            subject=run.id,
            detail={"dataset_id": dataset.id, "mapping": version.label, "digest": digest},
            now=now,
        )


def _card(given: SourceCard | None, dataset: Dataset) -> SourceCard | None:
    """The card of the dataset, and over it what was given for this run."""
    told = raw.told_card(dataset)
    if given is None or told is None:
        return given or told
    return told.model_copy(update=given.model_dump(exclude_unset=True))


def _enter(progress: Progress, step: int, stage: str) -> None:
    progress.advance(step=step, total_steps=STEPS)
    progress.enter(stage)


def _sweep(final: Path) -> None:
    """What an attempt left that was killed before the job's row said so. This one holds the job alone."""
    for left in (final, *final.parent.glob(f".{final.name}.*.part")):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
