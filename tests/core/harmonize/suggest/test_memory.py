"""What was confirmed before is remembered."""

from core.harmonize.records import Mapping, Rule
from core.harmonize.suggest.memory import ConfirmedRule, Memory, MemoryIndex, network_key

SPEND = Rule(source_field="Betrag", target="cost", transform={"op": "divide", "by": 100})


def test_a_rule_of_the_same_network_comes_back_whole() -> None:
    recalled = MemoryIndex(Memory((ConfirmedRule("Alpha Ads", "Betrag", SPEND),)), "alpha-ads").recall(
        "BETRAG"
    )
    assert recalled.rule == SPEND
    assert recalled.times == 1
    assert recalled.points["cost"] > 6


def test_a_rule_of_another_network_is_a_vote_without_its_unit() -> None:
    recalled = MemoryIndex(Memory((ConfirmedRule("Alpha Ads", "Betrag", SPEND),)), "Beta").recall("betrag")
    assert recalled.rule is None
    assert 0 < recalled.points["cost"] < 6


def test_more_confirmations_count_more_and_the_most_frequent_wins() -> None:
    other = Rule(source_field="Betrag", target="budget")
    memory = Memory(
        (ConfirmedRule("A", "Betrag", SPEND, times=5), ConfirmedRule("A", "Betrag", other, times=1))
    )
    recalled = MemoryIndex(memory, "A").recall("Betrag")
    assert recalled.rule == SPEND
    assert recalled.points["cost"] > recalled.points["budget"]


def test_what_was_left_out_is_remembered_as_having_no_place() -> None:
    rule = Rule(source_field="Notiz", transform={"op": "drop"})
    assert list(MemoryIndex(Memory((ConfirmedRule("A", "Notiz", rule),)), "A").recall("notiz").points) == [""]


def test_an_unknown_column_is_not_recalled() -> None:
    recalled = MemoryIndex(Memory(), "A").recall("Betrag")
    assert recalled.points == {}
    assert recalled.rule is None


def test_a_memory_learns_a_mapping_and_forgets_a_network() -> None:
    memory = Memory().learn(Mapping(network="Alpha Ads", rules=(SPEND,)))
    assert [entry.source_field for entry in memory.entries] == ["Betrag"]
    assert memory.without_network("ALPHA ADS").entries == ()
    assert network_key("Alpha-Ads ") == "alphaads"
