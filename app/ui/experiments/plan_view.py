"""The plan of an experiment as it is kept, and the way from a draft back into the guided form."""

from datetime import datetime

import streamlit as st

from app.ui import numbers
from app.ui.experiments.choices import arm_words
from app.ui.experiments.form import BASE, Form
from app.ui.experiments.measures import MEASURES, OWN, amount_words, label_of, measure_of, scale_of
from app.ui.experiments.words import BANDIT, MODES, SPLIT, UNITS, WAYS, automatic_words, way_of
from app.ui.frame import fact_list
from core.experiments.plan import MetricPlan, Mode
from core.experiments.records import Experiment, State, Strategy


def show_plan(experiment: Experiment, *, expanded: bool = False) -> None:
    """Everything that was fixed when it started."""
    fixed = "fixed" if experiment.state is not State.DRAFT else "may still be changed"
    with st.expander(f"The plan ({fixed})", icon=":material/assignment:", key="exp-plan", expanded=expanded):
        fact_list(plan_facts(experiment), alt="The plan of this experiment")


def plan_facts(experiment: Experiment) -> dict[str, str]:
    """The plan, field by field, in words. Values are untrusted text."""
    plan = experiment.plan
    facts = {
        "Id": experiment.id,
        "Arms": "; ".join(_arm_words(experiment, number) for number in range(len(experiment.arms))),
        "Decides": _metric_words(plan.primary, "must win by more than"),
        "Guardrails": "; ".join(_metric_words(each, "may lose") for each in plan.guardrails) or "none",
        "Way": WAYS[way_of(experiment)].title,
        "Unit": UNITS[experiment.unit].title,
        "Judged": MODES[plan.mode].title,
        "Confidence": f"{plan.confidence:.0%}",
        "Minimum": f"{plan.minimum_units:,} units per arm, {plan.minimum_days:g} days",
        "Share of the traffic": f"{100 * experiment.share:g} %",
        "Ramp": "; ".join(
            f"{100 * step.share:g} % from {numbers.moment(step.at)}" for step in experiment.ramp
        )
        or "none",
        "Takes part": _targets(experiment),
        "Requests": "those that ask for its id"
        if experiment.serves is None
        else f"those that ask for {experiment.serves.name}, or for its id",
        "Starts": _when(experiment.starts_at, "when somebody starts it"),
        "Ends": _when(experiment.ends_at, "when somebody stops it"),
        "By itself": automatic_words(experiment.automatic),
        "Made by": f"{experiment.created_by}, {numbers.moment(experiment.created_at)}",
    }
    if plan.mode is not Mode.ALWAYS_VALID and plan.planned_units:
        looks = f", {plan.looks} looks" if plan.mode is Mode.GROUP_SEQUENTIAL else ""
        facts["Planned"] = f"{plan.planned_units:,} units per arm{looks}"
    if plan.equivalence:
        facts["Matters to nobody"] = f"within ±{amount_words(plan.primary, plan.equivalence)}"
    if experiment.namespace != experiment.id:
        low, high = experiment.slots
        facts["Namespace"] = (
            f"{experiment.namespace}, {100 * (high - low):g} % of it, {100 * experiment.holdout:g} % held out"
        )
    return facts


def form_from(experiment: Experiment) -> Form | None:
    """The guided form of a draft; None where it has something that the form does not know."""
    keys = [str(arm.composition.get("model") or BASE) for arm in experiment.arms]
    plan = experiment.plan
    primary = measure_of(plan.primary)
    guards = {
        found.key: each.margin * scale_of(each) for each in plan.guardrails if (found := measure_of(each))
    }
    known = all(arm.composition == {"model": key} for arm, key in zip(experiment.arms, keys, strict=True))
    if not known or len(guards) < len(plan.guardrails) or any(arm.weight == 0 for arm in experiment.arms):
        return None
    even = len(set(plan.weights)) == 1
    namespaced = experiment.namespace != experiment.id
    return Form(
        experiment_id=experiment.id,
        name=experiment.name,
        hypothesis=experiment.hypothesis,
        control=keys[0],
        challengers=tuple(keys[1:]),
        takes_over=experiment.serves is not None,
        primary=primary.key if primary else OWN,
        own_name="" if primary else plan.primary.name,
        own_kind=plan.primary.kind,
        own_higher=plan.primary.higher_is_better,
        margin=plan.primary.margin * scale_of(plan.primary),
        equivalence=plan.equivalence and plan.equivalence * scale_of(plan.primary),
        guardrails={key: round(value, 6) for key, value in guards.items() if key in MEASURES},
        way=way_of(experiment),
        rule=experiment.bandit,
        unit=experiment.unit,
        weights={}
        if even or way_of(experiment) != SPLIT
        else {key: 100 * weight for key, weight in zip(keys, plan.weights, strict=True)},
        seeded=experiment.strategy is Strategy.RANDOM and way_of(experiment) != BANDIT,
        targeting=dict(experiment.targeting),
        share=100 * experiment.share,
        ramp=tuple((step.at, 100 * step.share) for step in experiment.ramp),
        namespace=experiment.namespace if namespaced else "",
        holdout=100 * experiment.holdout,
        mode=plan.mode,
        confidence=100 * plan.confidence,
        minimum_units=plan.minimum_units,
        minimum_days=plan.minimum_days,
        planned_units=plan.planned_units,
        looks=plan.looks,
        starts_at=experiment.starts_at,
        ends_at=experiment.ends_at,
        automatic=experiment.automatic,
    )


def _arm_words(experiment: Experiment, number: int) -> str:
    arm = experiment.arms[number]
    role = ", control" if number == 0 else ""
    digest = f", {numbers.short_digest(arm.digest)}" if arm.digest else ""
    return f"{arm.id}{role}: {arm_words(arm)}, {100 * arm.weight:.3g} %{digest}"


def _metric_words(metric: MetricPlan, says: str) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    margin = f", {says} {amount_words(metric, metric.margin)}" if metric.margin else ""
    return f"{label_of(metric)} ({better} is better{margin})"


def _targets(experiment: Experiment) -> str:
    return (
        "; ".join(f"{field}: {', '.join(values)}" for field, values in experiment.targeting.items())
        or "everybody"
    )


def _when(at: datetime | None, otherwise: str) -> str:
    return otherwise if at is None else numbers.moment(at)
