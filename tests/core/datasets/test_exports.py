"""Rows in the layouts of other trainers, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets.examples import open_examples
from core.datasets.exports import ExportFormat, ExportLayout, lay_out, write_export
from core.datasets.layout_rows import Parsed
from core.datasets.records import Example, Judgement, Preference, Split
from core.errors import InvalidInputError

PLAIN = [
    Example("Harmonize: a=1", '{"clicks":1}', Split.TRAIN, None, 1),
    Example("Zwei\nZeilen «ü» 🙂", 'Antwort, mit "Zeichen"', Split.TEST, "new_values", 2),
]
TALK = [
    Example(
        "And now?", "Then stop.", Split.TRAIN, None, 1, "Be brief.", (("user", "Hi"), ("assistant", "Go on."))
    ),
    Example("Hello", "Yes?", Split.VALIDATION, None, 2),
]
PAIRS = [
    Preference("Write copy", "Fresh oats.", "BUY NOW!!!", Split.TRAIN, None, 1),
    Preference("Write more", "Crisp apples.", "CLICK!!!", Split.TEST, None, 2),
]
THUMBS = [
    Judgement("Write copy", "Fresh oats.", liked, Split.TRAIN, None, n + 1)
    for n, liked in enumerate((True, False))
]
OF_EXAMPLES = (
    ExportLayout.PROMPT_COMPLETION,
    ExportLayout.MESSAGES,
    ExportLayout.ALPACA,
    ExportLayout.SHAREGPT,
)
CASES = [
    *((rows, layout) for rows in (PLAIN, TALK) for layout in OF_EXAMPLES),
    (PAIRS, ExportLayout.PREFERENCES),
    (PAIRS, ExportLayout.PREFERENCE_MESSAGES),
    (THUMBS, ExportLayout.LABELS),
]


def read_back(path: Path) -> list[Parsed]:
    _, rows = open_examples(path, to_train=False)
    return [replace(row, line=0) for row in rows]  # type: ignore[type-var]


@pytest.mark.parametrize("file_format", list(ExportFormat))
@pytest.mark.parametrize(("rows", "layout"), CASES)
def test_what_is_written_reads_back_as_the_same_examples(
    tmp_path: Path, rows: list[Any], layout: ExportLayout, file_format: ExportFormat
) -> None:
    path = tmp_path / f"rows.{file_format}"
    assert write_export(rows, layout, file_format, path) == len(rows)
    assert read_back(path) == [replace(row, line=0) for row in rows]


@pytest.mark.parametrize(("rows", "layout"), CASES)
def test_the_datasets_library_and_trl_take_every_layout(
    tmp_path: Path, rows: list[Any], layout: ExportLayout
) -> None:
    from trl.data_utils import is_conversational

    from datasets import load_dataset

    path = tmp_path / "rows.jsonl"
    write_export(rows, layout, ExportFormat.JSONL, path)
    loaded = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == len(rows)
    turns = layout in (ExportLayout.MESSAGES, ExportLayout.PREFERENCE_MESSAGES) or (
        rows is TALK and layout is ExportLayout.PROMPT_COMPLETION
    )
    if layout not in (ExportLayout.ALPACA, ExportLayout.SHAREGPT):
        assert is_conversational(loaded[0]) is turns


def test_a_pair_gives_a_thumb_up_and_a_thumb_down() -> None:
    made = list(lay_out(PAIRS, ExportLayout.LABELS))
    assert [(row["completion"], row["label"]) for row in made[:2]] == [
        ("Fresh oats.", True),
        ("BUY NOW!!!", False),
    ]
    assert len(made) == 4


@pytest.mark.parametrize(
    ("rows", "layout"),
    [(PLAIN, ExportLayout.PREFERENCES), (PAIRS, ExportLayout.ALPACA), (THUMBS, ExportLayout.MESSAGES)],
)
def test_what_rows_do_not_say_is_not_made_up(tmp_path: Path, rows: list[Any], layout: ExportLayout) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(InvalidInputError, match="cannot be written as"):
        write_export(rows, layout, ExportFormat.JSONL, path)
    assert not list(tmp_path.iterdir())


def test_a_conversation_that_alpaca_cannot_hold_is_refused() -> None:
    odd = replace(TALK[0], history=(("user", "Hi"),))
    with pytest.raises(InvalidInputError, match="alpaca"):
        list(lay_out([odd], ExportLayout.ALPACA))


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_export(
        [replace(PLAIN[0], completion='=HYPERLINK("http://x")')],
        ExportLayout.PROMPT_COMPLETION,
        ExportFormat.CSV,
        path,
    )
    assert "'=HYPERLINK" in path.read_text()


def test_the_split_and_the_slice_go_along(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_export(PLAIN, ExportLayout.MESSAGES, ExportFormat.JSONL, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["split"], row.get("slice")) for row in rows] == [("train", None), ("test", "new_values")]


def test_a_question_about_a_conversation_stays_a_question(tmp_path: Path) -> None:
    row = replace(PLAIN[0], prompt='[{"role": "user", "content": "Hi"}]')
    path = tmp_path / "rows.csv"
    write_export([row], ExportLayout.PROMPT_COMPLETION, ExportFormat.CSV, path)
    assert read_back(path) == [replace(row, line=0)]
