"""Applying a mapping to a source: lazily for a preview, or streamed to a file with a full account of what happened."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl

from core.harmonize import conservation, losses, sinks
from core.harmonize.findings import Finding, find_result_traps
from core.harmonize.mapping_files import mapping_digest, mapping_label
from core.harmonize.plan import Plan, make_plan
from core.harmonize.plan_findings import column_counts, coverage_of, plan_findings
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.report import HarmonizeReport, MeasureTotals
from core.harmonize.source.records import Source, SourceKind, refused
from core.harmonize.stages import Stages, build_stages, withheld_counts
from core.harmonize.traps.result import result_sums
from core.storage.files import sha256_of, staged_file


@dataclass(frozen=True)
class Harmonized:
    """A mapping over a source, still lazy. `frame`: RMIS columns, the headline's qualifiers, lineage.*

    `apart`: rows of other windows and splits. `problems`: line, column, target, reason and raw value of what did not fit.
    """

    frame: pl.LazyFrame
    apart: pl.LazyFrame | None
    problems: pl.LazyFrame
    plan: Plan
    stages: Stages


def harmonize(
    source: Source, mapping: Mapping, card: SourceCard | None = None, *, pseudonym_key: bytes | None = None
) -> Harmonized:
    """The rows that a mapping makes of a source. Raises InvalidInputError for a mapping that does not fit it."""
    plan = make_plan(source, mapping, card, pseudonym_key=pseudonym_key)
    stages = build_stages(source.frame, plan, file=source.name, label=mapping_label(mapping))
    every = [losses.Loss(slot, 1, 0, 0, ()) for slot in losses.counted_slots(plan)]
    return Harmonized(stages.rows, stages.apart, losses.rejected_rows(every, plan, stages), plan, stages)


def run_harmonize(
    source: Source,
    mapping: Mapping,
    card: SourceCard | None = None,
    *,
    out: Path | None = None,
    format: Literal["parquet", "csv"] | None = None,
    work_dir: Path | None = None,
    pseudonym_key: bytes | None = None,
    now: datetime | None = None,
) -> HarmonizeReport:
    """Write the rows to `out` (none: a dry run) and account for every row and amount. Re-running gives the same bytes.

    Beside `out` go <stem>.other_windows.<ext> and <stem>.rejected.csv, where there is something to say. `now` (aware)
    is what young days are counted back from; without it the newest day of the file is. Raises
    InvalidInputError for a mapping that does not fit, RefusedFileError for a source that is damaged further down.
    """
    begun = time.monotonic()
    with _sound(source):
        made = harmonize(source, mapping, card, pseudonym_key=pseudonym_key)
        written = _run(made, source, out, format, work_dir, now)
    totals, found = written.totals, written.findings
    share, unmapped = coverage_of(source, made.plan, written.sums)
    return HarmonizeReport(
        rows_in=int(written.sums["rows_in"]),
        rows_out=_rows_out(written.sums),
        broken_rows=source.broken_count,
        duplicates_removed=len(made.stages.repeated),
        suppressed_rows=int(written.sums.get("suppressed") or 0),
        coverage=share,
        unmapped_columns=unmapped,
        conservation=tuple(totals),
        findings=tuple(found),
        qualifiers=dict(made.plan.headline.qualifiers),
        out_path=out,
        out_digest=sha256_of(out) if out is not None else None,
        rejected_path=written.rejected_path,
        apart_path=written.apart_path,
        mapping_digest=mapping_digest(mapping),
        source_digest=source.digest,
        seconds=round(time.monotonic() - begun, 3),
        rejected_values=written.rejected,
        apart_rows=int(written.sums.get("apart_rows") or 0),
    )


@dataclass(frozen=True)
class _Written:
    """What writing left: aggregates by name, totals, findings, and the files beside the rows."""

    sums: dict[str, Any]
    totals: list[MeasureTotals]
    findings: list[Finding]
    rejected: int
    rejected_path: Path | None
    apart_path: Path | None


def _run(
    made: Harmonized,
    source: Source,
    out: Path | None,
    format: str | None,
    work_dir: Path | None,
    now: datetime | None,
) -> _Written:
    """Everything in one pass; further ones only over columns of which something was lost or does not add up."""
    plan, stages = made.plan, made.stages
    kind = sinks.format_of(out, format) if out is not None else "parquet"
    places = _places(out)
    with ExitStack() as stack:
        rows_part = _target(stack, out) if out is not None else _scratch(stack, work_dir)
        apart_part = _target(stack, places["apart"] if made.apart is not None else None)
        writing = [
            sinks.sink(rows, part, kind)
            for rows, part in ((made.frame, rows_part), (made.apart, apart_part))
            if rows is not None and part is not None
        ]
        sums = _one_pass(made, source, writing)
        written = sinks.scan(rows_part, kind, made.frame) if rows_part is not None else made.frame
        over_rows = [
            *conservation.sums_of_rows(conservation.told_by_rows(plan)),
            *result_sums(written.collect_schema(), plan, now=now),
        ]
        sums.update(written.select(over_rows).collect(engine="streaming").row(0, named=True))
        lossy = losses.find_losses(plan, stages, sums)
        rejected = sum(loss.wrong for loss in lossy)
        rejected_part = _target(stack, places["rejected"] if rejected else None)
        if rejected_part is not None:
            listed = losses.rejected_rows(lossy, plan, stages)
            pl.collect_all([sinks.sink(listed, rejected_part, "csv")], engine="streaming")
        totals = conservation.account(plan, stages, sums, written)
        found = [
            *plan_findings(source, plan, repeated=len(stages.repeated)),
            *losses.findings_of(lossy, sums),
            *losses.mark_findings(plan, stages, sums),
            *losses.list_findings(plan, stages, sums),
            *conservation.findings_of(totals),
            *conservation.invented(plan, sums),
        ]
        found += conservation.check_rows(written, plan, sums)
        found += find_result_traps(written, plan, now=now, sums=sums)
        if apart_part is not None and made.apart is not None:
            counted = sinks.scan(apart_part, kind, made.apart).select(pl.len())
            sums["apart_rows"] = counted.collect(engine="streaming").item()
    kept = {"apart": apart_part, "rejected": rejected_part}
    for name, place in places.items():
        if place is not None and kept[name] is None:
            place.unlink(missing_ok=True)  # of an earlier run: it would be taken for this one's
    beside = {name: places[name] if kept[name] is not None else None for name in places}
    return _Written(sums, totals, _sorted(found), rejected, beside["rejected"], beside["apart"])


def _places(out: Path | None) -> dict[str, Path | None]:
    """Where the files beside the rows lie."""
    if out is None:
        return {"apart": None, "rejected": None}
    return {"apart": sinks.beside(out, "other_windows"), "rejected": sinks.beside(out, "rejected", ".csv")}


def _target(stack: ExitStack, final: Path | None) -> Path | None:
    """A temporary file that becomes `final` when the stack closes well."""
    return stack.enter_context(staged_file(final)) if final is not None else None


def _scratch(stack: ExitStack, work_dir: Path | None) -> Path | None:
    """Where a dry run puts its rows until it has looked at them."""
    if work_dir is None:
        return None
    work_dir.mkdir(parents=True, exist_ok=True)
    folder = stack.enter_context(TemporaryDirectory(dir=work_dir, prefix="dry."))
    return Path(folder) / "rows.parquet"


def _one_pass(made: Harmonized, source: Source, writing: Sequence[pl.LazyFrame]) -> dict[str, Any]:
    """Write the rows and collect every count and sum, from one reading of the source."""
    plan, stages = made.plan, made.stages
    once = conservation.read_once(conservation.measures(plan), plan)
    told = conservation.told_by_rows(plan)
    computed = [slot for slot in conservation.measures(plan) if slot not in told]
    again = [slot for slot in conservation.measures(plan) if slot not in once]
    over_base = [
        pl.len().alias("rows_in"),
        *column_counts(source),
        *conservation.input_sums(plan, once, whole_table=True),
    ]
    over_wide = [
        pl.len().alias("rows_wide"),
        *losses.value_counts(plan),
        *losses.mark_counts(plan),
        *losses.list_counts(plan),
        *conservation.output_sums(computed),
        *conservation.input_sums(plan, again, whole_table=False),
        *withheld_counts(plan),
    ]
    wide = conservation.with_inputs(stages.wide, plan, again, whole_table=False)
    if plan.plain_rows:
        queries = [wide.select(*over_base, *over_wide)]
    else:
        base = conservation.with_inputs(stages.base, plan, once, whole_table=True)
        queries = [base.select(over_base), wide.select(over_wide)]
    if plan.sum_over:
        queries.append(made.frame.select(pl.len().alias("rows_summed")))
    results = pl.collect_all([*writing, *queries], engine="streaming")
    sums: dict[str, Any] = {}
    for result in results[len(writing) :]:
        sums.update(result.row(0, named=True))
    return sums


def _rows_out(sums: dict[str, Any]) -> int:
    return int(sums.get("rows_summed", sums["rows_wide"]))


def _sorted(found: Sequence[Finding]) -> list[Finding]:
    order = ("error", "warning", "note")
    return sorted(found, key=lambda each: (order.index(each.severity), each.rule, each.columns))


@contextmanager
def _sound(source: Source) -> Iterator[None]:
    """Damage that a Parquet file shows only while its rows are read. A full disk is none."""
    try:
        yield
    except (pl.exceptions.ComputeError, pl.exceptions.PanicException) as error:
        told = str(error).splitlines()[0][:200] if str(error) else "unreadable"
        if source.kind is not SourceKind.PARQUET or "No space" in str(error):
            raise
        raise refused(source.name, f"Its data is damaged ({told}).", "Copy or export it again.") from None
