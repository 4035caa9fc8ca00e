"""Filters of the data browser: what they find, and that what a person types is only ever data."""

import ast
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.datasets import browse as module
from core.datasets.browse import (
    Condition,
    Filter,
    Query,
    browse,
    choices,
    predicate,
    rows_at_lines,
    selected,
    typed,
)
from core.errors import InvalidInputError, RmnError

INJECTIONS = [
    "' OR 1=1 --",
    '" OR ""="',
    "1; DROP TABLE datasets; --",
    "' UNION SELECT key_hash FROM api_keys --",
    "%",
    "_",
    "%' AND 1=(SELECT COUNT(*) FROM users) AND '%'='",
    ".*",
    "^.*$",
    "(a+)+$",
    "*",
    "\\",
    "[",
    "$1",
    "{}",
    "pl.col('a')",
    "__import__('os').system('x')",
    "x' /* */ OR/**/1=1",
    "admin'--",
    "\x00",
    "\ud800",
    "ｅｖｉｌ＇",
    "1e400",
    "nan",
    "-1 OR 1",
    "0x31",
    "CHAR(39)",
    "sleep(5)",
    "waitfor delay '0:0:5'",
]


def frame() -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "__line": [2, 3, 4, 5],
            "name": ["Alpha", "beta", None, " "],
            "spend": ["9.5", "10", "x", None],
            "clicks": [1, 20, 3, None],
            "cost": [0.5, 1.25, None, 4.0],
            "ts": [
                datetime(2026, 3, 1, 0, 0, tzinfo=UTC),
                datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC),
                datetime(2026, 3, 2, 0, 0, tzinfo=UTC),
                None,
            ],
            "day": [date(2026, 3, 1), date(2026, 3, 2), None, date(2026, 3, 4)],
            "flag": [True, False, None, True],
        }
    )


def lines(*filters: Filter, search: str = "") -> list[int]:
    return selected(frame(), Query(filters, search)).collect().get_column("__line").to_list()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Filter("name", Condition.IS, ("ALPHA", "beta")), [2, 3]),
        (Filter("name", Condition.IS_NOT, ("alpha",)), [3, 4, 5]),
        (Filter("name", Condition.CONTAINS, ("ET",)), [3]),
        (Filter("name", Condition.STARTS_WITH, ("al",)), [2]),
        (Filter("name", Condition.BLANK), [4, 5]),
        (Filter("name", Condition.FILLED), [2, 3]),
        (Filter("clicks", Condition.AT_LEAST, ("3",)), [3, 4]),
        (Filter("clicks", Condition.AT_MOST, ("3.5",)), [2, 4]),
        (Filter("clicks", Condition.IS, ("20",)), [3]),
        (Filter("cost", Condition.IS, ("1.250",)), [3]),
        (Filter("clicks", Condition.CONTAINS, ("2",)), [3]),
        (Filter("spend", Condition.AT_LEAST, ("9.6",)), [3]),
        (Filter("ts", Condition.AT_LEAST, ("2026-03-02",)), [4]),
        (Filter("ts", Condition.AT_MOST, ("2026-03-01",)), [2, 3]),
        (Filter("ts", Condition.IS, ("2026-03-01",)), [2, 3]),
        (Filter("ts", Condition.AT_MOST, ("2026-03-01T12:00:00+02:00",)), [2]),
        (Filter("day", Condition.AT_MOST, ("2026-03-02",)), [2, 3]),
        (Filter("day", Condition.IS, ("2026-03-04",)), [5]),
        (Filter("flag", Condition.IS, ("true",)), [2, 5]),
    ],
)
def test_a_filter_finds_what_it_says(asked: Filter, found: list[int]) -> None:
    assert lines(asked) == found


def test_filters_are_joined_and_search_wants_every_word_somewhere() -> None:
    assert lines(Filter("clicks", Condition.AT_LEAST, ("1",)), Filter("name", Condition.FILLED)) == [2, 3]
    assert lines(search="BETA 1.25") == [3]
    assert lines(search="beta 0.5") == []
    assert lines(search="  ") == [2, 3, 4, 5]


def test_texts_that_are_numbers_sort_by_size_and_blanks_come_last() -> None:
    up = selected(frame(), Query(sort="spend")).collect()
    assert up.get_column("spend").to_list() == ["9.5", "10", "x", None]
    down = selected(frame(), Query(sort="clicks", descending=True)).collect()
    assert down.get_column("clicks").to_list() == [20, 3, 1, None]


def test_a_page_says_how_many_rows_fit() -> None:
    page = browse(frame(), Query((Filter("clicks", Condition.FILLED),), sort="clicks"), offset=1, limit=1)
    assert (page.total, page.fitting, page.offset) == (4, 3, 1)
    assert page.rows.get_column("clicks").to_list() == [3]
    assert browse(frame(), Query(), limit=0).rows.height == 1
    assert browse(frame(), Query(), offset=99).rows.height == 0


def test_choices_come_by_frequency_and_without_blanks() -> None:
    table = pl.LazyFrame({"retailer": ["b", "a", "b", None]})
    assert choices(table, "retailer") == ("b", "a")
    assert choices(table, "retailer", limit=1) == ("b",)


def test_raw_rows_are_found_by_their_lines() -> None:
    assert rows_at_lines(frame(), [5, 2, 2, 77]).get_column("__line").to_list() == [2, 5]


def test_only_plain_numbers_become_numbers() -> None:
    table = pl.DataFrame(
        {
            "n": ["1", None, "22"],
            "d": ["1.5", "2", "3"],
            "upc": ["012", "1", "2"],
            "t": ["1", "x", "2"],
            "e": [None] * 3,
        },
        schema_overrides={"e": pl.String},
    )
    assert list(typed(table).dtypes) == [pl.Int64, pl.Float64, pl.String, pl.String, pl.String]


@pytest.mark.parametrize(
    "asked",
    [
        Filter("nothing", Condition.IS, ("1",)),
        Filter("^.*$", Condition.IS, ("1",)),
        Filter("*", Condition.FILLED),
        Filter("clicks", Condition.AT_LEAST, ("many",)),
        Filter("clicks", Condition.AT_LEAST, ("nan",)),
        Filter("ts", Condition.AT_MOST, ("soon",)),
        Filter("name", Condition.IS, ()),
        Filter("name", Condition.IS, ("x" * 1001,)),
        Filter("name", Condition.IS, ("x",) * 501),
    ],
)
def test_what_does_not_fit_is_refused_with_a_next_step(asked: Filter) -> None:
    with pytest.raises(InvalidInputError) as caught:
        predicate(frame().collect_schema(), asked)
    assert caught.value.next_step


def test_too_many_filters_and_unknown_sort_columns_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        browse(frame(), Query((Filter("name", Condition.FILLED),) * 21))
    with pytest.raises(InvalidInputError):
        browse(frame(), Query(sort="^.*$"))


def test_a_column_may_be_called_like_a_pattern() -> None:
    table = pl.LazyFrame({"^.*$": ["a", "b"], "*": ["c", "d"], "x'; DROP": ["e", "f"]})
    for name, value in (("^.*$", "b"), ("*", "d"), ("x'; DROP", "f")):
        found = selected(table, Query((Filter(name, Condition.IS, (value,)),), sort=name)).collect()
        assert found.height == 1
        assert choices(table, name)


@pytest.mark.parametrize("text", INJECTIONS)
def test_threat_20_what_is_typed_finds_itself_and_nothing_else(text: str) -> None:
    shown = text.encode("utf-8", "replace").decode()
    table = pl.LazyFrame({"value": ["harmless", "other", f"x{shown}y"], "n": [1, 2, 3]})
    for test in (Condition.CONTAINS, Condition.STARTS_WITH, Condition.IS):
        found = selected(table, Query((Filter("value", test, (text,)),))).collect()
        assert found.height <= 1
    inside = selected(table, Query((Filter("value", Condition.CONTAINS, (text,)),))).collect()
    assert inside.get_column("n").to_list() == [3]
    for name in (text, f"value{text}", f"value'{text}"):
        with pytest.raises(RmnError):
            browse(table, Query((Filter(name, Condition.IS, ("x",)),)))
        with pytest.raises(RmnError):
            browse(table, Query(sort=name))


LETTERS = st.text(st.sampled_from("abcXYZ019 %_'\"\\*.^$[](){}|-+äÖ;"), max_size=8)


@given(st.lists(LETTERS, min_size=1, max_size=8), LETTERS.filter(bool))
def test_threat_20_contains_is_pythons_in_for_any_text(values: list[str], wanted: str) -> None:
    table = pl.LazyFrame({"v": values}, schema={"v": pl.String})
    for test, fits in (
        (Condition.CONTAINS, lambda v: wanted.lower() in v.lower()),
        (Condition.STARTS_WITH, lambda v: v.lower().startswith(wanted.lower())),
        (Condition.IS, lambda v: v.strip().lower() == wanted.strip().lower()),
        (Condition.IS_NOT, lambda v: v.strip().lower() != wanted.strip().lower()),
    ):
        found = selected(table, Query((Filter("v", test, (wanted,)),))).collect().get_column("v").to_list()
        assert found == [value for value in values if fits(value)]


@given(
    column=st.one_of(
        st.sampled_from(["name", "spend", "clicks", "cost", "ts", "day", "flag"]), st.text(max_size=10)
    ),
    test=st.sampled_from(Condition),
    value=st.text(max_size=30),
)
def test_threat_20_any_filter_gives_a_part_of_the_rows_or_a_clear_refusal(
    column: str, test: Condition, value: str
) -> None:
    try:
        found = selected(frame(), Query((Filter(column, test, (value,)),))).collect()
    except InvalidInputError:
        return
    assert column in frame().collect_schema()
    kept = frame().filter(pl.col("__line").is_in(found.get_column("__line").to_list())).collect()
    assert_frame_equal(found, kept)


def test_threat_20_no_sql_and_no_pattern_is_built_from_text() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    assert not called & {"sql", "sql_expr", "execute", "eval", "text", "map_elements", "deserialize"}
    contains = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "contains"
    ]
    constant = [node for node in contains if isinstance(node.args[0], ast.Name) and node.args[0].id.isupper()]
    literal = [node for node in contains if any(keyword.arg == "literal" for keyword in node.keywords)]
    assert {*constant, *literal} == {*contains}
