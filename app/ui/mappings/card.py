"""The source card as fields: what no column of a file says."""

import re
from collections.abc import Sequence

import streamlit as st

from app.actions import mappings
from app.ui.mappings.zones import time_zones
from app.ui.text import plain
from app.ui.visit import Visit
from core.datasets import raw
from core.datasets.records import Dataset
from core.harmonize.records import Headline, Qualifier, SourceCard
from core.harmonize.suggest.builtin import load_builtins, recognise

CURRENCIES = [
    "USD",
    "EUR",
    "GBP",
    "CAD",
    "MXN",
    "BRL",
    "PLN",
    "CZK",
    "SEK",
    "NOK",
    "DKK",
    "CHF",
    "HUF",
    "RON",
    "TRY",
    "INR",
    "JPY",
    "AUD",
    "NZD",
    "SGD",
    "ZAR",
    "AED",
    "SAR",
]
_HEADLINE_DAYS = ("window_click_days", "window_view_days")


def known_card(dataset: Dataset, columns: Sequence[str]) -> SourceCard:
    """What the file, its own card and the shipped reports with these columns say."""
    card = raw.source_card_of(dataset) or SourceCard()
    found = recognise(columns, card, load_builtins())
    told = card.model_dump(exclude_unset=True)
    if found is not None:
        shipped = found.builtin.mapping
        for name in ("network", "report"):
            told[name] = told.get(name) or getattr(shipped, name)
    return SourceCard.model_validate(told)


def card_fields(visit: Visit, card: SourceCard, *, key: str) -> SourceCard:
    """The source card as fields; what is filled in comes back."""
    saved = mappings.list_mappings(visit.console, visit.principal)
    with st.grid(3, min_column_width=200):
        retailer = _choice("Retailer", card.retailer, [m.retailer for m in saved], f"{key}-retailer")
        networks = [*(m.network for m in saved), *_shipped_networks()]
        network = _choice(
            "Network", card.network, networks, f"{key}-network", "Who sells the ads, for example Criteo."
        )
        report = _choice("Report", card.report, [m.report for m in saved], f"{key}-report")
        zones = list(dict.fromkeys([card.account_timezone, "UTC", *time_zones()]))
        zone = st.selectbox(
            "Time zone of the account",
            zones,
            help="The report's days are days of this zone. A wrong one moves every row by hours.",
            key=f"{key}-zone",
        )
        currencies = ["", *dict.fromkeys([*([card.currency] if card.currency else []), *CURRENCIES])]
        currency = st.selectbox(
            "Currency",
            currencies,
            index=currencies.index(card.currency or ""),
            format_func=lambda c: c or "A column says it",
            accept_new_options=True,
            key=f"{key}-currency",
        )
        headline = _headline(card.headline, key)
    code = (currency or "").strip().upper()
    return SourceCard(
        retailer=retailer,
        network=network,
        report=report,
        account_timezone=zone,
        currency=code if re.fullmatch("[A-Z]{3}", code) else None,
        headline=headline,
    )


def _headline(told: Headline, key: str) -> Headline:
    """The window that fills the outcome columns where a report has several; empty: the rule of the house."""
    days = told if isinstance(told, dict) else {}
    click = days.get("window_click_days")
    chosen = st.number_input(
        "Headline window, days after a click",
        0,
        400,
        click if isinstance(click, int) else None,
        placeholder="The longest that all have",
        help="Which sales fill the sales column where the report has several windows. The others are kept apart.",
        key=f"{key}-headline",
    )
    if chosen is None:
        kept = {name: value for name, value in days.items() if name != "window_click_days"}
        return kept or (told if not isinstance(told, dict) else None)
    made: dict[str, Qualifier] = {**days, "window_click_days": int(chosen)}
    return made


def _choice(label: str, told: str, known: Sequence[str], key: str, help: str | None = None) -> str:
    options = ["", *dict.fromkeys(name for name in (told, *sorted(set(known))) if name)]
    chosen = st.selectbox(
        label,
        options,
        index=options.index(told),
        format_func=lambda name: plain(name, 60) or "–",
        accept_new_options=True,
        placeholder="Choose or type",
        help=help,
        key=key,
    )
    return (chosen or "").strip()[:200]


@st.cache_data(show_spinner=False)
def _shipped_networks() -> list[str]:
    return sorted({builtin.mapping.network for builtin in load_builtins()})
