"""What values say for and against a target, and which closed words they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.suggest.closed_words import closed_targets, closed_word, known_share, word_map
from core.harmonize.suggest.profile import profile_values
from core.harmonize.suggest.values import valid_gtin, value_candidates, value_points
from core.rmis.facts import FACT_BY_NAME


@pytest.mark.parametrize(
    ("target", "value", "word"),
    [
        ("device", "TBLT", "tablet"),
        ("device", "desktops & laptops", "desktop"),
        ("device", "Smart Phone", "mobile"),
        ("device", "Connected TV", "tv"),
        ("device", "in-app", "app"),
        ("match_type", "TARGETING_EXPRESSION_PREDEFINED", "auto"),
        ("match_type", "Phrase match", "phrase"),
        ("cost_model", "VCPM", "vcpm"),
        ("cost_model", "Cost per click", "cpc"),
        ("placement_type", "Sponsored Products", "sponsored_product"),
        ("placement_type", "OFFSITE_DISPLAY", "offsite_display"),
        ("event_type", "AddedToCart", "add_to_cart"),
        ("channel", "off-site", "offsite"),
        ("device", "???", None),
        ("device", "toaster", None),
    ],
)
def test_words_of_reports_become_words_of_rmis(target: str, value: str, word: str | None) -> None:
    assert closed_word(target, value) == word


@pytest.mark.parametrize("target", closed_targets())
def test_every_word_of_rmis_is_itself(target: str) -> None:
    for word in FACT_BY_NAME[target].words:
        assert closed_word(target, word) == word
        assert closed_word(target, word.upper().replace("_", " ")) == word


def test_an_unknown_value_stands_in_the_map_for_a_person_to_decide() -> None:
    assert word_map("device", ["PHON", "fridge"]) == {"PHON": "mobile", "fridge": None}
    assert known_share("device", ["PHON", "fridge"]) == 0.5
    assert known_share("device", []) == 0


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("036000291452", True),
        ("4006381333931", True),
        ("036000291453", False),
        ("12345", False),
        ("x", False),
    ],
)
def test_check_digits_of_gtins(text: str, valid: bool) -> None:
    assert valid_gtin(text) is valid


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (["USD", "EUR"], "currency"),
        (["2026-02-26"], "ts"),
        (["America/New_York"], "account_timezone"),
        (["300x250", "728x90"], "creative_size"),
        (["B0SZB6RDLH", "B007R1GRAP"], "product_id"),
        (["036000291452", "4006381333931", "0012345678905"], "upc"),
        (["mobile", "desktop", "tablet"], "device"),
        (["impression", "click", "purchase"], "event_type"),
        (["EXACT", "BROAD"], "match_type"),
    ],
)
def test_values_alone_suggest_a_target(values: list[str], target: str) -> None:
    found = value_candidates(profile_values("x", values))
    assert max(found, key=lambda each: found[each]) == target


def test_numbers_and_names_alone_suggest_nothing() -> None:
    assert value_candidates(profile_values("x", ["12", "7"])) == {}
    assert value_candidates(profile_values("x", ["Spring sale", "Autumn sale"])) == {}
    assert value_candidates(profile_values("x", [])) == {}


@pytest.mark.parametrize(
    ("values", "likely", "unlikely"),
    [
        (["Spring sale", "Summer sale"], "campaign_name", "campaign_id"),
        (["8299752", "8742466"], "campaign_id", "campaign_name"),
        (["1.25", "0.80"], "cost", "impressions"),
        (["1.2%", "3.4%"], "derived.ctr", "clicks"),
        (["2026-02-26"], "ts", "impressions"),
        (["3", "1"], "position", "placement_type"),
        (["USD"], "currency", "cost"),
        (["true", "false"], "suppressed", "campaign_name"),
    ],
)
def test_values_fit_one_target_better_than_another(values: list[str], likely: str, unlikely: str) -> None:
    column = profile_values("x", values)
    assert value_points(column, likely) > value_points(column, unlikely) + 1


@given(st.lists(st.text(max_size=30), max_size=8), st.sampled_from(sorted(FACT_BY_NAME)))
def test_points_are_bounded_for_any_values(values: list[str], target: str) -> None:
    assert -7 < value_points(profile_values("x", values), target) < 5


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("device", "headphones"),
        ("device", "mobile and desktop"),
        ("device", "not mobile"),
        ("device", "Z9"),
        ("match_type", "KEYWORD"),
        ("placement_type", "VX"),
        ("placement_type", "video, display"),
        ("placement_type", "no video"),
        ("event_type", "nonclick"),
    ],
)
def test_a_code_that_is_not_known_for_sure_gets_no_word_rather_than_a_wrong_one(
    target: str, value: str
) -> None:
    assert closed_word(target, value) is None
    assert word_map(target, [value]) == {value: None}
