"""Without a mapping, only names that say plainly what they are are believed."""

import pytest

from core.harmonize.traps.roles import guess_roles, is_called_id, plain_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adSpend_USD (14d)", "ad spend usd 14 d"),
        ("metrics.cost_micros", "cost micros"),
        ("Impressions", "impressions"),
        ("", ""),
        ("...", ""),
    ],
)
def test_a_name_is_taken_apart_into_words(name: str, words: str) -> None:
    assert plain_words(name) == words


def test_plain_names_have_a_role() -> None:
    names = [
        "Impressions",
        "Clicks",
        "Spend",
        "sales_14d",
        "orders",
        "campaignId",
        "Currency Code",
        "click time",
    ]
    assert list(guess_roles(names).values()) == [
        "impressions",
        "clicks",
        "cost",
        "attributed_sales",
        "attributed_conversions",
        "campaign_id",
        "currency",
        "ts",
    ]


@pytest.mark.parametrize(
    "name", ["revenue", "cost_per_click", "viewable clicks", "sales rank", "spend_share", "click url", "xyz"]
)
def test_a_name_that_may_mean_something_else_has_none(name: str) -> None:
    assert guess_roles([name]) == {}


def test_the_first_of_two_alike_has_the_role() -> None:
    assert guess_roles(["cost", "spend"]) == {"cost": "cost"}


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("Campaign ID", True),
        ("advertisedSku", True),
        ("GTIN", True),
        ("sales same SKU", False),
        ("Video", False),
    ],
)
def test_identifiers_are_known_by_their_last_word(name: str, is_id: bool) -> None:
    assert is_called_id(name) is is_id
