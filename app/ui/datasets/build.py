"""Examples written in a form: an objective and its tool call, or a request and good copy. No JSON to type."""

import json
from collections.abc import Callable, Mapping

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.frame import error_box, errors_shown, keep_notice, page_head
from app.ui.screens import show_item
from app.ui.text import escape, plain, show_text
from app.ui.visit import Visit
from core.datasets.builders import BuiltExample, brand_example, task_example, typed_argument
from core.datasets.records import DatasetKind
from core.errors import InvalidInputError, PermissionDeniedError
from core.registry.records import AdapterType
from core.tenants.records import Permission

TYPES = ("text", "whole number", "number", "yes or no")
MOST_WAITING = 200
_HEADS = {
    AdapterType.TASK: ("Task examples", "What people want to reach, and the tool call that should follow."),
    AdapterType.BRAND: ("Brand examples", "What is asked for, and copy that sounds like the brand."),
}


def show_builder(visit: Visit, kind: AdapterType) -> None:
    """The form for one kind of example, the examples that wait, and the set they go into."""
    if not visit.principal.may(Permission.TRAIN):
        raise PermissionDeniedError(
            "You may look at datasets, not make them.",
            "Your role does not include training.",
            "Ask an administrator of this workspace for another role.",
        )
    st.button(
        "All datasets",
        type="tertiary",
        icon=":material/arrow_back:",
        on_click=show_item,
        args=("build", None),
    )
    page_head(*_HEADS[kind])
    waiting: list[BuiltExample] = st.session_state.setdefault(f"built-{kind}", [])
    with st.container(border=True):
        example = (_task_form if kind is AdapterType.TASK else _brand_form)(_key(kind))
        if example is not None:
            _offer_example(kind, example, waiting)
    _show_waiting(kind, waiting)
    _offer_saving(visit, kind, waiting)


def _key(kind: AdapterType) -> Callable[[str], str]:
    """Keys of the form's fields: a new form after each example, so that its fields are empty."""
    number = st.session_state.setdefault(f"built-form-{kind}", 0)
    return lambda name: f"build-{kind}-{name}-{number}"


def _task_form(key: Callable[[str], str]) -> BuiltExample | None:
    objective = st.text_area(
        "Objective",
        placeholder="For example: Spend 50,000 USD on organic tea in March so that new buyers grow.",
        key=key("objective"),
        height=100,
    )
    tool = st.text_input(
        "Tool", placeholder="plan_budget", help="Small letters, digits and _.", key=key("tool")
    )
    st.caption("Arguments of the call")
    arguments: list[tuple[str, str, str]] = []
    rows = st.session_state.setdefault(key("rows"), 1)
    for place in range(rows):
        name_box, type_box, value_box = st.columns([2, 1.4, 3])
        with name_box:
            name = st.text_input(
                f"Argument {place + 1}", placeholder="total_budget", key=key(f"name-{place}")
            )
        with type_box:
            kind = st.selectbox("Type", TYPES, key=key(f"type-{place}"))
        with value_box:
            value = st.text_input("Value", key=key(f"value-{place}"))
        if name.strip() or value.strip():
            arguments.append((name.strip(), kind, value))
    st.button(
        "Another argument",
        key=key("more"),
        type="tertiary",
        icon=":material/add:",
        on_click=lambda: st.session_state.update({key("rows"): rows + 1}),
    )
    if not objective.strip() or not tool.strip():
        return None
    try:
        return task_example(objective, tool.strip(), _typed(arguments))
    except InvalidInputError as error:
        error_box(error)
        return None


def _typed(arguments: list[tuple[str, str, str]]) -> Mapping[str, str | int | float | bool]:
    names = [name for name, _, _ in arguments]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidInputError(
            f"The argument «{twice[:60]}» is there twice.", "", "Give each argument its own name."
        )
    return {name: typed_argument(value, kind) for name, kind, value in arguments}


def _brand_form(key: Callable[[str], str]) -> BuiltExample | None:
    request = st.text_area(
        "Request",
        placeholder="For example: Write a headline of at most 60 characters for the glass teapot.",
        key=key("request"),
        height=80,
    )
    copy = st.text_area("Good copy", help="As the brand would print it.", key=key("copy"), height=100)
    left, right = st.columns(2)
    with left:
        tone = st.text_input(
            "Tone words", placeholder="calm, precise", help="Told in the request.", key=key("tone")
        )
    with right:
        avoid = st.text_input(
            "Words to avoid",
            placeholder="cheap, amazing",
            help="The copy is refused if it holds one.",
            key=key("avoid"),
        )
    if not request.strip() or not copy.strip():
        return None
    try:
        return brand_example(request, copy, tone.split(","), avoid.split(","))
    except InvalidInputError as error:
        error_box(error)
        return None


def _offer_example(kind: AdapterType, example: BuiltExample, waiting: list[BuiltExample]) -> None:
    with st.grid(2, min_column_width=280):
        with st.container():
            st.caption("The adapter is asked")
            show_text(example.prompt)
        with st.container():
            st.caption("It should answer")
            show_text(example.completion)
    if example in waiting:
        st.caption("This example is on the list already.")
        return
    st.button(
        "Put it on the list",
        key=f"build-{kind}-take",
        type="primary",
        icon=":material/playlist_add:",
        disabled=len(waiting) >= MOST_WAITING,
        on_click=_take,
        args=(kind, example),
    )


def _take(kind: AdapterType, example: BuiltExample) -> None:
    st.session_state[f"built-{kind}"] = [*st.session_state[f"built-{kind}"], example]
    st.session_state[f"built-form-{kind}"] += 1


def _put_back(kind: AdapterType, place: int) -> None:
    kept = list(st.session_state[f"built-{kind}"])
    del kept[place]
    st.session_state[f"built-{kind}"] = kept


def _show_waiting(kind: AdapterType, waiting: list[BuiltExample]) -> None:
    if not waiting:
        st.caption("No example on the list yet. Fill in the form; what it teaches appears below it.")
        return
    st.subheader(f"On the list: {len(waiting)}", anchor=False)
    for place, example in enumerate(waiting):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{place + 1}. {escape(example.prompt, 80)} → {escape(_short(example), 80)}")
            st.button(
                "Take off",
                key=f"build-{kind}-off-{place}",
                type="tertiary",
                icon=":material/close:",
                on_click=_put_back,
                args=(kind, place),
            )


def _short(example: BuiltExample) -> str:
    """The answer in a few words: of a tool call its name and how many arguments it has."""
    try:
        call = json.loads(example.completion)
    except ValueError:
        return example.completion
    if isinstance(call, dict) and "tool" in call:
        return f"{call['tool']}({', '.join(call.get('arguments', {}))})"
    return example.completion


def _offer_saving(visit: Visit, kind: AdapterType, waiting: list[BuiltExample]) -> None:
    sets = [
        each
        for each in datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.SFT)
        if each.adapter_type == kind
    ]
    with st.container(border=True):
        chosen = st.selectbox(
            "Save to",
            [None, *sets],
            format_func=lambda each: (
                "A new set" if each is None else f"{plain(each.title, 60)}: its next version"
            ),
            key=f"build-{kind}-set",
        )
        name = chosen.name if chosen is not None else ""
        if chosen is None:
            name = st.text_input(
                "Name of the new set",
                max_chars=100,
                placeholder="For example: spring briefs",
                key=f"build-{kind}-set-name",
            )
        ready = bool(waiting) and bool(name.strip())
        if st.button(
            f"Save {numbers.rows(len(waiting))}",
            key=f"build-{kind}-save",
            type="primary",
            icon=":material/save:",
            disabled=not ready,
        ):
            with errors_shown():
                made = datasets.add_examples(
                    visit.console, visit.principal, name.strip(), kind, tuple(waiting)
                )
                st.session_state[f"built-{kind}"] = []
                keep_notice(f"{made.title} has {numbers.rows(made.rows)} now.")
                st.query_params.from_dict({"dataset": made.id})
                st.rerun()
