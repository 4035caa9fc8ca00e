"""A unit is doubted only where another one explains the rows far better."""

import random

import pytest

from core.harmonize.records import SourceCard
from core.harmonize.traps.evidence import gather
from core.harmonize.traps.rates import rates_of
from core.harmonize.traps.units import UNITS, judge, unit_traps
from tests.core.harmonize.trap_files import File, daily_report, display_report, texts


def evidence(file: File):
    return gather(file.source, file.mapping, file.card, sample_rows=10_000)


def priced(
    cpc: float, click_rate: float, rows: int = 60, unit: float = 1, currency: str | None = "USD"
) -> File:
    """Rows whose clicks cost about `cpc` units of the currency, written in `unit` parts of it."""
    rng = random.Random(f"{cpc}{click_rate}")
    told = []
    for _ in range(rows):
        shown = rng.randrange(2000, 9000)
        clicks = max(1, round(shown * click_rate * rng.uniform(0.7, 1.3)))
        amount = clicks * cpc * rng.uniform(0.7, 1.3) * unit
        told.append({"i": shown, "c": clicks, "s": round(amount) if unit > 1 else f"{amount:.2f}"})
    rules = [
        {"source_field": a, "target": b} for a, b in (("i", "impressions"), ("c", "clicks"), ("s", "cost"))
    ]
    return File(texts(told), rules, SourceCard(currency=currency))


@pytest.mark.parametrize("cpc", [0.08, 0.3, 0.8, 2.5, 6.0])
@pytest.mark.parametrize("click_rate", [0.004, 0.02, 0.08])
def test_any_usual_price_is_believed_and_its_small_units_are_not(cpc: float, click_rate: float) -> None:
    assert list(unit_traps(evidence(priced(cpc, click_rate)))) == []
    for unit, size in UNITS.items():
        if unit == "cents":
            continue
        (finding,) = unit_traps(evidence(priced(cpc, click_rate, unit=size)))
        # Micros and millicents are only ten apart: where the prices cannot decide, both are named.
        assert unit in finding.sentence.partition(":")[0]


@pytest.mark.parametrize("cpc", [0.3, 0.8, 2.5])
@pytest.mark.parametrize("unit", ["millicents", "micros", "microcents"])
def test_whole_cents_tell_units_apart_that_are_ten_apart(cpc: float, unit: str) -> None:
    cents = priced(cpc, 0.02)
    file = cents.each("s", lambda v: round(float(v) * 100) * round(UNITS[unit] / 100))
    assert [f.rule for f in unit_traps(evidence(file))] == [f"unit.{unit}"]


def test_a_name_that_says_its_unit_is_believed() -> None:
    file = priced(2.5, 0.02, unit=1e5)
    renamed = File(file.frame.rename({"s": "cost_millicents"}), file.rules, file.card)
    renamed = renamed.rule("cost_millicents", "cost")
    assert [f.rule for f in unit_traps(evidence(renamed))] == ["unit.millicents"]


@pytest.mark.parametrize("cpc", [0.3, 0.8, 2.5])
def test_cents_are_seen_at_usual_prices(cpc: float) -> None:
    assert [f.rule for f in unit_traps(evidence(priced(cpc, 0.02, unit=100)))] == ["unit.cents"]


def test_a_dear_click_with_cents_in_its_price_is_believed() -> None:
    assert list(unit_traps(evidence(priced(14.0, 0.02)))) == []


def test_a_few_rows_prove_only_what_is_obvious() -> None:
    assert list(unit_traps(evidence(priced(0.8, 0.02, rows=12, unit=100)))) == []
    assert [f.rule for f in unit_traps(evidence(priced(0.8, 0.02, rows=12, unit=1e6)))] == ["unit.micros"]
    assert list(unit_traps(evidence(priced(0.8, 0.02, rows=5, unit=1e6)))) == []


def test_an_unknown_currency_needs_more_proof() -> None:
    assert list(unit_traps(evidence(priced(30.0, 0.02, currency="JPY")))) == []
    assert [f.rule for f in unit_traps(evidence(priced(0.8, 0.02, unit=1e6, currency=None)))] == [
        "unit.micros"
    ]


def test_display_by_the_thousand_is_believed_for_many_seeds() -> None:
    for seed in range(30, 40):
        assert list(unit_traps(evidence(display_report(seed)))) == []


def test_the_rates_of_a_report_are_the_ones_that_can_be_worked_out() -> None:
    told = evidence(daily_report())
    rates = {name: [rate.means for rate in found] for name, found in rates_of(told).items()}
    assert rates == {
        "Spend": ["a click costs", "a thousand impressions cost"],
        "Sales": ["an item sells for", "sales over cost are"],
    }
    verdict = judge(told, "Spend", rates_of(told)["Spend"])
    assert verdict is not None
    assert verdict.factor == 1
