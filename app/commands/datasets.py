"""dataset list | check | import | export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.actions import datasets
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, table
from core.datasets.records import Dataset, DatasetKind
from core.registry.records import AdapterType

commands = typer.Typer(help="Datasets: list, check, move.", no_args_is_help=True)
Named = Annotated[str, typer.Argument(help="Id or name.")]


@commands.command("list")
def list_all(
    kind: Annotated[DatasetKind | None, typer.Option(help="Only those of this kind.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets, newest first."""
    with local(tenant) as here:
        found = datasets.list_datasets(here.console, here.principal, kind)
    answer(
        [summary(dataset) for dataset in found],
        lambda: table(
            ("NAME", "KIND", "FOR", "ROWS", "SIMULATED", "ID"),
            (
                (d.name, d.kind, d.adapter_type or "", f"{d.rows:,}", "yes" if d.simulated else "no", d.id)
                for d in found
            ),
            "No datasets yet. Import one: python -m app dataset import FILE --name NAME",
        ),
        as_json,
    )


@commands.command("check")
def check(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Look for what would spoil a training run. Exit status 1: there is an error among the findings."""
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        problems = datasets.check(here.console, here.principal, dataset.id)
    bad = any(problem.severity == "error" for problem in problems)
    answer(
        {**summary(dataset), "trainable": not bad, "problems": problems},
        lambda: table(
            ("SEVERITY", "RULE", "ROWS", "LINES", "WHAT"),
            ((p.severity, p.rule, p.rows, ",".join(map(str, p.lines[:5])), p.message) for p in problems),
            f"{dataset.name}: nothing found in {dataset.rows:,} rows.",
        ),
        as_json,
    )
    raise typer.Exit(1 if bad else 0)


@commands.command("import")
def import_one(
    file: Annotated[
        Path, typer.Argument(help="JSONL, JSON or CSV, plain or gzipped.", exists=True, dir_okay=False)
    ],
    name: Annotated[str | None, typer.Option(help="Its name; that of the file if left out.")] = None,
    type: Annotated[AdapterType | None, typer.Option(help="What an adapter should learn from it.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a training file into the library. Every row must be readable."""
    with local(tenant) as here, file.open("rb") as content:
        called = name or file.name.partition(".")[0]
        dataset = datasets.import_dataset(here.console, here.principal, content, called, type)
    answer(
        summary(dataset), lambda: f"Imported {dataset.name}: {dataset.rows:,} rows ({dataset.id}).", as_json
    )


@commands.command("export")
def export_one(
    name: Named,
    to: Annotated[Path, typer.Option("--to", help="Folder or file to write.")] = Path(),
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the file of a dataset out of the library, byte for byte."""
    with local(tenant) as here:
        dataset = datasets.find_dataset(here.console, here.principal, name)
        target = datasets.export_dataset(here.console, here.principal, dataset.id, to)
    value = {"id": dataset.id, "digest": dataset.digest, "path": target, "bytes": dataset.size_bytes}
    answer(value, lambda: f"Wrote {target}.", as_json)


def summary(dataset: Dataset) -> dict[str, Any]:
    """A dataset without its card."""
    names = (
        "id", "name", "title", "kind", "adapter_type", "description", "simulated", "digest", "size_bytes", "rows",
        "created_at",
    )  # fmt: skip
    return {name: getattr(dataset, name) for name in names}
