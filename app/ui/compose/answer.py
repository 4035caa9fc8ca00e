"""One answer with what made it and what it cost: time, tokens, how sure, who took part, stage by stage."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.ui import numbers
from app.ui.badges import TYPE_COLORS, Color
from app.ui.frame import error_box
from app.ui.tables import Column, show_table
from app.ui.text import escape, escape_badge, plain, show_text
from core.analytics.costs import Prices, money
from core.errors import RmnError
from core.serve.records import AdapterUsed, InferenceAnswer, Routing, StageTrace
from core.training.score import MISSING, parse_json, same_value, score_answer

SURE, UNSURE = 0.1, 0.7  # mean entropy in nats: below the first «sure», from the second on «unsure»
REASONS = {
    "uncertain": "no adapter is likely enough",
    "foreign": "the prompt is unlike what it was trained on",
    "base": "such prompts are the base's",
}


def show_answer(
    answer: InferenceAnswer | RmnError, expected: str | None, text: DeltaGenerator, prices: Prices
) -> None:
    """The whole of it; the words go into `text`."""
    if isinstance(answer, RmnError):
        text.empty()
        error_box(answer)
        return
    text.code(plain(answer.text) or "(empty)", language=None, wrap_lines=True)
    if expected:
        _show_verdict(answer.text, expected)
    _show_cost(answer, prices)
    with st.container(horizontal=True, gap="xsmall"):
        _sure_badge(answer)
        if answer.routing is not None:
            _routing_badge(answer.routing)
        if not answer.adapters and not answer.stages:
            st.badge(escape_badge(answer.base_name), color="gray", icon=":material/foundation:")
        for used in answer.adapters:
            _adapter_badge(used)
    if answer.routing is not None:
        _show_routing(answer.routing)
    if answer.stages:
        with st.expander(f"{len(answer.stages)} stages", icon=":material/linear_scale:"):
            for place, stage in enumerate(answer.stages, start=1):
                _show_stage(place, stage)


def answer_row(title: str, answer: InferenceAnswer, prices: Prices) -> dict[str, object]:
    """An answer as a row of the table of costs."""
    return {
        "column": title,
        "cost": _cost(answer, prices),
        "latency": round(answer.latency_ms, 1),
        "first": round(answer.first_token_ms, 1),
        "queued": round(answer.queued_ms, 1),
        "engine": round((answer.latency_ms - answer.queued_ms) / 1000, 3),
        "tokens_in": answer.prompt_tokens,
        "cached": answer.cached_tokens,
        "tokens_out": answer.completion_tokens,
        "entropy": round(answer.mean_entropy, 4),
        "margin": round(answer.min_margin, 4),
        "finish": answer.finish_reason,
    }


def show_costs(rows: list[dict[str, object]], prices: Prices) -> None:
    """All answers in numbers."""
    priced = (
        f"Tokens cost {prices.prompt:g} {prices.currency} (read) and {prices.completion:g} {prices.currency} "
        "(generated) a million, by the settings."
        if prices.known
        else "No price is set for tokens here: the cost is said as seconds in the engine."
    )
    columns = list(COST_COLUMNS)
    if prices.known:
        columns.insert(1, Column("cost", f"Cost, {prices.currency}", "number"))
    with st.expander("In numbers", icon=":material/table_rows:"):
        st.caption(f"One prompt each (n 1), asked at once, so that they share the machine. {escape(priced)}")
        show_table(rows, tuple(columns), key="costs", alt="What each answer cost", file_name="answers.csv")


COST_COLUMNS = (
    Column("column", "Column"),
    Column("latency", "Latency, ms", "number"),
    Column("first", "First token, ms", "number"),
    Column("queued", "Waited, ms", "number"),
    Column(
        "engine",
        "In the engine, s",
        "number",
        "Latency without the wait. Other columns ran at the same time.",
    ),
    Column("tokens_in", "Tokens in", "number"),
    Column("cached", "Of them kept", "number", "Prompt tokens that were not read again."),
    Column("tokens_out", "Tokens out", "number"),
    Column("entropy", "Entropy, nats", "number", "Mean over the answer's tokens. 0: it saw no choice."),
    Column("margin", "Least margin", "number", "Between the two likeliest tokens, where it was smallest."),
    Column("finish", "Ended by"),
)


def _cost(answer: InferenceAnswer, prices: Prices) -> float:
    return money(prices.cost_nano(answer.prompt_tokens, answer.completion_tokens))


def _show_cost(answer: InferenceAnswer, prices: Prices) -> None:
    seconds = max(answer.latency_ms, 1e-3) / 1000
    engine = max(0.0, answer.latency_ms - answer.queued_ms) / 1000
    st.caption(
        f"{numbers.milliseconds(answer.latency_ms)} · first token after {numbers.milliseconds(answer.first_token_ms)} · "
        f"{answer.prompt_tokens} tokens in, {answer.completion_tokens} out "
        f"({answer.completion_tokens / seconds:.0f} tokens/s) · {engine:.2f} s in the engine"
        + (f" · {_cost(answer, prices):.3g} {escape(prices.currency)}" if prices.known else "")
        + (" · cut off at the longest answer" if answer.finish_reason == "length" else "")
    )


def _sure_badge(answer: InferenceAnswer) -> None:
    entropy = answer.mean_entropy
    word, color = _sureness(entropy)
    st.badge(
        f"{word} · {entropy:.2f} nats",
        color=color,
        icon=":material/psychology:",
        help=f"Mean entropy over {answer.completion_tokens} tokens: below {SURE:g} sure, from {UNSURE:g} on unsure. "
        f"Smallest margin between two tokens {answer.min_margin:.3f}. A model can be sure and wrong.",
    )


def _sureness(entropy: float) -> tuple[str, Color]:
    if entropy < SURE:
        return "Sure", "green"
    return ("Unsure", "orange") if entropy >= UNSURE else ("Fairly sure", "gray")


def _routing_badge(routing: Routing) -> None:
    who = routing.chosen or "base"
    st.badge(
        escape_badge(f"chose {who}, {100 * routing.probability:.0f}%"),
        color="violet",
        icon=":material/alt_route:",
    )


def _show_routing(routing: Routing) -> None:
    with st.expander("What the router saw", icon=":material/alt_route:"):
        if routing.abstained:
            reason = REASONS.get(routing.reason, routing.reason)
            st.caption(f"The base answers: {escape(reason)}.")
        shares = sorted(routing.probabilities.items(), key=lambda each: -each[1])
        for name, share in shares:
            st.progress(min(1.0, max(0.0, share)), text=f"{escape(name)} · {100 * share:.1f}%")
        st.caption(f"Gate {escape(routing.gate)} · entropy {routing.entropy:.3f} nats")


def _adapter_badge(used: AdapterUsed) -> None:
    where = "" if used.layers is None else f" [{used.layers[0]}–{used.layers[1]}]"
    st.badge(
        escape_badge(f"{used.name} v{used.version}{where} × {used.weight:g}"),
        color=TYPE_COLORS.get(used.type, "blue"),
        icon=":material/layers:",
    )


def _show_stage(place: int, stage: StageTrace) -> None:
    st.markdown(f"**{place} · {escape(stage.name)}**")
    st.caption("It was asked:")
    show_text(stage.prompt)
    st.caption("It answered:")
    show_text(stage.text)
    st.caption(
        f"{numbers.milliseconds(stage.latency_ms)} · {stage.prompt_tokens} tokens read, "
        f"{stage.completion_tokens} written"
    )
    with st.container(horizontal=True, gap="xsmall"):
        if stage.routing is not None:
            _routing_badge(stage.routing)
        for used in stage.adapters:
            _adapter_badge(used)


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
