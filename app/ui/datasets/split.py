"""The split dialog: what must not be on both sides, how large the parts are, and what came out."""

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.datasets.dialogs import close_dialog, dialog_button
from app.ui.frame import errors_shown, keep_notice
from app.ui.screens import show_item
from app.ui.visit import Visit
from core.datasets.records import Dataset, Split
from core.datasets.split_plan import SplitBy, SplitOutcome, SplitPlan
from core.tenants.records import Permission

OUTCOME = "dataset-split-outcome"
_BY = {
    SplitBy.QUESTION: "Question: equal and nearly equal questions stay together.",
    SplitBy.RETAILER: "Retailer: test rows are of retailers that training never saw.",
    SplitBy.TIME: "Time: training has the earlier days, the test the latest.",
}
_USUAL = {Split.TRAIN: 80, Split.VALIDATION: 10, Split.TEST: 10}


def offer_split(visit: Visit, dataset: Dataset) -> None:
    """The button, and the dialog while it is open."""
    if dialog_button("Split anew", "split", dataset, icon=":material/call_split:"):
        _dialog(visit, dataset)


def show_split_outcome(dataset: Dataset) -> None:
    """What the split that made this version came to, once."""
    told = st.session_state.get(OUTCOME)
    if told is not None and told[0] == dataset.id:
        st.success(told[1], icon=":material/call_split:")


@st.dialog("Split into training, validation and test", on_dismiss=close_dialog)
def _dialog(visit: Visit, dataset: Dataset) -> None:
    st.caption("Makes a new version. The rows stay as they are; only their split changes.")
    ways = list(SplitBy)
    by = st.radio("What must not be on both sides", ways, format_func=lambda each: _BY[each], key="split-by")
    columns = st.columns(3)
    shares = {}
    for column, (split, usual) in zip(columns, _USUAL.items(), strict=True):
        with column:
            shares[split] = st.number_input(
                f"{split.capitalize()}, %", 0, 100, usual, 5, key=f"split-{split}"
            )
    seed = st.number_input(
        "Seed", 0, 2**31 - 1, 0, 1, help="The same seed gives the same split.", key="split-seed"
    )
    total = sum(shares.values())
    if total != 100:
        st.warning(f"The shares come to {total} %; they must come to 100 %.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="split-no"):
            close_dialog()
            st.rerun()
        if st.button("Split now", key="split-yes", type="primary", disabled=total != 100):
            with errors_shown():
                plan = SplitPlan(by, {split: share / 100 for split, share in shares.items()}, int(seed))
                with st.spinner("Finding what belongs together"):
                    _split(visit, dataset, plan)


def _split(visit: Visit, dataset: Dataset, plan: SplitPlan) -> None:
    visit.principal.require(Permission.TRAIN)
    made, outcome = datasets.split_dataset(visit.console, visit.principal, dataset.id, plan)
    close_dialog()
    st.session_state[OUTCOME] = (made.id, outcome_words(outcome, plan.by))
    keep_notice("The set was split anew. Undo brings the version before back.", ":material/call_split:")
    show_item("dataset", made.id)
    st.rerun()


def outcome_words(outcome: SplitOutcome, by: SplitBy) -> str:
    """What came out, in two sentences."""
    total = max(1, sum(outcome.rows.values()))
    parts = [
        f"{split} {numbers.rows(rows)} ({100 * rows / total:.0f} %)" for split, rows in outcome.rows.items()
    ]
    groups = f"{outcome.groups:,} group{'' if outcome.groups == 1 else 's'}"
    empty = [str(split) for split, rows in outcome.rows.items() if not rows]
    warned = f" Nothing fell to {' and '.join(empty)}: the groups are too large." if empty else ""
    return (
        f"Split by {by}: {', '.join(parts)}. {groups} of rows that belong together were dealt out whole; "
        f"the largest has {numbers.rows(outcome.largest_group)}.{warned}"
    )
