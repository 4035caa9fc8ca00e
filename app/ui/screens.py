"""The screens: where they lie, what they are called, who may open them; and moving between them."""

from dataclasses import dataclass
from typing import NoReturn

import streamlit as st

from app.access import may_open
from core.tenants.records import Principal


@dataclass(frozen=True, slots=True)
class Screen:
    """One screen. `purpose` is the line under its title and its tooltip in the navigation."""

    name: str
    title: str
    icon: str
    purpose: str
    section: str = ""

    @property
    def path(self) -> str:
        """As the access policies name it."""
        return f"pages/{self.name}.py"


OVERVIEW = Screen(
    "overview", "Overview", ":material/space_dashboard:", "What you have, what runs, and what to do next."
)
DATASETS = Screen(
    "datasets",
    "Datasets",
    ":material/database:",
    "Look at a set, check it, and train an adapter from it.",
    "Data",
)
MAPPINGS = Screen(
    "mappings",
    "Mappings",
    ":material/schema:",
    "Turn any retailer's file into RMIS: column by column, checked to the cent.",
    "Data",
)
DATA_BROWSER = Screen(
    "data_browser",
    "Data browser",
    ":material/table_view:",
    "Raw and harmonized rows side by side; catalog, priors, metrics and audiences.",
    "Data",
)
TRAINING = Screen(
    "training",
    "Train an adapter",
    ":material/model_training:",
    "Four steps from a dataset to a tested adapter.",
    "Build",
)
JOBS = Screen(
    "jobs",
    "Jobs",
    ":material/timeline:",
    "Watch training and harmonizing live, and see what came out of them.",
    "Build",
)
ADAPTERS = Screen(
    "adapters",
    "Adapters",
    ":material/layers:",
    "Everything trained, imported or shipped, with its lineage and proof.",
    "Use",
)
FEDERATION = Screen(
    "federation",
    "Federation composer",
    ":material/stacks:",
    "Stack adapters on the base and compare the answers.",
    "Use",
)
GATES = Screen(
    "gates",
    "Gates",
    ":material/alt_route:",
    "Train what decides which adapter answers, and see whether it is better than one adapter alone.",
    "Use",
)
SERVING = Screen(
    "serving",
    "Serving",
    ":material/memory:",
    "What is in memory, how often it was ready, and which version each name serves.",
    "Use",
)
EXPERIMENTS = Screen(
    "experiments",
    "Experiments",
    ":material/science:",
    "Prove that one composition is better than another, on real requests, however often you look.",
    "Prove",
)
ANALYTICS = Screen(
    "analytics",
    "Analytics & monitoring",
    ":material/monitoring:",
    "What was asked, how well and how fast it was answered, what is wrong, and how the machine is.",
    "Prove",
)
ADMIN = Screen(
    "admin",
    "Administration",
    ":material/admin_panel_settings:",
    "People, API keys and the audit log.",
    "Manage",
)

SCREENS = (
    OVERVIEW,
    DATASETS,
    MAPPINGS,
    DATA_BROWSER,
    TRAINING,
    JOBS,
    ADAPTERS,
    FEDERATION,
    GATES,
    SERVING,
    EXPERIMENTS,
    ANALYTICS,
    ADMIN,
)


def screens_for(principal: Principal) -> list[Screen]:
    """The screens that this role may open, in the order of the navigation."""
    return [screen for screen in SCREENS if may_open(principal, screen.path)]


def go_to(screen: Screen, **query: str) -> NoReturn:
    """Switch to a screen; `query` says what it should show, so that a reload shows the same."""
    st.switch_page(f"../{screen.path}", query_params=query)


def shown_item(name: str) -> str | None:
    """The id in the address that says which one of a list is open, if any."""
    value = st.query_params.get(name)
    return value or None


def show_item(name: str, value: str | None) -> None:
    """Open one of a list on this screen, or close it. The address changes, so that a reload keeps it."""
    if value is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = value
