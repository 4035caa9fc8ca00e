"""Ask up to six columns the same thing at once; the answers stream in side by side, with what they cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from app.actions import datasets
from app.recording import prices_of
from app.ui.compose.answer import answer_row, show_answer, show_costs
from app.ui.compose.asking import Asked, Column
from app.ui.compose.editor import Edited
from app.ui.compose.judge import show_judging
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.compose.records import CompositionSpec, Federation, Term
from core.datasets.records import DatasetKind, Split
from core.engine.records import Message
from core.registry.records import Adapter
from core.serve.records import InferenceAnswer
from core.tenants.records import Permission

MOST_COLUMNS = 6
EXAMPLES_PER_ADAPTER = 3
PREVIEW_LIMIT = 1000
REDRAW_S = 0.1
BASE, DRAFT = "base", "draft"
PROMPT_KEY, ASKED_KEY, COLUMNS_KEY = "playground-prompt", "playground-asked", "playground-columns"


@dataclass(frozen=True, slots=True)
class TriedExample:
    """A held-out row to try, with the answer that is right."""

    title: str
    system: str
    prompt: str
    expected: str


def columns_for(
    edited: Edited, adapters: Sequence[Adapter], federations: Sequence[Federation]
) -> dict[str, Column]:
    """All that may stand in a column, by key: the base, what is being edited, adapters alone, saved federations."""
    found = {BASE: Column("Base alone", CompositionSpec())}
    if edited.spec is not None and not edited.empty:
        found[DRAFT] = Column(edited.words, edited.spec)
    for federation in federations:
        found[federation.id] = Column(
            f"{federation.label} (federation)", model=f"{federation.name}@{federation.version}"
        )
    for adapter in adapters:
        alone = CompositionSpec(terms=(Term(adapter=adapter.id),))
        found[adapter.id] = Column(f"{adapter.label} alone", alone)
    return found


def examples_for(visit: Visit, chosen: Sequence[Adapter]) -> list[TriedExample]:
    """Held-out rows of the sets that the chosen adapters were trained on."""
    by_digest = {
        dataset.digest: dataset for dataset in datasets.list_datasets(visit.console, visit.principal)
    }
    found: list[TriedExample] = []
    for adapter in chosen:
        dataset = by_digest.get(adapter.dataset_digest or "")
        if dataset is None or dataset.kind is not DatasetKind.SFT:
            continue
        found.extend(
            TriedExample(f"{adapter.name} · {number}", *texts)
            for number, texts in enumerate(_test_rows(visit, dataset.id, dataset.digest), start=1)
        )
    return found


def _test_rows(visit: Visit, dataset_id: str, digest: str) -> list[tuple[str, str, str]]:
    """System turn, prompt and completion of a few test rows, read once per visit."""
    known: dict[str, list[tuple[str, str, str]]] = st.session_state.setdefault("_test_rows", {})
    if digest not in known:
        rows = datasets.preview(visit.console, visit.principal, dataset_id, PREVIEW_LIMIT)
        tests = [row for row in rows if row.get("split") == Split.TEST and isinstance(row.get("prompt"), str)]
        some = tests[:: max(1, len(tests) // EXAMPLES_PER_ADAPTER)][:EXAMPLES_PER_ADAPTER]
        known[digest] = [
            (str(row.get("system") or ""), str(row["prompt"]), str(row.get("completion", ""))) for row in some
        ]
    return known[digest]


@st.fragment
def show_columns(columns: Mapping[str, Column], examples: list[TriedExample]) -> None:
    """Columns, prompt, examples, answers. Only this part is drawn anew when somebody asks."""
    visit = current_visit()
    chosen = _choose(columns)
    example = _pick(examples)
    prompt = st.text_area(
        "Prompt",
        key=PROMPT_KEY,
        height=120,
        placeholder="Paste a raw record, an objective, or a product to write about.",
    )
    if example is not None and prompt != example.prompt:
        example = None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        longest = st.number_input(
            "Longest answer, tokens",
            1,
            visit.console.settings.max_new_tokens,
            min(256, visit.console.settings.max_new_tokens),
            key="ask-tokens",
            width=200,
        )
        pressed = st.button("Ask", key="ask", type="primary", icon=":material/send:", disabled=not chosen)
    if pressed and prompt.strip():
        _ask(visit, [columns[key] for key in chosen], example, prompt, int(longest))
    asked: Asked | None = st.session_state.get(ASKED_KEY)
    if asked is not None:
        _show(visit, asked)


def _choose(columns: Mapping[str, Column]) -> list[str]:
    """Which columns; what is being edited stands beside the base unless somebody takes it out."""
    state = st.session_state
    before, now = state.get("_draft_column"), columns[DRAFT].title if DRAFT in columns else None
    told = [key for key in state.get(COLUMNS_KEY, [BASE]) if key in columns]
    if now is not None and before is None and DRAFT not in told and len(told) < MOST_COLUMNS:
        told.append(DRAFT)
    state["_draft_column"] = now
    state[COLUMNS_KEY] = told
    return st.multiselect(
        "Columns",
        list(columns),
        format_func=lambda key: plain(("This: " if key == DRAFT else "") + columns[key].title, 70),
        key=COLUMNS_KEY,
        max_selections=MOST_COLUMNS,
        placeholder="Choose what answers",
        help=f"Up to {MOST_COLUMNS}. All are asked at once, and share the machine.",
        persist_state="session",
    )


def _ask(
    visit: Visit, columns: Sequence[Column], example: TriedExample | None, prompt: str, longest: int
) -> None:
    last: Asked | None = st.session_state.get(ASKED_KEY)
    if last is not None:
        last.stop()
    system = example.system if example else ""
    turns = [Message(role="system", content=system)] if system else []
    messages = (*turns, Message(role="user", content=prompt))
    asked = Asked(columns, messages, longest, example.expected if example else None)
    st.session_state[ASKED_KEY] = asked
    asked.start(visit)


def _pick(examples: list[TriedExample]) -> TriedExample | None:
    if not examples:
        return None
    picked = st.pills(
        "Rows that the chosen adapters were not trained on",
        range(len(examples)),
        format_func=lambda i: plain(examples[i].title, 60),
        key="playground-example",
        on_change=_take_example,
        args=([example.prompt for example in examples],),
    )
    return examples[picked] if picked is not None and picked < len(examples) else None


def _take_example(prompts: list[str]) -> None:
    picked = st.session_state.get("playground-example")
    if picked is not None and picked < len(prompts):
        st.session_state[PROMPT_KEY] = prompts[picked]


def _show(visit: Visit, asked: Asked) -> None:
    """All columns; those that have not ended yet are followed until they have."""
    progress, prices = st.empty(), prices_of(visit.console.settings)
    places, notes = [], []
    with st.grid(min(len(asked.columns), MOST_COLUMNS), min_column_width=180):
        for column in asked.columns:
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{escape(column.title)}**")
                places.append(st.empty())
                notes.append(st.container())
    shown: set[int] = set()
    while True:
        asked.watch()
        for number, answer in enumerate(list(asked.answers)):
            if answer is None:
                places[number].code(plain(asked.texts[number]) or "…", language=None, wrap_lines=True)
            elif number not in shown:
                shown.add(number)
                with notes[number]:
                    show_answer(answer, asked.expected, places[number], prices)
        if len(shown) == len(asked.columns):
            break
        progress.progress(
            len(shown) / len(asked.columns),
            text=f"{len(shown)} of {len(asked.columns)} columns have answered",
        )
        time.sleep(REDRAW_S)
    progress.empty()
    _show_after(visit, asked)


def _show_after(visit: Visit, asked: Asked) -> None:
    """Once all have answered: say which is better, and the numbers."""
    answered = [
        (column.title, answer)
        for column, answer in zip(asked.columns, asked.answers, strict=True)
        if isinstance(answer, InferenceAnswer)
    ]
    if len(answered) < 2:
        if len(asked.columns) < 2:
            st.caption("Choose a second column to compare it with.")
        return
    if visit.principal.may(Permission.REVIEW):
        show_judging(visit, asked.messages, answered)
    prices = prices_of(visit.console.settings)
    show_costs([answer_row(title, answer, prices) for title, answer in answered], prices)
