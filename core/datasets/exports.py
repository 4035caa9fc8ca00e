"""Training rows in the layouts and files that other trainers load.

Layouts follow what TRL, Axolotl and LLaMA-Factory document: prompt and completion (plain or conversational), messages,
Alpaca, ShareGPT, chosen and rejected (plain or conversational), and KTO's labels. `split` and `slice` go along.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from core.datasets.examples import SHOWN_FAULTS, open_examples, unreadable_rows
from core.datasets.layout_rows import Parsed
from core.datasets.records import Example, Judgement, Preference
from core.datasets.rows import Fault
from core.errors import InvalidInputError
from core.harmonize.exports import write_csv
from core.storage.files import staged_file

Columns = dict[str, Any]
Message = dict[str, str]


class ExportLayout(StrEnum):
    """How rows are laid out in an exported file."""

    PROMPT_COMPLETION = (
        "prompt_completion"  # text; lists of messages where a row has a system turn or a history
    )
    MESSAGES = "messages"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    PREFERENCES = "preferences"  # prompt, chosen, rejected: text
    PREFERENCE_MESSAGES = "preference_messages"  # the same as lists of messages
    LABELS = "labels"  # prompt, completion, label: what KTO loads


class ExportFormat(StrEnum):
    """How an exported file is written."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def write_export(rows: Sequence[Parsed], layout: ExportLayout, file_format: ExportFormat, path: Path) -> int:
    """Write all rows and return how many were written; the file is there whole or not at all.

    A pair in the layout of labels gives two rows. In CSV, lists are JSON text and cells that a spreadsheet would
    run as a formula begin with an apostrophe. Raises InvalidInputError when the rows have no such layout.
    """
    laid_out = list(lay_out(rows, layout))
    _WRITERS[file_format](laid_out, path)
    return len(laid_out)


def convert_file(
    source: Path, layout: ExportLayout, file_format: ExportFormat, target: Path, *, name: str = ""
) -> int:
    """Write a training file in another layout and format; the number of rows written.

    Raises InvalidInputError that lists the rows that cannot be read: none is left out without a word.
    """
    _, rows = open_examples(source, name=name or source.name, to_train=False)
    read: list[Parsed] = []
    faults: list[Fault] = []
    for row in rows:
        if isinstance(row, Fault):
            faults.append(row)
        else:
            read.append(row)
    if faults:
        raise unreadable_rows(name or source.name, faults[:SHOWN_FAULTS], len(faults))
    return write_export(read, layout, file_format, target)


def lay_out(rows: Sequence[Parsed], layout: ExportLayout) -> Iterator[Columns]:
    """The columns of each row in that layout. Raises InvalidInputError that says which layouts there are."""
    kinds = {type(row) for row in rows}
    if fitting := [kind for kind in kinds if layout not in LAYOUTS_OF[kind]]:
        offered = ", ".join(LAYOUTS_OF[fitting[0]])
        raise InvalidInputError(
            f"These rows cannot be written as {layout}.",
            f"They are {_WORDS[fitting[0]]}, and nothing may be made up that they do not say.",
            f"Choose one of {offered}.",
        )
    turns = layout is ExportLayout.PREFERENCE_MESSAGES or any(row.system or row.history for row in rows)
    return (columns | _place(row) for row in rows for columns in _columns(row, layout, turns))


LAYOUTS_OF: Mapping[type, tuple[ExportLayout, ...]] = MappingProxyType(
    {
        Example: (
            ExportLayout.PROMPT_COMPLETION,
            ExportLayout.MESSAGES,
            ExportLayout.ALPACA,
            ExportLayout.SHAREGPT,
        ),
        Preference: (ExportLayout.PREFERENCES, ExportLayout.PREFERENCE_MESSAGES, ExportLayout.LABELS),
        Judgement: (ExportLayout.LABELS,),
    }
)
_WORDS: Mapping[type, str] = MappingProxyType(
    {
        Example: "questions with one answer",
        Preference: "pairs of answers",
        Judgement: "answers with a thumb up or down",
    }
)


def _columns(row: Parsed, layout: ExportLayout, turns: bool) -> Iterator[Columns]:
    match row:
        case Example():
            yield _example(row, layout, turns)
        case Judgement():
            yield _asked(row, turns) | _answered(row.completion, turns) | {"label": row.liked}
        case Preference() if layout is ExportLayout.LABELS:
            for text, liked in ((row.chosen, True), (row.rejected, False)):
                yield _asked(row, turns) | _answered(text, turns) | {"label": liked}
        case Preference():
            answers = {"chosen": row.chosen, "rejected": row.rejected}
            yield _asked(row, turns) | {
                name: [_message("assistant", text)] if turns else text for name, text in answers.items()
            }


def _example(row: Example, layout: ExportLayout, turns: bool) -> Columns:
    match layout:
        case ExportLayout.MESSAGES:
            return {"messages": [*_before(row), _message("assistant", row.completion)]}
        case ExportLayout.SHAREGPT:
            spoken = [*_before(row), _message("assistant", row.completion)]
            return {"conversations": [{"from": _SPEAKER[m["role"]], "value": m["content"]} for m in spoken]}
        case ExportLayout.ALPACA:
            return _alpaca(row)
    return _asked(row, turns) | _answered(row.completion, turns)


def _alpaca(row: Example) -> Columns:
    made: Columns = {"instruction": row.prompt, "input": "", "output": row.completion}
    if row.system:
        made["system"] = row.system
    if row.history:
        texts = [text for _, text in row.history]
        if [role for role, _ in row.history] != ["user", "assistant"] * (len(texts) // 2):
            raise InvalidInputError(
                "A conversation cannot be written as alpaca.",
                f"The turns of line {row.line} are not questions with their answers alone.",
                "Choose messages or sharegpt.",
            )
        made["history"] = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    return made


_SPEAKER = MappingProxyType({"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"})


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _before(row: Parsed) -> list[Message]:
    """Every turn before the answer."""
    system = [_message("system", row.system)] if row.system else []
    return [*system, *(_message(role, text) for role, text in row.history), _message("user", row.prompt)]


def _asked(row: Parsed, turns: bool) -> Columns:
    return {"prompt": _before(row) if turns else row.prompt}


def _answered(text: str, turns: bool) -> Columns:
    return {"completion": [_message("assistant", text)] if turns else text}


def _place(row: Parsed) -> Columns:
    return {"split": str(row.split)} | ({"slice": row.slice} if row.slice is not None else {})


def _write_jsonl(rows: Sequence[Columns], path: Path) -> None:
    with staged_file(path) as staging, staging.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_json(rows: Sequence[Columns], path: Path) -> None:
    with staged_file(path) as staging, staging.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


def _write_csv(rows: Sequence[Columns], path: Path) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [_cell(row.get(name)) for row in rows] for name in names}
    write_csv(pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String)), path)


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _write_parquet(rows: Sequence[Columns], path: Path) -> None:
    with staged_file(path) as staging:
        pl.DataFrame(list(rows), infer_schema_length=None).write_parquet(staging, compression="zstd")


_WRITERS: Mapping[ExportFormat, Callable[[Sequence[Columns], Path], None]] = MappingProxyType(
    {
        ExportFormat.JSONL: _write_jsonl,
        ExportFormat.JSON: _write_json,
        ExportFormat.CSV: _write_csv,
        ExportFormat.PARQUET: _write_parquet,
    }
)
