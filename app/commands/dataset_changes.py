"""dataset versions | fix | split | undo | diff | convert | build: the commands that make new versions and other files."""

from pathlib import Path
from typing import Annotated

import typer

from app.actions import datasets
from app.commands.datasets import Named, commands, summary
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, moment, table
from core.datasets.exports import ExportFormat, ExportLayout, convert_file
from core.datasets.from_mapping import SetPlan
from core.datasets.records import Dataset, Split
from core.datasets.split_plan import SplitBy, SplitPlan
from core.errors import InvalidInputError

__all__ = ["commands"]


@commands.command("versions")
def versions(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the versions of a set, newest first."""
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        found = datasets.list_versions(here.console, here.principal, dataset.id)
    answer(
        [
            {**summary(v.dataset), "version": v.number, "current": v.current, "change": v.change}
            for v in found
        ],
        lambda: table(
            ("VERSION", "CURRENT", "ROWS", "MADE", "CHANGE", "ID"),
            (
                (
                    v.number,
                    "yes" if v.current else "",
                    f"{v.dataset.rows:,}",
                    moment(v.dataset.created_at),
                    v.change,
                    v.dataset.id,
                )
                for v in found
            ),
            "",
        ),
        as_json,
    )


@commands.command("fix")
def fix(
    name: Named,
    rule: Annotated[str, typer.Option(help="Rule of the doctor whose finding is to be mended.")],
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would change.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mend what a rule found: a new version. `dataset undo` brings the earlier one back."""
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        if preview:
            told = datasets.preview_fix(here.console, here.principal, dataset.id, rule)
            words = f"{told.fix}: {told.rows_changed:,} rows would change, {told.rows_removed:,} would go."
            answer(told, lambda: words, as_json)
            return
        made = datasets.apply_fix(here.console, here.principal, dataset.id, rule)
    _tell_made(made, as_json)


@commands.command("undo")
def undo(
    name: Named,
    version: Annotated[int | None, typer.Option(min=1, help="Version to go back to; the one before.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version the current one again. No version is lost."""
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        found = datasets.list_versions(here.console, here.principal, dataset.id)
        current = next((v.number for v in found if v.current), len(found))
        wanted = current - 1 if version is None else version
        chosen = next((v for v in found if v.number == wanted), None)
        if chosen is None:
            raise InvalidInputError(
                f"«{dataset.name}» has no version {wanted}.",
                f"It has {len(found)}; version {current} is the current one.",
                "List them: dataset versions.",
            )
        made = datasets.make_current(here.console, here.principal, chosen.dataset.id)
    _tell_made(made, as_json)


@commands.command("split")
def split(
    name: Named,
    by: Annotated[SplitBy, typer.Option(help="What must not be on both sides.")] = SplitBy.QUESTION,
    train: Annotated[float, typer.Option(min=0, max=1)] = 0.8,
    validation: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deal the rows out anew so that nothing leaks: a new version."""
    plan = SplitPlan(by, {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}, seed)
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        made, outcome = datasets.split_dataset(here.console, here.principal, dataset.id, plan)
    rows = {str(each): count for each, count in outcome.rows.items()}
    told = ", ".join(f"{each} {count:,}" for each, count in rows.items())
    value = {
        **summary(made),
        "splits": rows,
        "groups": outcome.groups,
        "largest_group": outcome.largest_group,
    }
    answer(value, lambda: f"{made.name}: {told}; {outcome.groups:,} groups ({made.id}).", as_json)


@commands.command("diff")
def diff(
    old: Annotated[str, typer.Argument(help="Id of the one version.")],
    new: Annotated[str, typer.Argument(help="Id of the other.")],
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rows added, removed, changed and kept between two versions. Exit status 1: they differ."""
    with local(tenant) as here:
        told = datasets.diff_versions(here.console, here.principal, old, new)
    counted = f"{told.added:,} added, {told.removed:,} removed, {told.changed:,} changed, {told.kept:,} kept."
    answer(told, lambda: counted, as_json)
    raise typer.Exit(1 if told.added or told.removed or told.changed else 0)


@commands.command("convert")
def convert(
    name: Annotated[str, typer.Argument(help="A file, or the id or name of a set in the library.")],
    to: Annotated[ExportLayout, typer.Option("--to", help="Layout to write.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .jsonl, .json, .csv or .parquet.")],
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a training set in the layout and format that another trainer loads."""
    try:
        file_format = ExportFormat(out.suffix.removeprefix(".").lower())
    except ValueError:
        raise InvalidInputError(
            f"Rows cannot be written as «{out.suffix[:20]}».",
            "There are .jsonl, .json, .csv and .parquet.",
            "End the name of --out so.",
        ) from None
    if Path(name).is_file():
        rows = convert_file(Path(name), to, file_format, out)
    else:
        with local(tenant) as here:
            dataset = datasets.find_dataset(here.console, here.principal, name)
            datasets.export_as(here.console, here.principal, dataset.id, to, file_format, out)
            rows = dataset.rows
    value = {"path": out, "layout": to, "format": file_format, "rows": rows}
    answer(value, lambda: f"Wrote {out}: {rows:,} rows as {to}.", as_json)


@commands.command("build")
def build(
    raw: Annotated[str, typer.Argument(help="Id or name of a raw export in the library.")],
    mapping: Annotated[str, typer.Option(help="Saved mapping: name, name@version or id.")],
    name: Annotated[str, typer.Option(help="Name of the training set.")],
    records: Annotated[int, typer.Option(min=20, max=20_000, help="Training records at most.")] = 400,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Column that training leaves out; can be repeated.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a retailer training set from a raw export and a mapping."""
    plan = SetPlan(train=records, held_out=tuple(hold_out or ()))
    with local(tenant) as here:
        made = datasets.build_from_mapping(
            here.console, here.principal, dataset=raw, mapping=mapping, name=name, plan=plan
        )
    _tell_made(made, as_json)


def _tell_made(made: Dataset, as_json: bool) -> None:
    answer(summary(made), lambda: f"{made.name}: {made.rows:,} rows ({made.id}).", as_json)
