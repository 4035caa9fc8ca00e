import csv
import os
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.harmonize import sinks
from core.harmonize.formulas import formula_safe
from core.harmonize.sinks import RowFormat
from core.storage.files import staged_file


def written(rows: pl.LazyFrame, path: Path, format: RowFormat) -> Path:
    with staged_file(path) as part:
        pl.collect_all([sinks.sink(rows, part, format)], engine="streaming")
    return path


ROWS = pl.LazyFrame(
    {
        "ts": [
            datetime(2026, 3, 2, 1, 2, 3, tzinfo=UTC),
            datetime(2026, 3, 2, 1, 2, 3, 250_000, tzinfo=UTC),
            None,
        ],
        "date_local": [date(2026, 3, 2), None, None],
        "cost": [-1.5, 0.1, None],
        "clicks": [-3, 0, None],
        "name": ["=1+1", "a,b;c", ""],
        "flag": [True, False, None],
    }
)


def test_csv_is_what_a_spreadsheet_can_open_without_running_anything(tmp_path: Path) -> None:
    with written(ROWS, tmp_path / "r.csv", "csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["ts", "date_local", "cost", "clicks", "name", "flag"]
    assert rows == [
        ["2026-03-02T01:02:03Z", "2026-03-02", "-1.5", "-3", "'=1+1", "true"],
        ["2026-03-02T01:02:03.250Z", "", "0.1", "0", "a,b;c", "false"],
        ["", "", "", "", "", ""],
    ]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_rows_are_read_back_with_their_types(tmp_path: Path, format: RowFormat) -> None:
    path = written(ROWS.drop("name"), tmp_path / f"r.{format}", format)
    assert sinks.scan(path, format, ROWS.drop("name")).collect().equals(ROWS.drop("name").collect())


@pytest.mark.parametrize(
    "text", ["=1", "+a", "-a", "@x", "\tx", "\rx", "\0x", " =1", '"=1', ";=1", "＝1", "'=1", "\u00a0=1"]
)
def test_what_a_spreadsheet_could_run_is_guarded(text: str) -> None:
    assert pl.select(formula_safe(pl.lit(text))).item() == f"'{text}"


@pytest.mark.parametrize("text", ["-5", "+1.5", "-1,5", "a=1", "", "2026-03-02", "x-y", "00123", "'quoted'"])
def test_plain_numbers_and_texts_stay_as_they_are(text: str) -> None:
    assert pl.select(formula_safe(pl.lit(text))).item() == text


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_no_text_begins_a_formula_and_none_is_lost(text: str) -> None:
    shown = pl.select(formula_safe(pl.lit(text))).item()
    assert shown.removeprefix("'") == text.removeprefix("'") or shown == text
    signed = text[:1] in "+-" and text[1:].replace(".", "", 1).replace(",", "", 1).isdecimal()
    assert signed or not shown[:1] or shown[:1] not in "=+-@\t\r\0"


def test_a_format_is_that_of_the_name_unless_it_is_told() -> None:
    assert sinks.format_of(Path("a.CSV"), None) == "csv"
    assert sinks.format_of(Path("a"), "parquet") == "parquet"
    with pytest.raises(InvalidInputError, match="xlsx"):
        sinks.format_of(Path("a.xlsx"), None)


def test_a_fault_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("old")
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        written(ROWS.select("gone"), path, "csv")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["r.csv"]


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        seen.append("sync")
        real_sync(handle)

    def rename(self: Path, target: Path) -> Path:
        seen.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    written(ROWS, tmp_path / "r.parquet", "parquet")
    assert seen[:2] == ["sync", "rename"]


def test_files_beside_another_carry_its_stem() -> None:
    assert sinks.beside(Path("/a/rows.csv"), "rejected", ".csv") == Path("/a/rows.rejected.csv")
    assert sinks.beside(Path("/a/rows.parquet"), "other_windows") == Path("/a/rows.other_windows.parquet")
