"""A name becomes words however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.suggest.tokens import fold, is_unspaced, name_key, singular, split_name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("attributedSales14dSameSKU", ("attributed", "sales", "14", "d", "same", "sku")),
        ("campaign_budget.amount_micros", ("campaign", "budget", "amount", "micros")),
        ("Click-Thru Rate (CTR)", ("click", "thru", "rate", "ctr")),
        ("SPEND IN USD", ("spend", "in", "usd")),
        ("% of orders", ("percent", "of", "orders")),
        ("Cost / conv.", ("cost", "per", "conv")),
        ("Расход, ₽", ("расход", "rubsign")),
        ("商品CPC", ("商品", "cpc")),
        ("", ()),
    ],
)
def test_a_name_is_split_at_case_signs_and_digits(name: str, words: tuple[str, ...]) -> None:
    assert split_name(name) == words


def test_a_known_word_of_mixed_case_stays_whole() -> None:
    assert split_name("Total ACoS", lambda word: word == "acos") == ("total", "acos")
    assert split_name("ACoS") != ("acos",)


def test_accents_full_width_forms_and_special_letters_are_folded() -> None:
    assert fold("Größe ｃｌｉｃｋｓ Wyświetlenia łącznie") == "Grosse clicks Wyswietlenia lacznie"


def test_japanese_marks_are_kept() -> None:
    assert fold("クリック数") == "クリック数"
    assert is_unspaced("クリック数")
    assert not is_unspaced("clicks")


def test_the_same_name_written_differently_has_one_key() -> None:
    assert name_key("Campaign ID") == name_key("campaign_id") == name_key("campaignId") == "campaignid"


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        ("clicks", "click"),
        ("searches", "search"),
        ("purchases", "purchase"),
        ("quantities", "quantity"),
        ("roas", "roa"),
        ("status", "status"),
        ("товаров", "товар"),
        ("товара", "товар"),
        ("ids", "ids"),
    ],
)
def test_plurals_lose_their_ending(plural: str, word: str) -> None:
    assert singular(plural) == word


@given(st.text(max_size=400))
def test_any_text_is_split_without_failing(name: str) -> None:
    words = split_name(name)
    assert all(word and word == word.casefold() and " " not in word for word in words)
