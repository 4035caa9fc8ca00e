"""What the commands of mappings print."""

from app.commands.mapping_text import changes_text, transform_text
from core.harmonize.mapping_files import RuleChange
from core.harmonize.records import Rule

CODES = {f"CODE_NUMBER_{number}": "sponsored_product" for number in range(12)}


def test_a_difference_is_printed_whole_and_broken_into_lines() -> None:
    rule = Rule.model_validate(
        {"source_field": "Ad Type", "target": "placement_type", "transform": {"op": "enum_map", "map": CODES}}
    )
    text = changes_text([RuleChange("Ad Type", rule, None)], width=80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(code in text for code in CODES)
    assert text.splitlines()[0] == "Ad Type"
    assert text.splitlines()[-1].split() == ["after", "–"]


def test_the_same_rules_are_said_to_be_the_same() -> None:
    assert changes_text([]) == "Their rules are the same."


def test_names_of_a_difference_cannot_move_the_cursor() -> None:
    assert "\x1b" not in changes_text([RuleChange("a\x1b[2J", None, None)])


def test_a_table_shows_that_it_cuts() -> None:
    shown = transform_text({"op": "enum_map", "map": CODES})
    assert (len(shown), shown[-1]) == (60, "…")
