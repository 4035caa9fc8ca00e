import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from core.errors import RefusedFileError
from core.harmonize.source.open import LINE, Source, SourceLimits, sample, sound_data
from tests.core.harmonize.source_files import opened, rows


def written(tmp_path: Path, frame: pl.DataFrame, limits: SourceLimits = SourceLimits()) -> Source:
    frame.write_parquet(tmp_path / "made.parquet")
    return opened(tmp_path, (tmp_path / "made.parquet").read_bytes(), limits)


def test_types_stay_and_rows_are_numbered_from_one(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": [2**60, None], "cost": [Decimal("1.10"), Decimal("2.00")], "at": [datetime(2026, 3, 1)] * 2}
    )
    source = written(tmp_path, frame)
    assert source.frame.drop(LINE).collect_schema() == frame.schema
    assert rows(source) == [
        (2**60, Decimal("1.10"), datetime(2026, 3, 1), 1),
        (None, Decimal("2.00"), datetime(2026, 3, 1), 2),
    ]
    assert (source.rows, source.broken_count, source.notes) == (2, 0, ())


def test_structs_are_dotted_and_lists_are_json_text(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "event": [{"id": 1, "ad": {"sku": "007"}}, {"id": 2, "ad": None}],
            "items": [[{"sku": "a", "n": 2**60}], []],
            "tags": [["x]", 'y"'], None],
        }
    )
    source = written(tmp_path, frame)
    assert source.columns == ("event.id", "event.ad.sku", "items", "tags")
    (first, second) = rows(source)
    assert first[:2] == (1, "007")
    assert json.loads(str(first[2])) == [{"sku": "a", "n": 2**60}]
    assert json.loads(str(first[3])) == ["x]", 'y"']
    assert second == (2, None, "[]", None, 2)
    assert "«items» holds lists; they are given as JSON text." in source.notes


def test_bytes_are_text_where_they_can_be(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "old": [b"caf\xc3\xa9", None],
            "raw": [b"\xff\x00", b"a"],
            "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
            "none": pl.Series([None, None], dtype=pl.Null),
        }
    )
    source = written(tmp_path, frame)
    assert rows(source) == [("café", "ff00", "x", None, 1), (None, "61", "y", None, 2)]
    assert any("«raw» holds bytes" in note for note in source.notes)


def test_names_are_as_careful_as_those_of_a_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({" a ": [1], "a": [2], "__line": [3], "b.c": [4], "b": [{"c": 5}]})
    assert written(tmp_path, frame).columns == ("a", "a (2)", "__line (2)", "b.c", "b.c (2)")


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    source = written(tmp_path, pl.DataFrame({"a": pl.Series([], dtype=pl.String)}))
    assert (source.rows, rows(source)) == (0, [])


def test_bounds_hold(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(100), "b": [{"c": 1, "d": 2}] * 100})
    for limits in (SourceLimits(rows=99), SourceLimits(columns=2)):
        with pytest.raises(RefusedFileError):
            written(tmp_path, frame, limits)


def test_damage_is_refused_when_it_is_met(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [f"value {i * 7919 % 5003}" for i in range(5000)]})
    content = bytearray(_bytes(tmp_path, frame))
    content[200:-2000] = bytes(len(content) - 2200)
    source = opened(tmp_path, bytes(content))
    with pytest.raises(RefusedFileError, match="damaged"):
        sample(source)
    with pytest.raises(RefusedFileError, match="damaged"), sound_data("x"):
        source.frame.collect()
    with pytest.raises(RefusedFileError, match="damaged"):
        opened(tmp_path, bytes(content[:-40]))


def _bytes(tmp_path: Path, frame: pl.DataFrame) -> bytes:
    frame.write_parquet(tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()
