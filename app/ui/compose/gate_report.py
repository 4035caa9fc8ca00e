"""A gate in full: what it chooses among, whether it is better than one adapter alone, and why it is promoted or not."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.actions import gates
from app.ui import numbers
from app.ui.badges import Color
from app.ui.charts import show_chart
from app.ui.compose.gate_charts import (
    calibration_chart,
    confusion_chart,
    difference_chart,
    gain_curve,
    use_chart,
)
from app.ui.compose.methods import WORDS, Way
from app.ui.frame import Figure, errors_shown, figures, keep_notice
from app.ui.screens import JOBS, go_to, show_item
from app.ui.tables import Column, show_table
from app.ui.text import escape, escape_badge
from app.ui.visit import Visit
from core.compose.gate_records import Gate, GateState
from core.tenants.records import Permission

STATES: dict[GateState, tuple[str, Color, str]] = {
    GateState.CANDIDATE: ("Candidate", "orange", ":material/pending:"),
    GateState.PROMOTED: ("Promoted", "green", ":material/verified:"),
    GateState.RETIRED: ("Retired", "gray", ":material/history:"),
}
_POLICIES = (
    Column("label", "Who answers"),
    Column("exact", "Exact match", "percent"),
    Column("exact_interval", "95 % interval"),
    Column("fields", "Fields right", "percent"),
    Column("loss", "Loss, nats per token", "number"),
    Column("n", "n", "number"),
    Column("gain", "Gain of the gate"),
    Column("gain_interval", "95 % interval of the gain"),
)


def state_badge(gate: Gate) -> None:
    """Candidate, promoted or retired."""
    word, color, icon = STATES[gate.state]
    st.badge(word, color=color, icon=icon)


def show_gate(visit: Visit, gate_id: str) -> None:
    """The whole report. Raises NotFoundError."""
    st.button(
        "All gates", type="tertiary", icon=":material/arrow_back:", on_click=show_item, args=("gate", None)
    )
    gate = gates.find_gate(visit.console, visit.principal, gate_id)
    way = Way(gate.kind.value)
    st.title(escape(gate.label), anchor=False)
    st.caption(f"{WORDS[way].does} **Its limit:** {WORDS[way].limit}")
    with st.container(horizontal=True, gap="xsmall"):
        state_badge(gate)
        st.badge(WORDS[way].title, color="violet", icon=WORDS[way].icon)
        for adapter in gate.adapters:
            st.badge(escape_badge(adapter.label), color="blue", icon=":material/layers:")
        if (gate.report.get("data") or {}).get("simulated"):
            st.badge("Simulated data", color="yellow", icon=":material/science:")
    _show_decision(visit, gate)
    report = gate.report
    _show_figures(report)
    if comparison := report.get("comparison"):
        st.subheader("Is it better?", anchor=False)
        show_chart(difference_chart(comparison), key="gate-gain", alt=_gain_words(comparison))
        show_table(
            policy_rows(comparison),
            _POLICIES,
            key="policies",
            alt="The gate beside others",
            file_name="gate.csv",
        )
    if routing := report.get("routing"):
        _show_routing(routing)
    if static := report.get("static"):
        _show_static(static)
    if token := report.get("token"):
        note = f"{token['top_k']} at a token, temperature {token['temperature']:g}"
        show_chart(use_chart(token["utilisation"], n=note), key="gate-use", alt="How much each adapter acts")
    _show_data(report)


def policy_rows(comparison: Mapping[str, Any]) -> list[dict[str, object]]:
    """Everybody who answered the held-out rows, with the gate's gain against each."""
    gains = {each["against"]: each["gain"] for each in comparison["differences"]}
    points = comparison["figure"] == "exact_match"
    rows = []
    for policy in comparison["policies"]:
        exact, fields, loss = policy["exact_match"], policy["field_accuracy"], policy["answer_loss"]
        gain = gains.get(policy["key"])
        rows.append(
            {
                "label": policy["label"],
                "exact": exact["value"],
                "exact_interval": numbers.interval(exact["low"], exact["high"]),
                "fields": fields.get("value"),
                "loss": None if loss is None else round(loss["value"], 4),
                "n": policy["n"],
                "gain": None if gain is None else _amount(gain["value"], points),
                "gain_interval": None
                if gain is None
                else f"{_amount(gain['low'], points)} to {_amount(gain['high'], points)}",
            }
        )
    return rows


def _show_decision(visit: Visit, gate: Gate) -> None:
    decision: Mapping[str, Any] = gate.report.get("decision") or {}
    reason = escape(str(decision.get("reason", "Its report says nothing about it.")), None)
    promotable = bool(decision.get("promotable"))
    if gate.state is GateState.PROMOTED:
        st.success(f"It answers for the name «{escape(gate.name)}». {reason}", icon=":material/verified:")
    elif promotable:
        st.info(f"It may be promoted. {reason}", icon=":material/thumb_up:")
    else:
        st.warning(
            f"It is not promoted. {reason} It can be tried by its version: «{escape(gate.name)}@{gate.version}».",
            icon=":material/block:",
        )
    with st.container(horizontal=True):
        if (
            visit.principal.may(Permission.TRAIN)
            and gate.state is not GateState.PROMOTED
            and st.button(
                "Promote",
                key="gate-promote",
                type="primary",
                icon=":material/verified:",
                disabled=not promotable,
                help=None
                if promotable
                else "Only a gate that is shown to beat every other choice is promoted.",
            )
        ):
            with errors_shown():
                made = gates.promote_gate(visit.console, visit.principal, gate.id)
                keep_notice(f"{made.label} answers for its name now.")
                st.rerun()
        if gate.job_id is not None and st.button("Open the job", key="gate-job", icon=":material/timeline:"):
            go_to(JOBS, job=gate.job_id)


def _show_figures(report: Mapping[str, Any]) -> None:
    row = []
    if comparison := report.get("comparison"):
        own = comparison["policies"][0]["exact_match"]
        row.append(Figure("Exact match", numbers.percent(own["value"]), f"n {own['n']:,} held-out rows"))
    if routing := report.get("routing"):
        accuracy, entropy = routing["accuracy"], routing["entropy"]
        abstention = routing["abstention"]
        row += [
            Figure(
                "Routed right",
                numbers.percent(accuracy["value"]),
                f"{numbers.interval(accuracy['low'], accuracy['high'])}, n {accuracy['n']:,}",
                "Share of held-out prompts that went to the adapter that is best at them, with its 95 % interval.",
            ),
            Figure(
                "Left to the base",
                numbers.percent(abstention["value"]),
                f"{abstention['uncertain']} uncertain, {abstention['foreign']} foreign",
            ),
            Figure("Entropy", f"{entropy['mean']:.3f}", f"nats, at most {entropy['most_possible']:.2f}"),
        ]
    cost = report.get("cost") or {}
    choose = cost.get("choose_us")
    row.append(
        Figure(
            "Cost",
            f"{choose:.0f} µs" if choose else f"{cost.get('adapters_at_once', 1)} adapters",
            "per request to choose" if choose else "act at once",
        )
    )
    figures(row)


def _show_routing(routing: Mapping[str, Any]) -> None:
    st.subheader("How it chooses", anchor=False)
    accuracy = numbers.percent(routing["accuracy"]["value"])
    with st.grid(2, min_column_width=320):
        show_chart(confusion_chart(routing), key="gate-confusion", alt=f"Confusion matrix, {accuracy} right")
        show_chart(calibration_chart(routing["calibration"]), key="gate-calibration", alt="Calibration")
    n = f"n {routing['n']:,} held-out prompts"
    show_chart(use_chart(routing["utilisation"], n=n), key="gate-use", alt="How often each is chosen")


def _show_static(static: Mapping[str, Any]) -> None:
    st.subheader("What it learned", anchor=False)
    with st.grid(2, min_column_width=320):
        show_chart(
            use_chart(static["utilisation"], n="mean size of the factors"), key="gate-use", alt="Mean factors"
        )
        show_chart(gain_curve(static["curve"], static["best_step"]), key="gate-curve", alt="Loss over steps")
    columns = (
        Column("label", "Adapter"),
        Column("mean", "Mean factor", "number"),
        Column("least", "Least", "number"),
        Column("most", "Most", "number"),
    )
    rows: Sequence[Mapping[str, Any]] = static["gains"]
    show_table(rows, columns, key="gains", alt="Learned factors by adapter", file_name="gate-factors.csv")


def _show_data(report: Mapping[str, Any]) -> None:
    data = report.get("data") or {}
    names = ", ".join(str(each["name"]) for each in data.get("datasets", ()))
    if not data:
        return
    st.caption(
        f"Learned from {data['train']:,} prompts, set on {data['validation']:,}, judged on {data['test']:,} of which "
        f"{data['answered']:,} were answered, seed {data['seed']}. Sets: {escape(names, 400)}."
        + (
            " Base and adapters are byte for byte what they were."
            if report.get("base_and_adapters_unchanged")
            else ""
        )
    )


def _gain_words(comparison: Mapping[str, Any]) -> str:
    points = comparison["figure"] == "exact_match"
    return "; ".join(
        f"against {each['label']} {_amount(each['gain']['value'], points)}"
        for each in comparison["differences"]
    )


def _amount(value: float, points: bool) -> str:
    return numbers.points(value) if points else f"{numbers.signed(value)} nats"
