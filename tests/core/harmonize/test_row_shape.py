import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harmonize.row_shape import (
    Items,
    Part,
    corrected,
    repeated_lines,
    with_items,
    with_parts,
    without_lines,
)
from core.harmonize.source.records import LINE


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([None, "", "a", " a", "b", "c", "a\0"]), max_size=40))
def test_the_first_row_of_each_key_stays(keys: list[str | None]) -> None:
    frame = pl.LazyFrame({"k": keys, LINE: list(range(len(keys)))}, schema={"k": pl.String, LINE: pl.UInt32})
    left = without_lines(frame, repeated_lines(frame, ["k"])).collect()[LINE].to_list()
    seen: set[str] = set()
    expected = []
    for line, key in enumerate(keys):
        bare = (key or "").strip()
        if not bare or bare not in seen:
            expected.append(line)
        seen.add(bare)
    assert left == expected


def test_keys_of_several_columns_are_compared_as_a_whole() -> None:
    frame = pl.LazyFrame({"a": ["x", "x", "x", None], "b": ["1", "2", "1", "1"], LINE: [2, 3, 4, 5]})
    assert repeated_lines(frame, ["a", "b"]).to_list() == [4]


def test_items_become_rows_and_keep_every_digit() -> None:
    frame = pl.LazyFrame(
        {"i": ['[{"n": 1.10, "t": {"u": true}}, {"n": 123456789012345678901}]', "[]", None, '{"n": "x"}']}
    )
    made = with_items(frame, Items("i", {"n": "n", "u": "t.u"})).collect()
    assert made.select("n", "u", "__child").rows() == [
        ("1.10", "true", 0),
        ("123456789012345678901", None, 1),
        (None, None, 0),
        (None, None, 0),
        ("x", None, 0),
    ]


@pytest.mark.parametrize("bad", ["[", "[1,", "nonsense", "[" * 5000, '{"a":', "\ufeff[]"])
def test_a_list_that_cannot_be_read_is_one_row_that_is_marked(bad: str) -> None:
    made = with_items(pl.LazyFrame({"i": [bad, "[]"]}), Items("i", {"n": "n"})).collect()
    assert made.select("n", "__sound").rows() == [(None, False), (None, True)]


def test_lists_of_a_parquet_file_are_read_too() -> None:
    made = with_items(pl.LazyFrame({"i": [[{"n": 1}, {"n": 2}], None]}), Items("i", {"n": "n"})).collect()
    assert made["n"].to_list() == ["1", "2", None]


def test_each_part_with_a_value_is_a_row_in_the_order_of_the_rules() -> None:
    frame = pl.LazyFrame({"a": ["1", None, None], "b": ["2", "3", None]})
    made = with_parts(frame, [Part({}, ("a",)), Part({}, ("b",))]).collect()
    assert made.select("__part", "__first_part").rows() == [(0, 0), (1, 0), (1, 1), (-1, -1)]


def test_corrections_add_up_to_the_same_float_in_any_order() -> None:
    frame = pl.DataFrame(
        {
            "campaign_id": ["a"] * 3000,
            "cost": [0.1, 0.2, -0.3] * 1000,
            "clicks": [1, 2, None] * 1000,
            "lineage.line": list(range(3000)),
        }
    )
    for seed in range(3):
        made = corrected(
            frame.sample(fraction=1, shuffle=True, seed=seed).lazy(), ["campaign_id"], "lineage.line"
        ).collect()
        assert made.row(0) == ("a", 0.0, 3000, 0)


def test_blank_stays_blank_when_corrections_are_summed() -> None:
    frame = pl.LazyFrame(
        {"campaign_id": ["a", "a", None, None], "cost": [None, None, 1.0, 2.0], "lineage.line": [1, 2, 3, 4]},
        schema_overrides={"cost": pl.Float64},
    )
    made = corrected(frame, ["campaign_id"], "lineage.line").collect()
    assert made.rows() == [("a", None, 1), (None, 1.0, 3), (None, 2.0, 4)]
