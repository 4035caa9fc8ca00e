"""What traps are looked for in: a sample, read once, with what the mapping says of it."""

from datetime import date, datetime

import polars as pl
import pytest

from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.traps.evidence import Evidence, gather, listed, probe_rows
from tests.core.harmonize.trap_files import Raw, opened


def looked_at(
    frame: pl.DataFrame, *rules: Rule, card: SourceCard | None = None, sample_rows: int = 1000
) -> Evidence:
    return gather(opened(frame), Mapping(rules=rules) if rules else None, card, sample_rows=sample_rows)


def rule(source_field: str, target: str | None, op: str = "none", **more: object) -> Rule:
    return Rule(source_field=source_field, target=target, transform={"op": op, **more})


def test_blank_cells_are_null_and_spaces_do_not_count() -> None:
    told = looked_at(pl.DataFrame({"a": [" x ", "", "  ", None]}))
    assert told.text("a").to_list() == ["x", None, None, None]


def test_typed_columns_are_text_too() -> None:
    frame = pl.DataFrame(
        {
            "d": [date(2026, 3, 4)],
            "t": [datetime(2026, 3, 4, 5)],
            "n": [1.5],
            "b": [True],
            "l": [[1, 2]],
            "x": [b"\0"],
        }
    )
    told = looked_at(frame)
    assert [told.text(name)[0] for name in frame.columns] == [
        "2026-03-04",
        "2026-03-04T05:00:00",
        "1.5",
        "true",
        "[1, 2]",
        None,
    ]
    assert [told.number(name) is None for name in frame.columns] == [True, True, False, True, True, True]


def test_a_long_file_is_seen_at_its_head_and_its_foot() -> None:
    frame = pl.DataFrame({"n": [str(i) for i in range(5000)]})
    told = looked_at(frame, sample_rows=100)
    assert (told.frame.height, told.total_rows) == (600, 5000)
    assert (told.lines[0], told.lines[99], told.lines[100], told.lines[599]) == (2, 101, 4502, 5001)


@pytest.mark.parametrize("rows", [99, 100, 101, 450])
def test_no_row_is_seen_twice(rows: int) -> None:
    told = looked_at(pl.DataFrame({"n": ["x"] * rows}), sample_rows=100)
    assert told.frame.height == told.total_rows == rows
    assert told.lines.n_unique() == rows


def test_a_source_without_line_numbers_gets_row_numbers() -> None:
    frame = pl.DataFrame({"a": ["x", "y"]})
    told = gather(Raw(("a",), frame.lazy()), None, None, sample_rows=10)
    assert told.lines.to_list() == [1, 2]


def test_amounts_are_as_the_mapping_makes_them() -> None:
    frame = pl.DataFrame({"c": ["100", "250", None], "f": ["10", "100", "1"]})
    assert looked_at(frame, rule("c", "cost", "divide", by=100)).amount("c").to_list() == [1.0, 2.5, None]  # type: ignore[union-attr]
    assert looked_at(frame, rule("c", "cost", "multiply", by=2)).amount("c").to_list() == [200.0, 500.0, None]  # type: ignore[union-attr]
    by_field = looked_at(frame, rule("c", "cost", "divide", by_field="f"))
    assert by_field.amount("c").to_list() == [10.0, 2.5, None]  # type: ignore[union-attr]
    assert by_field.number("c").to_list() == [100.0, 250.0, None]  # type: ignore[union-attr]


def test_what_the_mapping_drops_is_known_and_not_used() -> None:
    frame = pl.DataFrame({"a": ["1"], "b": ["2"], "c": ["3"]})
    told = looked_at(
        frame, rule("a", "cost"), rule("b", "cost", "drop"), rule("c", None, "drop"), rule("gone", "clicks")
    )
    assert told.roles == {"a": "cost", "b": "cost"}
    assert told.used == {"a": "cost"}
    assert told.columns_of("cost") == ["a"]


def test_identifiers_and_days_are_no_measures() -> None:
    frame = pl.DataFrame(
        {name: ["1", "2"] for name in ("campaign id", "sku", "clicks", "sales same sku", "position")}
    )
    assert looked_at(frame).measures == ["clicks", "sales same sku", "position"]
    mapped = looked_at(
        frame, rule("campaign id", "campaign_id"), rule("clicks", "clicks"), rule("position", "position")
    )
    assert mapped.measures == ["clicks", "sales same sku"]


def test_the_card_comes_before_the_mapping() -> None:
    mapping = Mapping(rules=(), currency="EUR", account_timezone="Europe/Berlin")
    source = opened(pl.DataFrame({"a": ["x"]}))
    alone = gather(source, mapping, None, sample_rows=10)
    assert (alone.currency, alone.account_timezone) == ("EUR", "Europe/Berlin")
    with_card = gather(
        source, mapping, SourceCard(currency="USD", account_timezone="Asia/Tokyo"), sample_rows=10
    )
    assert (with_card.currency, with_card.account_timezone) == ("USD", "Asia/Tokyo")


def test_many_names_are_cut() -> None:
    assert listed(["a"]) == "«a»"
    assert listed(["a", "b", "c"]) == "«a», «b» and «c»"
    assert listed([str(i) for i in range(9)]) == "«0», «1», «2», «3» and 5 more"
    assert len(listed(["x" * 500])) < 100


def test_a_first_look_is_spread_over_the_whole() -> None:
    assert probe_rows(3, 10) == [0, 1, 2]
    rows = probe_rows(1000, 10)
    assert rows == list(range(0, 1000, 100))
