"""Ask base and composition the same thing; both answers stream in side by side, with what they cost."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.actions import compositions, datasets
from app.ui import numbers
from app.ui.badges import TYPE_COLORS
from app.ui.frame import error_box
from app.ui.text import escape, escape_badge, plain
from app.ui.visit import Visit, current_visit
from core.compose.records import CompositionSpec
from core.datasets.records import DatasetKind, Split
from core.engine.records import Message
from core.errors import RmnError, UnavailableError
from core.registry.records import Adapter
from core.serve.records import AnswerPiece, InferenceAnswer, InferenceRequest
from core.training.score import MISSING, parse_json, same_value, score_answer

EXAMPLES_PER_ADAPTER = 3
PREVIEW_LIMIT = 1000
REDRAW_S = 0.1
PROMPT_KEY, ANSWERS_KEY = "playground-prompt", "playground-answers"


@dataclass(frozen=True, slots=True)
class TriedExample:
    """A held-out row to try, with the answer that is right."""

    title: str
    system: str
    prompt: str
    expected: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked of whom; `answers` fills up by the title of the side."""

    prompt: str
    example: TriedExample | None
    longest: int
    words: str
    spec: CompositionSpec
    answers: dict[str, InferenceAnswer | RmnError]


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
def show_playground(spec: CompositionSpec, words: str, examples: list[TriedExample]) -> None:
    """Prompt, examples, answers. Only this part is drawn anew when somebody asks."""
    visit = current_visit()
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
            256,
            key="ask-tokens",
            width=200,
        )
        pressed = st.button("Ask", key="ask", type="primary", icon=":material/send:")
    if pressed and prompt.strip():
        asked = _Asked(prompt, example, int(longest), words, spec, {})
        st.session_state[ANSWERS_KEY] = asked
    last: _Asked | None = st.session_state.get(ANSWERS_KEY)
    if last is not None:
        _show_answers(visit, last)


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


def _show_answers(visit: Visit, asked: _Asked) -> None:
    """Base and composition side by side. What is not answered yet is asked now, the base first."""
    sides = {"Base alone": CompositionSpec()}
    if asked.spec.terms:
        sides[asked.words] = asked.spec
    for place, (title, spec) in zip(st.columns(2), sides.items(), strict=False):
        with place.container(border=True, height="stretch"):
            st.markdown(f"**{escape(title)}**")
            text, notes = st.empty(), st.container()
            if title not in asked.answers:
                asked.answers[title] = _stream_answer(visit, asked, spec, text)
            with notes:
                _show_answer(asked.answers[title], asked.example.expected if asked.example else None, text)
    if not asked.spec.terms:
        st.caption("Choose an adapter above to compare it with the base.")


def _stream_answer(
    visit: Visit, asked: _Asked, spec: CompositionSpec, place: DeltaGenerator
) -> InferenceAnswer | RmnError:
    """Ask, and show the words as they come. A script that is stopped closes the stream, which cancels it."""
    system = asked.example.system if asked.example else ""
    turns = [Message(role="system", content=system)] if system else []
    request = InferenceRequest(
        messages=(*turns, Message(role="user", content=asked.prompt)),
        composition=spec,
        max_new_tokens=asked.longest,
    )
    place.code("…", language=None)
    try:
        stream: Any = compositions.stream(visit.console, visit.principal, request)
        with closing(stream) as pieces:
            written, shown_at = "", 0.0
            piece: AnswerPiece
            for piece in pieces:
                if piece.final is not None:
                    return piece.final
                written += piece.text
                if time.monotonic() - shown_at > REDRAW_S:
                    place.code(plain(written) or "…", language=None, wrap_lines=True)
                    shown_at = time.monotonic()
    except RmnError as error:
        return error
    return UnavailableError("The answer was cut off.", "The engine ended it early.", "Ask again.")


def _show_answer(answer: InferenceAnswer | RmnError, expected: str | None, text: DeltaGenerator) -> None:
    if isinstance(answer, RmnError):
        text.empty()
        error_box(answer)
        return
    text.code(plain(answer.text) or "(empty)", language=None, wrap_lines=True)
    if expected:
        _show_verdict(answer.text, expected)
    seconds = max(answer.latency_ms, 1e-3) / 1000
    st.caption(
        f"{numbers.milliseconds(answer.latency_ms)} · {answer.prompt_tokens} tokens in, "
        f"{answer.completion_tokens} out ({answer.completion_tokens / seconds:.0f} tokens/s)"
        + (" · cut off at the longest answer" if answer.finish_reason == "length" else "")
    )
    with st.container(horizontal=True, gap="xsmall"):
        st.badge(escape_badge(answer.base_name), color="gray", icon=":material/foundation:")
        for used in answer.adapters:
            st.badge(
                escape_badge(f"{used.name} v{used.version} × {used.weight:g}"),
                color=TYPE_COLORS.get(used.type, "blue"),
                icon=":material/layers:",
            )


def _show_verdict(text: str, expected: str) -> None:
    """Right or wrong against the known answer; for JSON, which fields are wrong."""
    score = score_answer(text, expected)
    if score.exact:
        st.badge("Right: equal to the expected answer", color="green", icon=":material/check:")
        return
    if score.valid_json is None:
        st.badge("Differs from the expected answer", color="red", icon=":material/close:")
        return
    note = f"{score.right_fields} of {score.fields} fields right"
    st.badge(note, color="orange" if score.right_fields else "red", icon=":material/close:")
    wanted, given = parse_json(expected), parse_json(text)
    if score.right_fields and isinstance(wanted, dict) and isinstance(given, dict):
        names = [name for name in wanted if not same_value(given.get(name, MISSING), wanted[name])]
        more = [f"{name} (not asked for)" for name in given if name not in wanted]
        st.caption(f"Wrong: {escape(', '.join([*names, *more]), 300)}")
