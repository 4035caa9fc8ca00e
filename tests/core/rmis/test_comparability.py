"""Numbers are compared, added and divided only where they mean the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.rmis.comparability import (
    ALIGNMENT,
    DERIVED_MEASURES,
    Difference,
    Measured,
    add,
    compare,
    derive,
    derive_all,
    differences,
    ratio,
    require_comparable,
    roas,
)
from core.rmis.vocabularies import QUALIFIERS

CLICK_14 = {"window_click_days": 14, "touch": "click", "sku_scope": "total"}
CLICK_30 = {"window_click_days": 30, "touch": "click", "sku_scope": "total"}

qualifier_sets = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(words) if words else st.integers(1, 60) for name, words in QUALIFIERS.items()
    },
)


def sales(
    value: float | None, qualifiers=CLICK_14, currency: str | None = "USD", label: str = ""
) -> Measured:
    return Measured("attributed_sales", value, qualifiers, currency, label)


def cost(value: float | None, currency: str | None = "USD") -> Measured:
    return Measured("cost", value, {}, currency)


def test_every_qualifier_that_differs_is_named_in_the_order_of_rmis() -> None:
    found = differences(
        {"sku_scope": "total", "window_click_days": 14, "touch": "click"},
        {"sku_scope": "same_sku", "window_click_days": 30, "touch": "click"},
    )
    assert found == [
        Difference("window_click_days", 14, 30),
        Difference("sku_scope", "total", "same_sku"),
    ]


def test_unspecified_is_the_same_as_not_said_but_not_as_a_value() -> None:
    assert differences({"touch": "unspecified"}, {}) == []
    assert differences({"touch": "unspecified"}, {"touch": "click"}) == [Difference("touch", None, "click")]


def test_a_flag_is_never_equal_to_a_number() -> None:
    assert differences({"new_to_brand": True}, {"new_to_brand": 1}) != []


@given(qualifier_sets, qualifier_sets)
def test_differences_are_symmetric_and_empty_only_for_the_same_meaning(a, b) -> None:
    forth, back = differences(a, b), differences(b, a)
    assert [(d.qualifier, d.left, d.right) for d in forth] == [(d.qualifier, d.right, d.left) for d in back]
    assert differences(a, a) == []
    said = {k: v for k, v in a.items() if v != "unspecified"}
    assert (forth == []) == (said == {k: v for k, v in b.items() if v != "unspecified"})


def test_a_refusal_names_each_difference_and_what_to_align() -> None:
    left, right = sales(10, CLICK_14, "USD", "Alpha"), sales(20, {**CLICK_30, "touch": "view"}, "EUR", "Beta")
    with pytest.raises(InvalidInputError) as refused:
        require_comparable(left, right)
    text = str(refused.value)
    assert "«Alpha» and «Beta» cannot be compared" in text
    for part in (
        "window_click_days: 14 against 30",
        "touch: click against view",
        "currency: USD against EUR",
    ):
        assert part in text
    for name in ("window_click_days", "touch", "currency"):
        assert ALIGNMENT[name] in refused.value.next_step


def test_every_qualifier_has_words_for_its_alignment() -> None:
    assert set(QUALIFIERS) <= set(ALIGNMENT)


def test_comparable_numbers_are_compared() -> None:
    found = compare(sales(200), sales(250))
    assert (found.change, found.ratio) == (50, 1.25)
    assert compare(sales(None), sales(250)).change is None
    assert compare(sales(0), sales(250)).ratio is None


def test_numbers_of_two_columns_are_not_compared() -> None:
    with pytest.raises(InvalidInputError, match="ntb_sales"):
        compare(sales(1), Measured("ntb_sales", 1, CLICK_14, "USD"))


def test_sales_of_two_windows_are_never_added() -> None:
    with pytest.raises(InvalidInputError, match="cannot be added") as refused:
        add([sales(1), sales(2), sales(3, CLICK_30)])
    assert "window_click_days: 14 against 30" in refused.value.why


def test_what_was_not_reported_is_left_out_of_a_sum_and_is_not_zero() -> None:
    assert add([sales(1.5), sales(None), sales(2)]).value == 3.5
    assert add([sales(None), sales(None)]).value is None
    with pytest.raises(InvalidInputError):
        add([])


def test_roas_is_sales_over_cost_from_sums() -> None:
    assert roas([sales(300), sales(100)], [cost(50), cost(30)]) == 5


def test_roas_over_unequal_windows_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="window_click_days"):
        roas([sales(300), sales(100, CLICK_30)], [cost(50)])


def test_roas_over_two_currencies_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="currency: EUR against USD"):
        roas([sales(300, CLICK_14, "EUR")], [cost(50, "USD")])


def test_roas_without_cost_is_none_and_not_zero_or_infinite() -> None:
    assert roas([sales(300)], [cost(0)]) is None
    assert roas([sales(300)], [cost(None)]) is None
    assert roas([sales(0)], [cost(5)]) == 0


@pytest.mark.parametrize(
    ("measure", "top", "bottom", "expected"),
    [
        ("ctr", 5, 1000, 0.005),
        ("cpc", 12, 5, 2.4),
        ("cpm", 12, 1000, 12),
        ("cpa", 12, 3, 4),
        ("cvr", 3, 5, 0.6),
        ("roas", 60, 12, 5),
        ("acos", 12, 60, 0.2),
        ("ntb_rate", 1, 4, 0.25),
        ("viewability_rate", 600, 800, 0.75),
        ("measurability", 800, 1000, 0.8),
    ],
)
def test_each_derived_measure_has_its_formula(measure, top, bottom, expected) -> None:
    names = DERIVED_MEASURES[measure]
    left, right = Measured(names[0], top, currency="USD"), Measured(names[1], bottom, currency="USD")
    assert derive(measure, left, right) == pytest.approx(expected, abs=1e-12)
    assert derive(measure, left, Measured(names[1], 0, currency="USD")) is None


def test_new_to_brand_rate_needs_the_same_window_but_not_the_same_buyers() -> None:
    all_buyers = Measured("attributed_conversions", 8, {**CLICK_14, "new_to_brand": False})
    new = Measured("ntb_conversions", 2, {**CLICK_14, "new_to_brand": True})
    assert derive("ntb_rate", new, all_buyers) == 0.25
    with pytest.raises(InvalidInputError, match="window_click_days"):
        derive("ntb_rate", Measured("ntb_conversions", 2, CLICK_30), all_buyers)


def test_a_measure_is_computed_from_its_own_columns_only() -> None:
    with pytest.raises(InvalidInputError, match="attributed_sales over cost"):
        derive("roas", Measured("ntb_sales", 1, currency="USD"), cost(1))
    with pytest.raises(InvalidInputError, match="not a derived measure"):
        derive("roi", sales(1), cost(1))


def test_all_measures_come_from_the_sums_that_are_there() -> None:
    sums = {"clicks": Measured("clicks", 4), "impressions": Measured("impressions", 200), "cost": cost(2)}
    assert derive_all(sums) == {"ctr": 0.02, "cpc": 0.5, "cpm": 10}


def test_a_rate_of_nothing_is_none() -> None:
    assert ratio(1, 0) is None
    assert ratio(None, 1) is None
    assert ratio(1, 4, 1000) == 250
