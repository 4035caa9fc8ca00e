"""How commands answer: text for people on stdout, one JSON document for programs, progress on stderr."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Slug of the workspace; the demo workspace if left out.")
]


def answer(value: Any, text: Callable[[], str], as_json: bool) -> None:
    """Print `value` as JSON, or what `text` says of it."""
    sys.stdout.write((json.dumps(plain(value), ensure_ascii=False, indent=2) if as_json else text()) + "\n")


def tell(text: str) -> None:
    """Progress and remarks: on stderr, so that stdout holds the answer alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def plain(value: Any) -> Any:
    """Records, models, times and paths as JSON knows them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> str:
    """Columns as wide as they need to be; what could move the cursor of a terminal is shown as a sign."""
    lines = [[printable(str(cell)) for cell in row] for row in rows]
    if not lines:
        return empty
    grid = [list(headings), *lines]
    widths = [max(len(line[i]) for line in grid) for i in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in grid
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Name and value, one per line."""
    known = [(name, printable(str(value))) for name, value in pairs if value is not None]
    width = max(len(name) for name, _ in known)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in known)


def printable(text: str) -> str:
    """The text without control characters: names and model output are untrusted."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def moment(value: datetime | None) -> str:
    """As the tables show it."""
    return "" if value is None else value.strftime("%Y-%m-%d %H:%M")
