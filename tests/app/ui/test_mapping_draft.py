"""A mapping while it is being made: decisions, what is left to decide, and what a reload keeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ui.mappings.draft import (
    Entry,
    EntryState,
    MappingDraft,
    Show,
    draft_of_mapping,
    draft_of_suggestions,
    from_text,
    to_text,
)
from core.errors import InvalidInputError
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.suggest.suggest import Suggestion

CARD = SourceCard(retailer="North", account_timezone="Europe/Berlin", currency="EUR")


def suggestion(field: str, target: str | None, confidence: float, **more: object) -> Suggestion:
    told = {"transform": {"op": "none"}, "qualifiers": {}, "reason": f"It is {target}."} | more
    return Suggestion(source_field=field, target=target, confidence=confidence, **told)  # type: ignore[arg-type]


def draft() -> MappingDraft:
    found = [
        suggestion("Date", "ts", 0.97, transform={"op": "to_utc", "format": "iso", "grain": "day"}),
        suggestion("Clicks", "clicks", 0.9),
        suggestion("Spend", "cost", 0.7, alternatives=(("bid", 0.2),)),
        suggestion("Foo", None, 0.3, abstained=True),
        suggestion("CTR", "derived.ctr", 0.95, transform={"op": "drop"}),
    ]
    return draft_of_suggestions(found, dataset_id="ds_1", digest="d" * 64, name="North", card=CARD)


def fields(made: MappingDraft, show: Show) -> list[str]:
    return [made.entries[n].rule.source_field for n in made.shown(show)]


def test_what_is_unsure_or_not_suggested_needs_attention() -> None:
    made = draft()
    assert fields(made, Show.ATTENTION) == ["Spend", "Foo"]
    assert fields(made, Show.DROPPED) == ["Foo", "CTR"]
    assert fields(made, Show.ALL) == ["Spend", "Foo", "Date", "Clicks", "CTR"]
    assert (made.decided(), made.sure_and_open()) == (3, 3)


def test_where_nothing_is_suggested_the_column_is_left_out() -> None:
    rule = draft().mapping().rules[3]
    assert (rule.source_field, rule.target, rule.dropped) == ("Foo", None, True)


def test_accepting_all_sure_ones_leaves_the_others_open() -> None:
    made = draft().all_sure_accepted()
    states = [entry.state for entry in made.entries]
    assert states == [EntryState.ACCEPTED] * 2 + [EntryState.OPEN] * 2 + [EntryState.ACCEPTED]
    assert made.sure_and_open() == 0
    assert fields(made, Show.ATTENTION) == ["Spend", "Foo"]


def test_a_changed_rule_is_marked_and_stays_changed_when_accepted() -> None:
    rule = Rule(source_field="Foo", target="sku", transform=Transform(op="string_id"))
    made = draft().with_rule(3, rule)
    assert made.entries[3].state is EntryState.CHANGED
    assert not made.entries[3].needs_attention
    assert made.accepted(3) == made
    assert made.accepted(2).entries[2].state is EntryState.ACCEPTED
    assert draft().entries[3].state is EntryState.OPEN


def test_the_mapping_carries_the_card() -> None:
    mapping = draft().mapping()
    assert (mapping.retailer, mapping.account_timezone, mapping.currency) == ("North", "Europe/Berlin", "EUR")
    assert [rule.source_field for rule in mapping.rules] == ["Date", "Clicks", "Spend", "Foo", "CTR"]


def test_a_column_may_get_a_second_rule_that_can_be_taken_away_again() -> None:
    made = draft().with_copy(1)
    assert [entry.rule.source_field for entry in made.entries][:3] == ["Date", "Clicks", "Clicks"]
    assert made.without(2) == draft()
    assert draft().without(1) == draft()  # the only rule of a column stays


def test_two_equal_rules_of_a_column_are_refused_in_words() -> None:
    made = draft().with_copy(1)
    made = made.with_rule(2, Rule(source_field="Clicks", target="clicks"))
    with pytest.raises(InvalidInputError) as caught:
        made.mapping()
    assert "Clicks" in caught.value.why
    assert caught.value.next_step


def test_a_saved_mapping_meets_a_file_with_other_columns() -> None:
    mapping = Mapping(
        rules=(Rule(source_field="Clicks", target="clicks"), Rule(source_field="Gone", target="sku"))
    )
    made = draft_of_mapping(mapping, ["Clicks", "New"], dataset_id="d", digest="x", name="n", card=CARD)
    assert [(e.rule.source_field, e.needs_attention) for e in made.entries] == [
        ("Clicks", False),
        ("New", True),
        ("Gone", False),
    ]


def test_what_is_kept_comes_back_as_it_was() -> None:
    made = draft().all_sure_accepted().accepted(2)
    assert from_text(to_text(made)) == made


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"entries": 3}', "{" * 5000, to_text(draft())[:-9]]
)
def test_what_is_no_draft_is_none(text: str) -> None:
    assert from_text(text) is None


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.floats(0, 1), st.booleans(), st.text(max_size=20)),
        max_size=8,
    )
)
def test_any_names_and_reasons_survive_a_reload(told: list[tuple[str, float, bool, str]]) -> None:
    entries = tuple(
        Entry(Rule(source_field=name, target=None, transform=Transform(op="drop")), sure, reason, abstained)
        for name, sure, abstained, reason in told
    )
    made = MappingDraft("ds", "digest", "name", CARD, entries)
    assert from_text(to_text(made)) == made
