"""Broken rows are written beside the harmonized ones."""

import csv
from pathlib import Path
from typing import Any

import pytest

from core.harmonize.broken_rows import export_broken
from core.harmonize.records import Mapping
from core.harmonize.source.open import Source, open_source


def opened(folder: Path, text: str) -> Source:
    path = folder / "raw.csv"
    path.write_text(text)
    return open_source(path, work_dir=folder / "work")


def mapping(op: str = "string_id") -> Mapping:
    rule: dict[str, Any] = {"source_field": "user", "target": "user_id", "transform": {"op": op}}
    return Mapping.model_validate({"rules": [rule]})


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_broken_row_is_there_with_its_line_reason_and_text(tmp_path: Path) -> None:
    source = opened(tmp_path, "day,user,clicks\n1,ann,2\n2,bob\n3,cid,4\n4\n")
    path = export_broken(source, mapping(), tmp_path / "rows.parquet")
    assert path == tmp_path / "rows.broken.csv"
    heading, *rows = rows_of(path)
    assert heading == ["line", "reason", "raw"]
    assert [(row[0], row[2]) for row in rows] == [("3", "2,bob"), ("5", "4")]
    assert all(row[1] for row in rows)


def test_a_broken_row_that_a_spreadsheet_would_run_is_made_harmless(tmp_path: Path) -> None:
    source = opened(tmp_path, "day,user,clicks\n1,ann,2\n=cmd|' /C calc'!A0\n")
    path = export_broken(source, mapping(), tmp_path / "rows.csv")
    assert path is not None
    assert rows_of(path)[1][2] == "'=cmd|' /C calc'!A0"


def test_whom_a_mapping_hides_is_not_named_by_a_broken_row(tmp_path: Path) -> None:
    source = opened(tmp_path, "day,user,clicks\n1,ann,2\n2,bob\n")
    path = export_broken(source, mapping("pseudonymize"), tmp_path / "rows.csv")
    assert path is not None
    assert rows_of(path)[0] == ["line", "reason"]
    assert "bob" not in path.read_text()


@pytest.mark.parametrize("left", [True, False])
def test_a_sound_file_leaves_no_list_not_even_that_of_an_earlier_run(tmp_path: Path, left: bool) -> None:
    if left:
        (tmp_path / "rows.broken.csv").write_text("old")
    source = opened(tmp_path, "day,user,clicks\n1,ann,2\n")
    assert export_broken(source, mapping(), tmp_path / "rows.csv") is None
    assert not (tmp_path / "rows.broken.csv").exists()
