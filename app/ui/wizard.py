"""The steps of the training wizard before the run: choose a dataset, configure, review and start."""

import re
from dataclasses import replace

import streamlit as st
from pydantic import ValidationError

from app.actions import adapters, datasets, training
from app.ui import badges, numbers
from app.ui.controls import CONTROLS, MAIN, MORE, Control, as_text, show_control, with_changes
from app.ui.datasets.view import show_problem
from app.ui.draft import Draft, keep_draft
from app.ui.frame import Figure, empty_state, error_box, fact_list, figures, keep_notice, problem_box
from app.ui.screens import DATASETS, go_to
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import Dataset, DatasetKind
from core.errors import RmnError
from core.jobs.records import JobState
from core.registry.records import AdapterType
from core.training.presets import plan_spec
from core.training.records import Estimate, TrainingSpec, readable_reasons


def choose_dataset(visit: Visit, draft: Draft) -> None:
    """Step 1: one training set."""
    sets = datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.SFT)
    if not sets:
        empty_state(
            "No training set yet.",
            "Import a file with prompts and completions.",
            icon=":material/database:",
            actions={"Go to the datasets": lambda: go_to(DATASETS)},
        )
        return
    by_id = {dataset.id: dataset for dataset in sets}
    ids = list(by_id)
    chosen = st.radio(
        "Dataset",
        ids,
        index=ids.index(draft.dataset_id) if draft.dataset_id in by_id else 0,
        format_func=lambda i: escape(by_id[i].title),
        captions=[f"{numbers.rows(d.rows)} · {escape(d.description, 110)}" for d in sets],
        key="wizard-dataset",
    )
    st.caption(
        "Demonstrations train here, also conversations of several turns. Preference pairs (DPO) and thumbs (KTO) are "
        "examined, mended and exported; no run learns from them yet."
    )
    if st.button("Next: configure", type="primary", icon=":material/arrow_forward:", icon_position="right"):
        _go(replace(Draft(), dataset_id=chosen, step=2))


def configure(visit: Visit, draft: Draft) -> None:
    """Step 2: type, name, preset; everything else is folded away with the preset's values."""
    dataset = datasets.get_dataset(visit.console, visit.principal, str(draft.dataset_id))
    _dataset_line(dataset)
    left, right = st.columns(2)
    with left:
        name = st.text_input(
            "Name of the adapter",
            draft.name or _proposed_name(dataset),
            max_chars=100,
            help="Letters, digits, space, dot, dash, underscore. A known name makes its next version.",
            key=f"wizard-name-{dataset.id}",
        )
    with right:
        kinds = list(AdapterType)
        kind = st.segmented_control(
            "What it teaches",
            kinds,
            default=_type_of(draft, dataset),
            required=True,
            format_func=lambda k: f"{badges.TYPE_ICONS[k]} {k.capitalize()}",
            help="A retailer's data, a task's tool calls, a brand's voice, or a field's words.",
            key=f"wizard-type-{dataset.id}",
        )
    draft = replace(draft, name=name, adapter_type=kind.value)
    preset = _choose_preset(draft)
    if preset != draft.preset:
        draft = replace(draft, preset=preset, changes={})
    plan = _plan(draft, dataset)
    if plan is not None:
        draft = replace(draft, changes=_changes(draft, plan))
    keep_draft(draft)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if st.button("Back", icon=":material/arrow_back:"):
            _go(replace(draft, step=1))
        if st.button(
            "Next: review",
            type="primary",
            icon=":material/arrow_forward:",
            icon_position="right",
            disabled=plan is None,
        ):
            _go(replace(draft, step=3))


def review(visit: Visit, draft: Draft) -> None:
    """Step 3: what will run, what it takes, what was checked; then the start."""
    dataset = datasets.get_dataset(visit.console, visit.principal, str(draft.dataset_id))
    _dataset_line(dataset)
    spec = _spec(draft, dataset)
    ready = False
    if spec is not None:
        ready = _estimate(visit, spec)
        ready = _checks(visit, dataset, spec) and ready
        with st.expander("All settings of this run", icon=":material/tune:"):
            fact_list({c.label: as_text(spec, c.field) for c in CONTROLS}, alt="Settings of this run")
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if st.button("Back", icon=":material/arrow_back:"):
            _go(replace(draft, step=2))
        pressed = st.button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not ready,
            key="start-training",
        )
    if pressed and spec is not None:
        try:
            job = training.submit_training(visit.console, visit.principal, spec, draft=draft.key)
        except RmnError as error:
            error_box(error)
            return
        if job.state is JobState.QUEUED:
            told = f"{spec.name} was submitted. It goes on if you close this page."
        else:
            told = "This draft was started before. This is its job."
        keep_notice(told, ":material/play_arrow:")
        _go(Draft(job_id=job.id))


def _go(draft: Draft) -> None:
    keep_draft(draft)
    st.rerun()


def _dataset_line(dataset: Dataset) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":material/database: **{escape(dataset.title)}**", width="content")
        st.caption(numbers.rows(dataset.rows), width="content")
        badges.adapter_type(dataset.adapter_type)
        badges.simulated(dataset.simulated)


def _proposed_name(dataset: Dataset) -> str:
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", dataset.name).strip(" ._-")[:100] or "adapter"


def _type_of(draft: Draft, dataset: Dataset) -> AdapterType:
    for text in (draft.adapter_type, dataset.adapter_type):
        if text in list(AdapterType):
            return AdapterType(text)
    return AdapterType.RETAILER


def _choose_preset(draft: Draft) -> str:
    presets = {preset.name: preset for preset in training.presets()}
    names = list(presets)
    chosen = st.radio(
        "Preset",
        names,
        index=names.index(draft.preset) if draft.preset in presets else 0,
        format_func=lambda n: presets[n].title,
        captions=[preset.description for preset in presets.values()],
        horizontal=True,
        help="A tried set of values for this kind of adapter. Change single ones below.",
        key="wizard-preset",
    )
    return str(chosen)


def _plan(draft: Draft, dataset: Dataset) -> TrainingSpec | None:
    """The preset's own values for this set; None, with the reason on screen, when the name is not usable."""
    try:
        return plan_spec(draft.preset, AdapterType(str(draft.adapter_type)), dataset, draft.name.strip())
    except RmnError as error:
        _show_invalid(error)
        return None


def _spec(draft: Draft, dataset: Dataset) -> TrainingSpec | None:
    plan = _plan(draft, dataset)
    try:
        return None if plan is None else with_changes(plan, draft.changes)
    except ValidationError as error:
        _show_invalid(error)
        return None


def _show_invalid(error: ValidationError | RmnError) -> None:
    if isinstance(error, RmnError):
        error_box(error)
    else:
        problem_box("These settings do not go together.", readable_reasons(error), "Correct them in step 2.")


def _changes(draft: Draft, plan: TrainingSpec) -> dict[str, str]:
    """Draw the controls; what differs from the preset comes back."""
    try:
        current = with_changes(plan, draft.changes)
    except ValidationError:
        current = plan
    changed: dict[str, str] = {}

    def draw(control: Control) -> None:
        text = show_control(
            control, current, key=f"wizard-{draft.preset}-{draft.adapter_type}-{control.field}"
        )
        if text != as_text(plan, control.field):
            changed[control.field] = text

    with st.grid(len(MAIN), min_column_width=160):
        for control in MAIN:
            draw(control)
    with st.expander("More settings", icon=":material/tune:"):
        for title, group in MORE.items():
            st.caption(title)
            with st.grid(3, min_column_width=180):
                for control in group:
                    draw(control)
    if changed:
        names = ", ".join(control.label.lower() for control in CONTROLS if control.field in changed)
        st.caption(f"Changed from the preset: {names}.")
    return changed


def _estimate(visit: Visit, spec: TrainingSpec) -> bool:
    try:
        with st.spinner("Estimating"):
            estimate: Estimate = training.estimate_training(visit.console, visit.principal, spec)
    except RmnError as error:
        error_box(error)
        return False
    runs = estimate.calibrated_from_runs
    source = (
        f"from {numbers.counted(runs, 'finished run')} here"
        if runs
        else "rough: no run has finished here yet"
    )
    figures(
        [
            Figure("Time", numbers.band(estimate.seconds_low, estimate.seconds_high), source),
            Figure(
                "Steps", numbers.count(estimate.steps), f"{numbers.short_count(estimate.train_tokens)} tokens"
            ),
            Figure(
                "Memory",
                numbers.size(estimate.memory_bytes),
                f"{numbers.size(estimate.memory_available_bytes)} free",
            ),
        ]
    )
    with st.expander("Where the memory goes", icon=":material/memory:"):
        parts = {
            part.replace("_", " ").capitalize(): numbers.size(b) for part, b in estimate.memory_parts.items()
        }
        fact_list(parts, alt="Memory by part")
    if not estimate.fits:
        problem_box(
            "This run does not fit into the free memory.",
            f"It needs {numbers.size(estimate.memory_bytes)}; {numbers.size(estimate.memory_available_bytes)} are free.",
            "Use a smaller batch, a lower rank, or hold the base in 4 bits.",
        )
    return estimate.fits


def _checks(visit: Visit, dataset: Dataset, spec: TrainingSpec) -> bool:
    try:
        problems = datasets.check(visit.console, visit.principal, dataset.id)
        known = adapters.list_adapters(visit.console, visit.principal, include_archived=True)
    except RmnError as error:
        error_box(error)
        return False
    for problem in problems:
        show_problem(problem)
    blocking = any(problem.severity == "error" for problem in problems)
    if not problems:
        st.markdown(":green-badge[:material/check: Dataset] Checked: nothing wrong was found.")
    version = max((a.version for a in known if a.name == spec.name), default=0) + 1
    st.markdown(f":green-badge[:material/check: Name] It becomes {escape(spec.name)} v{version}.")
    if spec.evaluate:
        st.markdown(":green-badge[:material/check: Proof] Compared with the base on held-out rows when done.")
    else:
        st.markdown(":orange-badge[:material/warning: Proof] No comparison with the base: evaluation is off.")
    return not blocking
