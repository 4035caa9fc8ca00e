"""Words of the doctor on screen: bands, kinds, rules and fixes."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import streamlit as st

from app.ui import badges
from app.ui.badges import Color
from core.datasets.records import Dataset, DatasetKind, Fix
from core.datasets.score import Band
from core.datasets.scores import Verdict

BAND_COLORS: Mapping[Band, Color] = MappingProxyType(
    {Band.EXCELLENT: "green", Band.GOOD: "blue", Band.FAIR: "orange", Band.POOR: "red"}
)
BAND_HELP = "0 to 100. From 95 excellent, from 90 good, from 85 fair, below that poor. Every lost point names its rows."
FIX_LABELS: Mapping[Fix, str] = MappingProxyType(
    {
        Fix.DROP_ROWS: "Remove these rows",
        Fix.KEEP_FIRST_DUPLICATE: "Keep the first of each",
        Fix.MOVE_TO_TRAIN: "Move to training",
        Fix.TRIM_TEXT: "Trim white space",
        Fix.MASK_PERSONAL_DATA: "Mask personal data",
        Fix.REPAIR_ENCODING: "Repair the encoding",
        Fix.DROP_CONTRADICTIONS: "Remove contradictions",
        Fix.RELABEL_SPLIT: "Split anew",
    }
)


def kind_word(kind: DatasetKind) -> str:
    """What a dataset is for, in words."""
    return badges.KIND_WORDS[kind]


def kind_badge(dataset: Dataset) -> None:
    """The same as a badge; training sets, the usual kind, have none."""
    if dataset.kind is not DatasetKind.SFT:
        badges.dataset_kind(dataset.kind)


def score_badge(verdict: Verdict | None) -> None:
    """Score and band, or that nobody has looked yet."""
    if verdict is None:
        st.badge("Not examined yet", color="gray", icon=":material/help:")
        return
    band = verdict.band
    words = f"{verdict.score:.1f} {band}"
    st.badge(words, color=BAND_COLORS[band], icon=":material/health_and_safety:", help=BAND_HELP)


def rule_word(rule: str) -> str:
    """The name of a rule as people read it."""
    return rule.replace("_", " ").capitalize()


def fix_label(fix: str) -> str:
    """What a click would do."""
    return FIX_LABELS.get(Fix(fix), "Fix")


def as_text(value: Any) -> str:
    """A value of a row: text as it is, anything else as JSON. Untrusted."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
