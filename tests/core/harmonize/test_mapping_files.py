import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.harmonize.mapping_files import (
    card_of,
    diff_mappings,
    mapping_digest,
    mapping_label,
    parse_mapping,
    read_card,
    read_mapping,
    write_mapping,
)
from core.harmonize.records import SourceCard
from tests.core.harmonize.apply_files import mapping_of

MAPPING = mapping_of(
    ("Día", "ts", {"op": "to_utc", "format": "%Y-%m-%d", "source_tz": "UTC"}),
    ("spend", "cost", {"op": "divide", "by": 1_000_000}),
    ("sales14d", "attributed_sales", {"op": "none"}, {"window_click_days": 14}),
    retailer="Shop",
    report="daily",
    headline={"window_click_days": 14},
)


@pytest.mark.parametrize("name", ["m.yaml", "m.yml", "m.json"])
def test_a_mapping_is_read_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    write_mapping(MAPPING, tmp_path / name)
    assert read_mapping(tmp_path / name) == MAPPING


def test_the_digest_is_that_of_what_a_mapping_does(tmp_path: Path) -> None:
    again = parse_mapping(json.dumps(dict(reversed(MAPPING.plain().items()))), "json")
    assert mapping_digest(again) == mapping_digest(MAPPING)
    assert mapping_digest(MAPPING.model_copy(update={"version": 7})) == mapping_digest(MAPPING)
    assert mapping_digest(MAPPING.model_copy(update={"currency": "EUR"})) != mapping_digest(MAPPING)
    assert mapping_label(MAPPING) == f"Shop/daily@1 {mapping_digest(MAPPING)[:12]}"


def test_a_bare_list_is_taken_as_rules() -> None:
    assert (
        parse_mapping('[{"source_field": "a", "target": "clicks", "transform": "none"}]', "json")
        .rules[0]
        .target
        == "clicks"
    )


def test_what_stands_beside_a_mapping_does_not_disturb_it() -> None:
    assert parse_mapping("source: https://example.com\nrules: []\n").rules == ()


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("rules: [", "yaml", "line 1"),
        ("rules:\n  - a: b\n c: d", "yaml", "line 3"),
        ('{"rules": [}', "json", "line 1, column 12"),
        ('{"rules": [{"source_field": "a", "target": "klicks"}]}', "json", "rules.0"),
        (
            '{"rules": [{"source_field": "a", "target": "clicks", "transform": {"op": "divide"}}]}',
            "json",
            "rules.0.transform",
        ),
        ('{"rules": [{"source_field": "a"}, {"source_field": ""}]}', "json", "rules.1.source_field"),
        ('{"rules": [], "rulez": 1}', "json", "rulez"),
        ("just text", "yaml", "not a mapping"),
        ("", "yaml", "not a mapping"),
        ("!!python/object/apply:os.system ['true']", "yaml", "python/object"),
        ("a: &a [1]\nrules: *a", "yaml", "alias"),
        ("rules: " + "[" * 40 + "]" * 40, "yaml", "nested too deep"),
        ("[" * 100_000, "json", "nested too deep"),
    ],
)
def test_a_fault_is_named_with_its_place(text: str, kind: str, place: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_mapping(text, kind)  # type: ignore[arg-type]
    assert place in str(refused.value)


def test_a_yaml_bomb_is_refused_before_it_unfolds() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    with pytest.raises(InvalidInputError, match="alias"):
        parse_mapping(bomb)


def test_a_file_that_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("#" * (9 << 20))
    (tmp_path / "raw.yaml").write_bytes(b"rules: \xff")
    for name, reason in (("long.yaml", "too long"), ("raw.yaml", "UTF-8"), ("none.yaml", "cannot be read")):
        with pytest.raises(InvalidInputError, match=reason):
            read_mapping(tmp_path / name)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_no_text_stops_the_reader_with_another_error(text: str) -> None:
    for kind in ("yaml", "json"):
        with contextlib.suppress(InvalidInputError):
            parse_mapping(text, kind)  # type: ignore[arg-type]


def test_a_card_counts_for_more_than_the_mapping_where_it_says_something(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(
        '{"retailer": "Other", "account_timezone": "Europe/Berlin", "currency": null, "columns": [1]}'
    )
    known = card_of(MAPPING.model_copy(update={"currency": "USD"}), read_card(tmp_path / "card.json"))
    assert known == SourceCard(
        retailer="Other",
        report="daily",
        account_timezone="Europe/Berlin",
        currency="USD",
        headline={"window_click_days": 14},
    )
    assert card_of(MAPPING, None).retailer == "Shop"


def test_a_card_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"currency": "dollars"}')
    with pytest.raises(InvalidInputError, match="currency"):
        read_card(tmp_path / "card.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InvalidInputError, match="card"):
        read_card(tmp_path / "list.json")


def test_differences_of_two_mappings_are_listed_rule_by_rule() -> None:
    new = mapping_of(
        ("Día", "ts", {"op": "to_utc", "format": "%Y-%m-%d", "source_tz": "UTC"}),
        ("spend", "cost", {"op": "divide", "by": 100}),
        ("clicks", "clicks"),
    )
    changes = [
        (each.source_field, each.before is None, each.after is None) for each in diff_mappings(MAPPING, new)
    ]
    assert changes == [("spend", False, False), ("clicks", True, False), ("sales14d", False, True)]
    assert diff_mappings(MAPPING, MAPPING) == []


def test_what_suggest_prints_is_a_mapping_without_its_reasons() -> None:
    told = [
        {
            "source_field": "Spend",
            "target": "cost",
            "transform": {"op": "none"},
            "qualifiers": {},
            "confidence": 0.9,
            "reason": "It is cost.",
            "abstained": False,
            "alternatives": [{"target": None, "confidence": 0.1}],
        }
    ]
    mapping = parse_mapping(json.dumps(told), "json")
    assert [(rule.source_field, rule.target) for rule in mapping.rules] == [("Spend", "cost")]
