"""Objectives in words and the tool call that answers each, for the corpus and for the planning adapter."""

from collections.abc import Mapping
from random import Random
from types import MappingProxyType

from core.demo.draws import BRANDS, word_list
from core.demo.invented import invent_name
from core.demo.prompts import write_json

MONTHS = word_list("January February March April May June July August September October November December")
METRICS = ("roas", "attributed_sales", "ntb_sales", "clicks", "reach")
METRIC_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "roas": "ROAS",
        "attributed_sales": "attributed sales",
        "ntb_sales": "new-to-brand sales",
        "clicks": "clicks",
        "reach": "reach",
    }
)
CURRENCIES = ("USD", "EUR", "GBP")


def draw_objective(rng: Random) -> tuple[str, str]:
    """(question, answer) of the corpus: general tools, flat arguments."""
    retailer, brand = invent_name(rng), rng.choice(BRANDS)
    metric, budget = rng.choice(METRICS), rng.randrange(1, 200) * 500
    currency, month, weeks = rng.choice(CURRENCIES), rng.choice(MONTHS), rng.randint(2, 8)
    match rng.randrange(5):
        case 0:
            text = f"Spend {budget} {currency} for {brand} in {month} to raise {METRIC_WORDS[metric]}."
            call = ("optimize", {"brand": brand, "budget": budget, "currency": currency, "goal": metric})
        case 1:
            text = f"Which lift did {retailer} bring to {brand} over {weeks} weeks?"
            call = ("lift", {"brand": brand, "retailer": retailer, "weeks": weeks})
        case 2:
            text = f"Read the report of {retailer} for {month}."
            call = ("harmonize", {"retailer": retailer, "month": month})
        case 3:
            text = f"Compare {brand} by {METRIC_WORDS[metric]} at {retailer}."
            call = ("compare", {"brand": brand, "goal": metric, "retailer": retailer})
        case _:
            text = f"Check the {brand} headlines for {retailer}."
            call = ("check", {"brand": brand, "retailer": retailer})
    return f"Do: {text}", write_json({"tool": call[0], "arguments": call[1]})


def draw_planning(rng: Random) -> tuple[str, str]:
    """(objective, tool call) in the planning adapter's own schema, which the corpus never shows."""
    brand, retailer = rng.choice(BRANDS), invent_name(rng)
    metric, currency = rng.choice(METRICS), rng.choice(CURRENCIES)
    budget, weeks = rng.randrange(20, 2000) * 50, rng.randint(2, 12)
    percent = rng.randint(3, 40)
    match rng.randrange(6):
        case 0:
            text = (
                f"Grow {METRIC_WORDS[metric]} of {brand} by {percent}% at {retailer} with {budget} {currency}"
            )
            tool = "plan_budget"
            arguments = {"objective": metric, "target_pct": percent, "total": budget, "currency": currency}
            scope = {"brand": brand, "retailers": [retailer]}
        case 1:
            text = (
                f"Split {budget} {currency} for {brand} over {weeks} weeks, best {METRIC_WORDS[metric]} wins"
            )
            tool = "plan_budget"
            arguments = {"objective": metric, "weeks": weeks, "total": budget, "currency": currency}
            scope = {"brand": brand, "retailers": []}
        case 2:
            text = f"Prove that {retailer} ads move {METRIC_WORDS[metric]} of {brand} within {weeks} weeks"
            tool = "design_geo_test"
            arguments = {"metric": metric, "weeks": weeks}
            scope = {"brand": brand, "retailers": [retailer]}
        case 3:
            text = f"Try two headlines for {brand} at {retailer}, stop at {percent}% {METRIC_WORDS[metric]}"
            tool = "start_experiment"
            arguments = {"metric": metric, "minimum_effect_pct": percent}
            scope = {"brand": brand, "retailers": [retailer]}
        case 4:
            text = f"How many weeks to see a {percent}% change in {METRIC_WORDS[metric]} of {brand}?"
            tool = "estimate_power"
            arguments = {"metric": metric, "effect_pct": percent}
            scope = {"brand": brand, "retailers": []}
        case _:
            text = f"Bring last week's {retailer} file for {brand} into one table"
            tool = "harmonize_report"
            arguments = {"period": "last_week"}
            scope = {"brand": brand, "retailers": [retailer]}
    return f"Plan: {text}", write_json({"tool": tool, "arguments": arguments, "scope": scope})
