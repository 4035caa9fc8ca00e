"""What an evaluation found: base against adapter on rows that neither was trained on."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from app.ui import numbers
from app.ui.charts import answer_loss_chart, comparison_chart, show_chart
from app.ui.frame import Figure, figures
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain, show_text
from core.training.records import AnswerLoss, Evaluation, Proportion, SampleAnswer, SliceScore
from core.training.score import MISSING, parse_json, same_value, score_answer

SLICE_WORDS = {
    "new_values": "New values in known columns",
    "held_out_columns": "Columns held out of training",
}
_EVALUATION = TypeAdapter(Evaluation)
_LOSS_COLUMNS = (
    Column("slice", "Rows tested"),
    Column("n", "n", "number"),
    Column("tokens", "Tokens", "number"),
    Column("base", "Base, nats per token"),
    Column("adapter", "Adapter, nats per token"),
    Column("change", "Adapter minus base"),
)
_COLUMNS = (
    Column("slice", "Rows tested"),
    Column("measure", "Measure"),
    Column("n", "n", "number"),
    Column("base", "Base", "percent"),
    Column("base_interval", "95 % interval, base"),
    Column("adapter", "Adapter", "percent"),
    Column("adapter_interval", "95 % interval, adapter"),
)


def read_evaluation(stored: Mapping[str, Any] | None) -> Evaluation | None:
    """The evaluation that a job or manifest carries; None where there is none or it is of an older form."""
    if not stored:
        return None
    known = {field.name for field in fields(Evaluation)}
    try:
        return _EVALUATION.validate_python({name: value for name, value in stored.items() if name in known})
    except ValidationError:
        return None


def slice_words(name: str | None) -> str:
    """A slice in words."""
    if name is None:
        return "All held-out rows"
    return SLICE_WORDS.get(name, name.replace("_", " ").capitalize())


def main_figure(evaluation: Evaluation, *, prefix: str = "") -> Figure:
    """The one number: how much better the adapter is than the base."""
    score = evaluation.headline
    name = "Loss against base, nats" if score.main_figure == "answer_loss" else "Lift, points"
    label = f"{prefix} {name[0].lower()}{name[1:]}" if prefix else name
    if score.main_figure == "answer_loss" and score.answer_loss_change is not None:
        middle, low, high = map(numbers.signed, score.answer_loss_change)
        return Figure(
            label,
            middle,
            f"{low} to {high}, n {numbers.count(score.n)}",
            "How surprised the adapter is at the expected answers, minus the same of the base: mean nats per token "
            "of held-out answers, with its 95 % interval. Below zero is better.",
        )
    middle_points, low_points, high_points = (100 * value for value in score.exact_match_lift)
    return Figure(
        label,
        f"{middle_points:+.1f}",
        f"{low_points:+.1f} to {high_points:+.1f}, n {numbers.count(score.n)}",
        "Exact match of the adapter minus that of the base, on the same held-out rows, in percentage points, "
        "with its 95 % interval.",
    )


def headline_figures(evaluation: Evaluation) -> list[Figure]:
    """The main figure, then for free text loss and perplexity, then the shares of the headline rows."""
    score = evaluation.headline
    shares = [_versus(*pair) for pair in counted_pairs(score)]
    base, adapter = score.base_answer_loss, score.adapter_answer_loss
    if score.main_figure != "answer_loss" or base is None or adapter is None:
        return [main_figure(evaluation), *shares]
    losses = [
        Figure("Loss, nats per token", f"{adapter.value:.2f}", f"base {base.value:.2f}"),
        Figure("Perplexity", _perplexity(adapter), f"base {_perplexity(base)}"),
    ]
    return [main_figure(evaluation), *losses, *shares]


def loss_change(evaluation: Evaluation | None) -> float | None:
    """Loss of the adapter minus that of the base on the headline rows, for a table."""
    change = None if evaluation is None else evaluation.headline.answer_loss_change
    return None if change is None else round(change[0], 3)


def score_words(evaluation: Evaluation) -> str:
    """The outcome in one line, in Markdown: base, adapter, difference with its interval, n."""
    score = evaluation.headline
    base, adapter, change = score.base_answer_loss, score.adapter_answer_loss, score.answer_loss_change
    if score.main_figure == "answer_loss" and base is not None and adapter is not None and change is not None:
        return (
            f"Loss per answer token {base.value:.2f} → **{adapter.value:.2f}** "
            f"({numbers.loss_change(change)}, n {numbers.count(score.n)})"
        )
    return (
        f"Exact match {numbers.percent(score.base_exact_match.value)} → "
        f"**{numbers.percent(score.adapter_exact_match.value)}** "
        f"({numbers.lift(score.exact_match_lift)}, n {numbers.count(score.n)})"
    )


def show_evaluation(evaluation: Evaluation, *, key: str) -> None:
    """Figures, chart, slices apart and sample answers."""
    st.subheader("Better than the base?", anchor=False)
    st.caption(
        f"Measured on {escape(slice_words(evaluation.headline_slice).lower())}: rows the adapter never saw."
    )
    figures(headline_figures(evaluation))
    tabs = st.tabs(["Chart", "Slices and intervals", "Sample answers"])
    with tabs[0]:
        _charts(evaluation, key)
    with tabs[1]:
        show_table(
            [row for name, score in _slices(evaluation).items() for row in _rows(name, score)],
            _COLUMNS,
            key=f"{key}-slices",
            alt="Base and adapter on each slice, with intervals",
            file_name="evaluation.csv",
        )
        losses = [row for name, score in _slices(evaluation).items() for row in _loss_rows(name, score)]
        if losses:
            show_table(
                losses,
                _LOSS_COLUMNS,
                key=f"{key}-losses",
                alt="Loss of base and adapter on each slice, with intervals",
                file_name="losses.csv",
            )
    with tabs[2]:
        _samples(evaluation.samples, key)


def counted_pairs(score: SliceScore) -> list[tuple[str, Proportion, Proportion]]:
    """Measure, base, adapter; JSON validity and field accuracy only where JSON is expected."""
    pairs = (
        ("Exact match", score.base_exact_match, score.adapter_exact_match),
        ("Field accuracy", score.base_field_accuracy, score.adapter_field_accuracy),
        ("Valid JSON", score.base_json_validity, score.adapter_json_validity),
    )
    return [
        (name, base, adapter) for name, base, adapter in pairs if base is not None and adapter is not None
    ]


def _versus(label: str, base: Proportion, adapter: Proportion) -> Figure:
    return Figure(label, numbers.percent(adapter.value), f"base {numbers.percent(base.value)}")


def _slices(evaluation: Evaluation) -> Mapping[str | None, SliceScore]:
    """Scores by slice, the headline first."""
    first = evaluation.headline_slice
    names = sorted(evaluation.slices, key=lambda name: (name != first, name))
    return {name: evaluation.slices[name] for name in names} or {None: evaluation.headline}


def _charts(evaluation: Evaluation, key: str) -> None:
    slices = _slices(evaluation)
    if evaluation.headline.main_figure == "answer_loss":
        show_chart(
            answer_loss_chart({slice_words(name): score for name, score in slices.items()}),
            key=f"{key}-loss-chart",
            alt=f"{plain(score_words(evaluation)).replace('**', '')}: base and adapter on held-out rows",
        )
    with st.grid(min(2, len(slices)), min_column_width=320):
        for name, score in slices.items():
            show_chart(
                comparison_chart(counted_pairs(score), slice_words(name), rows=score.n),
                key=f"{key}-chart-{name}",
                alt=f"{slice_words(name)}: exact match {numbers.percent(score.base_exact_match.value)} for the base, "
                f"{numbers.percent(score.adapter_exact_match.value)} for the adapter, n {score.n}",
            )


def _loss_rows(name: str | None, score: SliceScore) -> list[dict[str, object]]:
    base, adapter, change = score.base_answer_loss, score.adapter_answer_loss, score.answer_loss_change
    if base is None or adapter is None or change is None:
        return []
    return [
        {
            "slice": slice_words(name),
            "n": adapter.rows,
            "tokens": adapter.tokens,
            "base": _loss_words(base),
            "adapter": _loss_words(adapter),
            "change": numbers.loss_change(change),
        }
    ]


def _perplexity(loss: AnswerLoss) -> str:
    """As many equally likely next tokens would surprise as much."""
    return f"{math.exp(loss.value):,.1f}" if loss.value < 20 else "over 100 million"


def _loss_words(loss: AnswerLoss) -> str:
    return f"{loss.value:.3f} ({loss.low:.3f}–{loss.high:.3f})"


def _rows(name: str | None, score: SliceScore) -> list[dict[str, object]]:
    return [
        {
            "slice": slice_words(name),
            "measure": measure,
            "n": adapter.n,
            "base": base.value,
            "base_interval": numbers.interval(base.low, base.high),
            "adapter": adapter.value,
            "adapter_interval": numbers.interval(adapter.low, adapter.high),
        }
        for measure, base, adapter in counted_pairs(score)
    ]


def _samples(samples: tuple[SampleAnswer, ...], key: str) -> None:
    if not samples:
        st.caption("This evaluation kept no sample answers.")
        return
    number = st.pagination(len(samples), key=f"{key}-sample") if len(samples) > 1 else 1
    sample = samples[min(number, len(samples)) - 1]
    st.caption(f"Sample {number} of {len(samples)} · {escape(slice_words(sample.slice).lower())}")
    with st.expander("Prompt"):
        show_text(sample.prompt)
    if isinstance(parse_json(sample.expected), dict):
        _field_by_field(sample)
        return
    answers = {"Expected": sample.expected, "Base": sample.base, "Adapter": sample.adapter}
    for column, (title, answer) in zip(st.columns(3), answers.items(), strict=True):
        with column:
            right = title == "Expected" or _is_right(answer, sample.expected)
            st.markdown(f"**{title}** {':green-badge[right]' if right else ':red-badge[wrong]'}")
            show_text(answer)


def _is_right(answer: str, expected: str) -> bool:
    return score_answer(answer, expected).exact


def _field_by_field(sample: SampleAnswer) -> None:
    """One line per field: what was expected, and what each of the two answered; red is wrong."""
    expected, base, adapter = (parse_json(text) for text in (sample.expected, sample.base, sample.adapter))
    table: dict[str, list[str]] = {"Field": [], "Expected": [], "Base": [], "Adapter": []}
    extra = [name for answer in (base, adapter) if isinstance(answer, dict) for name in answer]
    for name in dict.fromkeys([*expected, *extra]):
        wanted = expected.get(name, MISSING)
        table["Field"].append(escape(str(name)))
        table["Expected"].append(_shown(wanted))
        for title, answer in (("Base", base), ("Adapter", adapter)):
            given = answer.get(name, MISSING) if isinstance(answer, dict) else MISSING
            shown = "missing" if given is MISSING and wanted is not MISSING else _shown(given)
            table[title].append(shown if same_value(given, wanted) else f":red[**{shown}**]")
    st.table(table, border="horizontal", hide_index=True, alt="Expected, base and adapter, field by field")
    for title, answer, text in (("base", base, sample.base), ("adapter", adapter, sample.adapter)):
        if not isinstance(answer, dict):
            st.caption(f"The {title} did not answer with a JSON object:")
            show_text(text)


def _shown(value: Any) -> str:
    if value is MISSING:
        return numbers.NOTHING
    if isinstance(value, str | Decimal):
        return escape(str(value), 200) or "empty"
    return escape(json.dumps(value, ensure_ascii=False, default=str), 200)
