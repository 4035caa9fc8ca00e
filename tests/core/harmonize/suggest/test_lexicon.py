"""The vocabulary itself: every entry can be reached, every target exists."""

import pytest

from core.harmonize.suggest import lexicon as module
from core.harmonize.suggest.lexicon import NO_PLACE, free_for, known_targets, leftover_cost, lexicon
from core.rmis.facts import FACT_BY_NAME, fact_column

#: Columns that a mapping fills without a source column of that meaning.
NOT_NAMED = frozenset({"grain"})


def test_every_column_of_rmis_can_be_named() -> None:
    named = {meaning.target for found in lexicon().meanings.values() for meaning in found}
    assert set(FACT_BY_NAME) - named <= NOT_NAMED


def test_every_target_of_the_vocabulary_is_a_column_of_rmis() -> None:
    assert all(fact_column(target) for target in known_targets())


def test_every_concept_that_a_meaning_needs_has_words() -> None:
    spoken = {concept for concepts in lexicon().words.values() for concept in concepts}
    assert set(lexicon().meanings) - spoken <= NOT_NAMED


def test_no_word_has_more_than_three_meanings() -> None:
    assert all(len(concepts) <= 3 for concepts in lexicon().words.values())


def test_weights_are_shares() -> None:
    assert all(0 < meaning.weight <= 1 for found in lexicon().meanings.values() for meaning in found)


def test_qualifiers_cost_an_outcome_nothing_and_a_name_something() -> None:
    assert "samesku" in free_for("attributed_sales")
    assert "samesku" not in free_for("campaign_name")
    assert "total" in free_for(NO_PLACE)


def test_a_word_that_makes_a_rate_costs_most() -> None:
    assert (
        leftover_cost("rate", early=False)
        > leftover_cost("campaign", early=False)
        > leftover_cost("filler", early=False)
    )
    assert leftover_cost("campaign", early=True) < leftover_cost("campaign", early=False)


@pytest.mark.parametrize("line", ["no sign at all", "concept:", ": word"[1:]])
def test_a_line_that_cannot_be_read_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(Exception, match="Line 2") as caught:
        module._read_words(f"click: click\n{line}")
    assert type(caught.value).__name__ == "IntegrityError"


def test_a_target_that_rmis_does_not_know_is_refused() -> None:
    with pytest.raises(Exception, match="not a column"):
        module._read_meanings("derived.xyz = 1.0: click")
