"""In which unit amounts are written."""

import pytest

from core.harmonize.suggest.evidence import Evidence
from core.harmonize.suggest.names import read_name
from core.harmonize.suggest.profile import profile_values
from core.harmonize.suggest.units import find_units, is_amount

CLICKS = ["52", "31", "88", "17", "44"]
DOLLARS = [41.22, 19.75, 63.10, 9.99, 35.42]


def evidence(**columns: list[str]) -> list[Evidence]:
    return [Evidence(profile_values(name, values), read_name(name)) for name, values in columns.items()]


def unit_of(cost: list[str], name: str = "cost", currency: str | None = "USD") -> float:
    found = find_units(
        evidence(**{name: cost, "clicks": CLICKS}), {name: "cost", "clicks": "clicks"}, currency
    )
    return found[name].by if name in found else 1


@pytest.mark.parametrize("by", [1_000_000, 100, 100_000_000])
def test_a_plausible_price_of_a_click_tells_the_unit(by: int) -> None:
    assert unit_of([str(round(each * by)) for each in DOLLARS]) == by


def test_amounts_with_decimals_are_what_they_say() -> None:
    assert unit_of([f"{each:.2f}" for each in DOLLARS]) == 1


def test_whole_dollars_stay_dollars() -> None:
    assert unit_of(["41", "20", "63", "10", "35"]) == 1


def test_whole_yen_and_won_are_no_cents() -> None:
    assert unit_of(["4122", "1975", "6310", "999", "3542"], currency="JPY") == 1
    assert unit_of(["39810", "24974", "81000", "9900", "35420"], currency="KRW") == 1


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("spend_micros", 1e6),
        ("cost_cents", 1e2),
        ("cost in millicents", 1e5),
        ("spend_microcents", 1e8),
        ("kost_ct", 1e2),
    ],
)
def test_a_name_tells_the_unit_without_values(name: str, by: float) -> None:
    found = find_units(evidence(**{name: ["7"]}), {name: "cost"}, None)
    assert found[name].by == by
    assert "name" in found[name].because


def test_a_description_tells_the_unit() -> None:
    each = evidence(total_cost=["398"])[0]
    each.document = read_name("Total cost in millicents")
    assert find_units([each], {"total_cost": "cost"}, None)["total_cost"].by == 1e5


def test_sales_are_written_like_the_cost_beside_them() -> None:
    micros = [str(round(each * 1e6)) for each in DOLLARS]
    sales = [str(round(each * 4.3e6)) for each in DOLLARS]
    columns = evidence(cost=micros, clicks=CLICKS, sales=sales)
    found = find_units(columns, {"cost": "cost", "clicks": "clicks", "sales": "attributed_sales"}, "USD")
    assert found["sales"].by == 1e6


def test_high_returns_are_no_unit() -> None:
    sales = [f"{each * 250:.0f}" for each in DOLLARS]
    columns = evidence(cost=[f"{each:.2f}" for each in DOLLARS], sales=sales)
    assert find_units(columns, {"cost": "cost", "sales": "attributed_sales"}, "USD") == {}


def test_impressions_in_thousands_are_multiplied() -> None:
    name = "Impressions (in thousands)"
    assert find_units(evidence(**{name: ["12"]}), {name: "impressions"}, None)[name].by == pytest.approx(
        0.001
    )


def test_which_targets_are_amounts() -> None:
    assert is_amount("cost")
    assert is_amount("cost_component.tax")
    assert is_amount("ntb_sales")
    assert is_amount("bid")
    assert not is_amount("currency")
    assert not is_amount("clicks")
    assert not is_amount("")
