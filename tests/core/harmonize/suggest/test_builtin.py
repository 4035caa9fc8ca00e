"""Documented reports are recognised by their columns, and only where that is proven."""

from pathlib import Path

import pytest

from core.errors import IntegrityError
from core.harmonize.records import SourceCard
from core.harmonize.suggest.builtin import (
    builtin_memory,
    load_builtins,
    recognise,
    same_network,
    without_network,
)

REPORT = """
builtin:
  source: https://ads.example/docs
  aliases: {Ad cost: kosten_x, Items sold: stueck_x}
  stands_in:
    - {source_field: aufwand_x, instead_of: kosten_x}
retailer: ""
network: pomelia_ads
report: items
version: 1
account_timezone: UTC
currency: null
headline: {window_click_days: 14}
rules:
  - {source_field: datum_x, target: ts, transform: {op: to_utc, format: "%Y-%m-%d", source_tz: account_timezone, grain: day}}
  - {source_field: kosten_x, target: cost, transform: {op: divide, by: 100}}
  - {source_field: aufwand_x, target: cost, transform: {op: drop}}
  - {source_field: stueck_x, target: attributed_units, transform: {op: none}, qualifiers: {window_click_days: 14}}
  - {source_field: notiz_x, target: null, transform: {op: drop}}
  - {source_field: clicks, target: clicks, transform: {op: none}}
"""
CARD = SourceCard(network="Pomelia Ads")


@pytest.fixture
def shipped(tmp_path: Path):
    (tmp_path / "pomelia.yaml").write_text(REPORT)
    return load_builtins(tmp_path)


def test_a_report_is_recognised_by_its_columns_and_its_network(shipped) -> None:
    found = recognise(["datum_x", "kosten_x", "stueck_x", "clicks", "own"], CARD, shipped)
    assert found is not None
    assert found.rules["kosten_x"].transform.by == 100
    assert "own" not in found.rules


def test_another_network_with_the_same_words_is_not_recognised(shipped) -> None:
    assert (
        recognise(["datum_x", "kosten_x", "stueck_x", "clicks"], SourceCard(network="Larkfield"), shipped)
        is None
    )
    assert recognise(["clicks", "impressions"], None, shipped) is None


def test_the_heading_of_an_export_is_the_column_it_stands_for(shipped) -> None:
    found = recognise(["datum_x", "Ad cost", "Items sold", "notiz_x"], CARD, shipped)
    assert found is not None
    assert found.rules["Ad cost"].source_field == "Ad cost"
    assert found.rules["Ad cost"].target == "cost"


def test_a_repeat_stands_in_where_the_first_is_missing(shipped) -> None:
    alone = recognise(["datum_x", "aufwand_x", "stueck_x", "notiz_x"], CARD, shipped)
    both = recognise(["datum_x", "aufwand_x", "kosten_x", "stueck_x"], CARD, shipped)
    assert alone is not None
    assert alone.rules["aufwand_x"].transform.op == "divide"
    assert both is not None
    assert both.rules["aufwand_x"].transform.op == "drop"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("rules: [")
    with pytest.raises(IntegrityError, match=r"broken\.yaml"):
        load_builtins(tmp_path)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("amazon_ads", "Amazon Marketing Stream", True),
        ("Criteo Retail Media", "criteo", True),
        ("Retail Media Network", "Ads Network", False),
        ("", "criteo", False),
        ("walmart_connect", "Kroger Connect", False),
    ],
)
def test_networks_are_the_same_by_a_word_of_their_own(left: str, right: str, same: bool) -> None:
    assert same_network(left, right) is same


def test_a_network_can_be_taken_away(shipped) -> None:
    assert without_network(shipped, "Pomelia") == ()
    assert len(without_network(shipped, "Other")) == 1


def test_a_network_votes_once_for_a_name(shipped) -> None:
    memory = builtin_memory((*shipped, *shipped))
    assert len(memory.entries) == len(shipped[0].mapping.rules)


def test_every_shipped_report_has_a_source() -> None:
    assert all(each.source.startswith("http") for each in load_builtins())
