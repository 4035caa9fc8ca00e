"""harmonize: the rows of a raw file as RMIS, by a mapping. Needs no workspace when the mapping is a file."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.commands.harmonize_to import Target, kept_beside, read_target, rows_file, write_target
from app.commands.local import local_if_there, quiet_settings
from app.commands.output import JsonOption, TenantOption, answer, facts, plain, tell
from app.pseudonyms import key_for
from core.errors import InvalidInputError, NotFoundError
from core.harmonize.apply import run_harmonize
from core.harmonize.broken_rows import export_broken
from core.harmonize.counted import agree, counted
from core.harmonize.dry_run import with_traps
from core.harmonize.mapping_files import read_card, read_mapping
from core.harmonize.preamble import complete_card
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.source.open import Source, open_source

RawFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV, TSV, JSON, JSONL, Parquet or XLSX, also gzipped.",
        exists=True,
        dir_okay=False,
    ),
]
CardOption = Annotated[
    Path | None,
    typer.Option(
        "--card",
        help="What the file does not say: retailer, network, time zone, currency, headline. "
        "FILE's own *.card.json or card.json beside it is found by itself.",
        exists=True,
        dir_okay=False,
    ),
]
SheetOption = Annotated[
    str | None, typer.Option("--sheet", help="Sheet of an XLSX file; the first if left out.")
]
FORMATS: dict[str, Literal["parquet", "csv"]] = {".parquet": "parquet", ".csv": "csv"}


def harmonize(
    file: RawFile,
    mapping: Annotated[
        str,
        typer.Option(
            "--mapping", help="A mapping file (YAML or JSON), or a saved one: name or name@version."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: rows.csv or rows.parquet.", dir_okay=False)
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PLACE",
            help="Table to write: rows.duckdb, or postgresql://user@host/name (its password best in PGPASSWORD).",
        ),
    ] = None,
    table: Annotated[str, typer.Option("--table", help="Name of the table.")] = "rows",
    schema: Annotated[str, typer.Option("--schema", help="Schema in PostgreSQL.")] = "public",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a table or DuckDB file that is there already.")
    ] = False,
    card: CardOption = None,
    sheet: SheetOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Harmonize a raw file. Exit status 1: a total of the input is not in the output to the cent."""
    target = read_target(to, table, schema, replace=replace)
    chosen = _format_of(out, target)
    rules, label = find_mapping(mapping, tenant)
    with opened(file, sheet) as (source, work_dir), rows_file(out, target) as rows:
        known = complete_card(find_card(file, card), source.notes, rules)
        now = datetime.now(UTC)
        report = run_harmonize(
            source,
            rules,
            known,
            now=now,
            out=rows,
            format=chosen,
            work_dir=work_dir,
            pseudonym_key=key_for(rules, quiet_settings().home),
        )
        report = with_traps(report, source, rules, known, now=now)
        broken = export_broken(source, rules, rows)
        if target is not None and report.conserved:
            write_target(target, rows)
    if target is not None:
        report, broken = _placed(report, broken, out, target)
    told = {"file": file, "mapping": label, "conserved": report.conserved, "broken_path": broken}
    if target is not None:
        told["table"] = target.place if report.conserved else None
    answer({**told, **plain(report)}, lambda: _text(report, broken, target), as_json)
    raise typer.Exit(0 if report.conserved else 1)


def _format_of(out: Path | None, target: Target | None) -> Literal["parquet", "csv"]:
    if out is None and target is None:
        raise typer.BadParameter("say where the rows go: --out FILE or --to PLACE", param_hint="--out")
    chosen = "parquet" if out is None else FORMATS.get(out.suffix.lower())
    if chosen is None:
        raise typer.BadParameter("the file must end in .csv or .parquet", param_hint="--out")
    if target is not None and chosen != "parquet":
        raise typer.BadParameter("a table is filled from Parquet: name it .parquet", param_hint="--out")
    return "csv" if chosen == "csv" else "parquet"


def _placed(
    report: HarmonizeReport, broken: Path | None, out: Path | None, target: Target
) -> tuple[HarmonizeReport, Path | None]:
    """The report with the files as they are kept where a table alone was asked for."""
    if out is not None:
        return report, broken
    rejected = report.rejected_path and kept_beside(target, "rejected", ".csv")
    apart = report.apart_path and kept_beside(target, "other_windows", ".parquet")
    placed = dataclasses.replace(report, out_path=None, rejected_path=rejected, apart_path=apart)
    return placed, broken and kept_beside(target, "broken", ".csv")


@contextmanager
def opened(file: Path, sheet: str | None = None) -> Iterator[tuple[Source, Path]]:
    """A raw file as a source, with a folder for what has to be unpacked; it goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="rmn-") as folder:
        source = open_source(file, work_dir=Path(folder), name=file.name, sheet=sheet)
        if not source.rows:
            raise InvalidInputError(
                f"{file.name} holds no rows that can be read.",
                f"{counted(source.broken_count, 'row')} {agree(source.broken_count, 'are')} broken."
                if source.broken_count
                else "It has none.",
                "Choose another file.",
            )
        yield source, Path(folder)


def find_card(file: Path, given: Path | None) -> SourceCard | None:
    """The card that was named, or `<stem>.card.json` or `card.json` beside the file, or None."""
    if given is not None:
        return read_card(given)
    plain_name = file.name.removesuffix(".gz")
    stems = (plain_name, plain_name.rpartition(".")[0] or plain_name)
    places = [*(file.with_name(f"{stem}.card.json") for stem in stems), file.with_name("card.json")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        return None
    tell(f"Card: {found}")
    return read_card(found)


def find_mapping(given: str, tenant: str | None) -> tuple[Mapping, str]:
    """A mapping file, or a saved mapping, with what to call it. Raises NotFoundError, InvalidInputError."""
    path = Path(given)
    if path.is_file():
        return read_mapping(path), path.name
    with local_if_there(tenant) as here:
        if here is None or path.suffix.lower() in (".yaml", ".yml", ".json"):
            raise NotFoundError(
                f"There is no mapping «{given[:200]}».",
                "It is no file, and no workspace has been set up here that could have saved it."
                if here is None
                else "There is no such file.",
                "Name a YAML or JSON file, or list the saved mappings: python -m app mapping list",
            )
        from app.actions import mappings

        version = mappings.find_version(here.console, here.principal, given)
    return version.mapping, version.label


def totals_table(report: HarmonizeReport) -> list[tuple[str, ...]]:
    """Input, what was set aside (repeats and rejected values), output and difference of every measure."""
    return [
        (
            t.target,
            t.source_field,
            t.input_total,
            str(Decimal(t.duplicates_total) + Decimal(t.rejected_total)),
            t.output_total,
            t.difference,
        )
        for t in report.conservation
    ]


def _totals_word(report: HarmonizeReport) -> str:
    if not report.conserved:
        return "✗ NOT all kept"
    aside = [
        t.source_field
        for t in report.conservation
        if Decimal(t.duplicates_total) or Decimal(t.rejected_total)
    ]
    return f"all accounted for; part of {', '.join(aside)} was set aside" if aside else "all kept to the cent"


def _text(report: HarmonizeReport, broken: Path | None, target: Target | None = None) -> str:
    errors = sum(each.severity == "error" for each in report.findings)
    warnings = sum(each.severity == "warning" for each in report.findings)
    pairs: list[tuple[str, Any]] = [
        ("wrote", report.out_path),
        ("table", target.place if target and report.conserved else None),
        ("rows", f"{report.rows_in:,} in, {report.rows_out:,} out"),
        ("broken rows", f"{report.broken_rows:,}, listed in {broken}" if broken else None),
        ("duplicates", report.duplicates_removed or None),
        ("suppressed", report.suppressed_rows or None),
        ("coverage", f"{report.coverage:.0%} of the columns"),
        ("rejected", report.rejected_path),
        ("other windows", report.apart_path),
        ("totals", _totals_word(report)),
        (
            "findings",
            f"{counted(errors, 'error')}, {counted(warnings, 'warning')}" if report.findings else None,
        ),
        ("took", f"{report.seconds:.1f} s"),
    ]
    lines = [facts(pairs)]
    lines += [f"  {each.severity}: {each.sentence}" for each in report.findings if each.severity != "note"]
    return "\n".join(lines)
