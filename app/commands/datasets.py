"""dataset list | check | import | export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app.actions import datasets
from app.commands.harmonize import CardOption, find_card
from app.commands.local import local, quiet_settings
from app.commands.output import JsonOption, TenantOption, answer, table
from core.datasets import service as library
from core.datasets.doctor import Examination, examine
from core.datasets.lengths import TokenLengths
from core.datasets.records import Dataset, DatasetKind, Problem
from core.errors import UnavailableError
from core.registry.bases import base_folder
from core.registry.records import AdapterType
from core.training.prompts import TokenCounter
from core.training.service import MODELS_DIR

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
def check(
    name: Annotated[str, typer.Argument(help="A file, or the id or name of a dataset in the library.")],
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Count tokens as the base does; longer examples are errors.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine a training set: score, and what would spoil a run. Exit status 1: there is an error among the findings."""
    file = Path(name)
    if file.is_file():
        about: dict[str, Any] = {"name": file.name}
        seen = examine(file, count_tokens=_counter(max_tokens), max_tokens=max_tokens)
    else:
        with local(tenant) as here:
            dataset = datasets.find_dataset(here.console, here.principal, name)
            about = summary(dataset)
            if dataset.kind not in (DatasetKind.SFT, DatasetKind.DPO, DatasetKind.KTO):
                _answer_unscored(about, datasets.check(here.console, here.principal, dataset.id), as_json)
        path = library.unchanged_file(dataset)
        seen = examine(path, name=dataset.name, count_tokens=_counter(max_tokens), max_tokens=max_tokens)
    about |= {
        name: getattr(seen, name) for name in ("trainable", "score", "band", "lost", "problems", "summary")
    }
    answer(about, lambda: _told(str(about["name"]), seen), as_json)
    raise typer.Exit(0 if seen.trainable else 1)


def _answer_unscored(about: dict[str, Any], problems: list[Problem], as_json: bool) -> NoReturn:
    bad = any(problem.severity == "error" for problem in problems)
    told = f"{about['name']}: nothing found in {about['rows']:,} rows."
    answer({**about, "trainable": not bad, "problems": problems}, lambda: _problems(problems, told), as_json)
    raise typer.Exit(1 if bad else 0)


def _told(name: str, seen: Examination) -> str:
    what = seen.summary
    head = (
        f"{name}: {seen.score:g} of 100, {seen.band}. {what.file_format}, {what.rows:,} rows"
        f" ({', '.join(f'{split} {rows:,}' for split, rows in what.splits.items())}).\n{what.layout_reason}\n"
    )
    lost = "".join(
        f"\n  -{each.points:g}  {each.rule} ({each.rows:,} row{'' if each.rows == 1 else 's'})"
        for each in seen.lost
    )
    return head + _problems(seen.problems, "Nothing was found.") + (f"\nPoints lost:{lost}" if lost else "")


def _problems(problems: Sequence[Problem], empty: str) -> str:
    return table(
        ("SEVERITY", "RULE", "ROWS", "LINES", "WHAT"),
        ((p.severity, p.rule, p.rows, ",".join(map(str, p.lines[:5])), p.message) for p in problems),
        empty,
    )


def _counter(max_tokens: int | None) -> TokenLengths | None:
    """Lengths by the tokenizer of this installation's base; None where it is not here and no limit is asked for."""
    base = base_folder(quiet_settings().base_model, MODELS_DIR)
    if not isinstance(base, Path):
        if max_tokens is None:
            return None
        raise UnavailableError(
            f"The base model {base} is not on this machine yet.",
            "Tokens are counted with its tokenizer.",
            f"Fetch it once, for example with `hf download {base}`, or leave --max-tokens out.",
        )
    counter = TokenCounter(base)
    return lambda rows: [whole for whole, _ in counter.lengths(rows)]


@commands.command("import")
def import_one(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSONL, JSON, CSV, TSV, XLSX or Parquet; text also gzipped.", exists=True, dir_okay=False
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name; that of the file if left out.")] = None,
    type: Annotated[AdapterType | None, typer.Option(help="What an adapter should learn from it.")] = None,
    as_raw: Annotated[
        bool,
        typer.Option("--raw", help="It is a retailer's raw export, to be harmonized; nothing is converted."),
    ] = False,
    card: CardOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a training file into the library, every row of which must be readable; or, with --raw, a raw export."""
    if card is not None and not as_raw:
        raise typer.BadParameter("a source card goes with --raw", param_hint="--card")
    if type is not None and as_raw:
        raise typer.BadParameter("an adapter learns nothing from a raw export", param_hint="--type")
    told = find_card(file, card) if as_raw else None
    with local(tenant) as here, file.open("rb") as content:
        called = name or file.name.partition(".")[0]
        if as_raw:
            dataset = datasets.import_raw(here.console, here.principal, content, called, told)
        else:
            dataset = datasets.import_dataset(here.console, here.principal, content, called, type)
    broken = int(dataset.card.get("broken_rows") or 0)
    answer(
        summary(dataset) | ({"broken_rows": broken} if as_raw else {}),
        lambda: _imported(dataset, broken),
        as_json,
    )


def _imported(dataset: Dataset, broken: int) -> str:
    rows = f"{dataset.rows:,} row{'' if dataset.rows == 1 else 's'}"
    left = f"; {broken:,} broken, listed when it is harmonized" if broken else ""
    return f"Imported {dataset.name}: {rows}{left} ({dataset.id})."


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
