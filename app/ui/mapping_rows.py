"""Harmonized rows on screen, and where each of their cells comes from."""

from typing import Any

import polars as pl
import streamlit as st

from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.harmonize.saved import HarmonizedRun, MappingVersion


def explain_selected(
    visit: Visit, run: HarmonizedRun, rows: pl.DataFrame, columns: list[str], picked: Any
) -> None:
    """Lineage."""


def show_run_rows(visit: Visit, run: HarmonizedRun, version: MappingVersion, dataset: Dataset) -> None:
    """First rows."""
