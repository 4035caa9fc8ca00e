import csv
from pathlib import Path

import polars as pl
import pytest

import core.harmonize.source.parts as source_parts
from core.errors import RefusedFileError
from core.harmonize.source.parts import BrokenLog, Parts, check_rows, text_frame
from core.harmonize.source.records import LINE, LINE_TYPE, SourceLimits, shown


def part(lines: list[int], **columns: list[str | None]) -> pl.DataFrame:
    texts = [pl.Series(name, values, pl.String) for name, values in columns.items()]
    return pl.DataFrame([*texts, pl.Series(LINE, lines, LINE_TYPE)])


@pytest.mark.parametrize("size", [1, 16 << 20])
def test_parts_are_one_table_in_order_whatever_columns_each_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(source_parts, "_PART_BYTES", size)
    parts = Parts(tmp_path, "x", SourceLimits())
    parts.add(part([1, 2], a=["p", None]))
    parts.add(part([]))
    parts.add(part([4], b=["q"]))
    frame = parts.scan(("a", "b"))
    assert frame.collect().rows() == [("p", None, 1), (None, None, 2), (None, "q", 4)]
    assert frame.select("b").collect().to_series().to_list() == [None, None, "q"]
    assert parts.rows == 3
    assert len(list(tmp_path.glob("part-*.parquet"))) == (2 if size == 1 else 1)


def test_no_parts_are_an_empty_table(tmp_path: Path) -> None:
    frame = Parts(tmp_path, "x", SourceLimits()).scan(("a",))
    assert dict(frame.collect_schema()) == {"a": pl.String, LINE: LINE_TYPE}


def test_more_rows_than_allowed_are_refused(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "x", SourceLimits(rows=2))
    parts.add(part([1, 2], a=["p", "q"]))
    with pytest.raises(RefusedFileError, match="more than 2 rows"):
        parts.add(part([3], a=["r"]))
    check_rows(2, "x", SourceLimits(rows=2))


def test_empty_texts_are_null_and_zero_is_not() -> None:
    assert text_frame(("a", "b"), [["", "0"], [" ", "x"]], [2, 3]).rows() == [(None, " ", 2), ("0", "x", 3)]


def test_broken_rows_are_kept_up_to_a_number_and_written_all(tmp_path: Path) -> None:
    log = BrokenLog(tmp_path, SourceLimits(line_bytes=5000))
    for number in range(1, 1501):
        log.add(number, "no reason", f"=1+{number}\r\n")
    log.add(2000, "long", "x" * 9000)
    log.add(2001, "foreign", b"\xff,\0\n")
    file = log.close()
    assert (log.count, len(log.first), log.last[-1].raw) == (1502, 1000, "\\xff,\\x00")
    assert file is not None
    with file.open(encoding="utf-8", newline="") as text:
        told = list(csv.reader(text))
    assert told[1] == ["1", "no reason", "=1+1"]
    assert [len(row[2]) for row in told[-2:]] == [5000, 9]
    assert BrokenLog(tmp_path / "other", SourceLimits()).close() is None


def test_the_text_of_a_broken_row_can_always_be_written() -> None:
    assert shown(b"a\xffb\r\n") == "a\\xffb"
    assert shown("half \ud800") == "half \\ud800"
    assert len(shown("x" * 5000)) == 2000
