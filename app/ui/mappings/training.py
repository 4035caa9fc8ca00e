"""«Make training set from mapping»: a dialog on the result of a harmonize run."""

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.frame import errors_shown, keep_notice
from app.ui.screens import DATASETS, go_to
from app.ui.visit import Visit
from core.datasets.from_mapping import SetPlan
from core.harmonize.saved import HarmonizedRun, MappingVersion

OPEN = "training-set-dialog"
MOST_RECORDS = 5000


def training_set_button(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    """The button, and the dialog while it is open."""
    st.button(
        "Make training set",
        icon=":material/model_training:",
        key="run-training-set",
        on_click=_open,
        args=(run.id,),
    )
    if st.session_state.get(OPEN) == run.id:
        _dialog(visit, run, version)


def _open(run_id: str | None) -> None:
    st.session_state[OPEN] = run_id


@st.dialog("Make training set from mapping", on_dismiss=lambda: _open(None))
def _dialog(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    st.caption(
        "Records of this file with the answers that the mapping gives, and each column with its rule. "
        "A retailer adapter learns from them."
    )
    with st.form("training-set", border=False):
        name = st.text_input(
            "Name",
            value=f"{version.mapping.retailer or version.name} records"[:100],
            max_chars=100,
            key="training-set-name",
        )
        records = st.number_input(
            "Training records", 20, MOST_RECORDS, 400, 20, key="training-set-records",
            help="At most so many; a small file gives fewer. Test rows come on top.",
        )  # fmt: skip
        mapped = [rule.source_field for rule in version.mapping.rules if not rule.dropped]
        held_out = st.multiselect(
            "Columns to hold out",
            mapped,
            key="training-set-held-out",
            help="Left out of the training and shown in test rows of their own: how well are unknown columns read?",
        )
        if st.form_submit_button("Make it", type="primary", icon=":material/check:"):
            with errors_shown():
                plan = SetPlan(train=int(records), held_out=tuple(held_out))
                made = datasets.build_from_mapping(
                    visit.console,
                    visit.principal,
                    dataset=run.dataset_id,
                    mapping=version.id,
                    name=name,
                    plan=plan,
                )
                _open(None)
                keep_notice(f"{made.title} was made: {numbers.rows(made.rows)}.")
                go_to(DATASETS, dataset=made.id)
