"""Cells of the data browser: numbers as numbers, texts letter by letter, blank stays blank."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

from app.ui.cells import as_cells, distinct, number_formats, telling_first


def test_numbers_stay_numbers_and_blank_stays_blank() -> None:
    frame = pl.DataFrame(
        {"n": [2**62, None], "x": [0.5, float("nan")], "d": [Decimal("1.10"), None], "t": ["a", None]}
    )
    cells = as_cells(frame)
    assert cells["n"][0] == 2**62
    assert cells.isna().to_numpy().tolist() == [[False] * 4, [True] * 4]
    assert cells["d"][0] == 1.1


def test_times_are_text_in_utc_and_hidden_signs_are_shown() -> None:
    frame = pl.DataFrame({"ts": [datetime(2026, 3, 1, 6, tzinfo=UTC)], "na\u202eme": ["a\u202eb\x00"]})
    cells = as_cells(frame)
    assert list(cells.columns) == ["ts", "na␦me"]
    assert cells.iloc[0].tolist() == ["2026-03-01 06:00:00Z", "a␦b␦"]


def test_as_text_nothing_is_read_as_a_number() -> None:
    assert as_cells(pl.DataFrame({"n": [1]}), as_text=True)["n"].tolist() == ["1"]


def test_names_that_look_alike_get_a_number() -> None:
    assert distinct(["a", "a", "b", "a"]) == ["a", "a (2)", "b", "a (3)"]
    assert as_cells(pl.DataFrame({"a\x00": ["1"], "a\x01": ["2"]})).shape == (1, 2)


def test_ids_get_no_thousands_separators() -> None:
    frame = pl.DataFrame({"campaign_id": [1], "clicks": [1], "name": ["x"]})
    assert list(number_formats(frame)) == ["clicks"]


def test_columns_that_say_the_same_everywhere_come_last_and_lineage_not_at_all() -> None:
    names = ["ts", "grain", "cost", "retailer", "lineage.line", "clicks", "window_click_days"]
    assert telling_first(names) == ["ts", "cost", "clicks", "grain", "retailer", "window_click_days"]
