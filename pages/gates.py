"""Gates: what decides which adapter answers. Train one, read its report, promote it."""

import streamlit as st

from app.actions import adapters, datasets, gates
from app.ui.compose.gate_form import show_form
from app.ui.compose.gate_list import show_gates, show_training
from app.ui.compose.gate_report import show_gate
from app.ui.frame import Figure, empty_state, figures, page_head
from app.ui.numbers import count, counted
from app.ui.screens import FEDERATION, GATES, go_to, shown_item
from app.ui.visit import current_visit
from core.compose.gate_records import GateState
from core.tenants.records import Permission

visit = current_visit()
may_train = visit.principal.may(Permission.TRAIN)
opened, running = shown_item("gate"), shown_item("job")
if opened is not None:
    show_gate(visit, opened)
    st.stop()
if running is not None:
    show_training(visit, running)
    st.stop()

page_head(GATES.title, GATES.purpose)
known = gates.list_gates(visit.console, visit.principal)
if known:
    promoted = [gate for gate in known if gate.state is GateState.PROMOTED]
    judged = [gate for gate in known if (gate.report.get("decision") or {}).get("promotable")]
    figures(
        [
            Figure("Gates", count(len({gate.name for gate in known})), counted(len(known), "version")),
            Figure("Promoted", count(len(promoted)), "answer for their name"),
            Figure("Shown to be better", count(len(judged)), f"of {counted(len(known), 'version')}"),
        ]
    )
    view = st.segmented_control("View", ["Cards", "Table"], default="Cards", required=True, key="gates-view")
    show_gates(known, visit, as_table=view == "Table")
else:
    empty_state(
        "No gate has been trained yet.",
        "A gate lets one model answer for several retailers, tasks and brands. The token gate needs no training: "
        "try it in the composer.",
        icon=":material/alt_route:",
        actions={"Open the composer": lambda: go_to(FEDERATION)},
    )

if may_train:
    with st.expander("Train a gate", icon=":material/model_training:", expanded=not known):
        show_form(
            visit,
            adapters.list_adapters(visit.console, visit.principal),
            datasets.list_datasets(visit.console, visit.principal),
        )
