"""Values of which nothing came: how many, why, where; blank words and withheld numbers told apart from wrong ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from core.harmonize.counted import agree, counted
from core.harmonize.findings import Finding, Severity
from core.harmonize.plan import Plan, Slot
from core.harmonize.row_shape import SOUND
from core.harmonize.source.records import LINE
from core.harmonize.stages import Stages, lost, raw_of
from core.harmonize.values.numbers import BLANK, WITHHELD
from core.rmis.facts import FactType
from core.rmis.vocabularies import TransformOp

_FIRST_LINES = 10
_LISTED = 20
_LONGEST_RAW = 2000
#: Types in which a dash or n/a can only mean «nothing»; in free text it may be a name.
_TYPED = frozenset(set(FactType) - {FactType.TEXT, FactType.IDENTIFIER})


@dataclass(frozen=True)
class Loss:
    """Values of one slot that became null although the source has something there."""

    slot: Slot
    wrong: int
    blank: int
    withheld: int
    lines: tuple[int, ...]
    listed: tuple[tuple[str, int], ...] = ()
    without_word: tuple[tuple[str, int], ...] = ()


def value_counts(plan: Plan) -> list[pl.Expr]:
    """Aggregates over the wide table: raw values and typed values of each slot. They cost next to nothing."""
    found = []
    for slot in counted_slots(plan):
        found.append(raw_of(slot, plan).count().alias(f"{slot.name}.raw"))
        found.append(pl.col(slot.name).count().alias(f"{slot.name}.typed"))
    return found


def counted_slots(plan: Plan) -> list[Slot]:
    """Slots of which a loss is told: what goes with another is told once."""
    return [slot for slot in plan.slots if not slot.cell.derived]


def find_losses(plan: Plan, stages: Stages, sums: Mapping[str, Any]) -> list[Loss]:
    """One more pass, only over the columns of slots that lost something."""
    losing = [slot for slot in counted_slots(plan) if sums[f"{slot.name}.typed"] < sums[f"{slot.name}.raw"]]
    if not losing:
        return []
    wanted: list[pl.Expr] = []
    for slot in losing:
        gone, wrong = lost(slot, plan), wrong_value(slot, plan)
        wanted += [
            gone.sum().alias(f"{slot.name}.gone"),
            wrong.sum().alias(f"{slot.name}.wrong"),
            (gone & _withheld(slot, plan)).sum().alias(f"{slot.name}.withheld"),
            pl.col(LINE).filter(wrong).head(_FIRST_LINES).implode().alias(f"{slot.name}.lines"),
        ]
    found = stages.wide.select(wanted).collect(engine="streaming").row(0, named=True)
    return [_loss(slot, plan, stages, found) for slot in losing]


def wrong_value(slot: Slot, plan: Plan) -> pl.Expr:
    """Lost, and neither a word for «nothing» nor a number that is withheld."""
    return lost(slot, plan) & ~_blank(slot, plan) & ~_withheld(slot, plan)


def rejected_rows(losses: Sequence[Loss], plan: Plan, stages: Stages) -> pl.LazyFrame:
    """Line, column, target, reason and raw value of each value that is wrong. What is secret is not shown."""
    tables = [
        stages.wide.filter(wrong_value(loss.slot, plan)).select(
            pl.col(LINE).cast(pl.UInt64).alias("line"),
            pl.lit(loss.slot.cell.rule.source_field).alias("column"),
            pl.lit(loss.slot.target).alias("target"),
            pl.lit(loss.slot.cell.why).alias("reason"),
            (
                pl.lit("") if loss.slot.cell.secret else raw_of(loss.slot, plan).str.slice(0, _LONGEST_RAW)
            ).alias("raw"),
        )
        for loss in losses
        if loss.wrong
    ]
    empty = pl.LazyFrame(
        schema={"line": pl.UInt64, **dict.fromkeys(("column", "target", "reason", "raw"), pl.String)}
    )
    return pl.concat(tables) if tables else empty


def findings_of(losses: Sequence[Loss], sums: Mapping[str, Any]) -> list[Finding]:
    """A sentence for each loss. A column of which more than half is wrong is an error: its rule does not fit it."""
    found: list[Finding] = []
    for loss in losses:
        slot, raw = loss.slot, int(sums[f"{loss.slot.name}.raw"])
        columns = (slot.cell.rule.source_field,)
        if loss.wrong:
            found.append(_wrong(loss, raw, columns))
        if loss.blank:
            sentence = _blank_sentence(loss, columns[0])
            found.append(Finding("value.blank_word", "note", sentence, columns, loss.blank, (), ""))
        if loss.withheld:
            sentence = (
                f"{counted(loss.withheld, 'value')} of «{columns[0]}» {agree(loss.withheld, 'are')} withheld by the source;"
                " their rows are kept and marked as suppressed."
            )
            step = "Totals of this column are too low by what is withheld."
            found.append(Finding("value.suppressed", "note", sentence, columns, loss.withheld, (), step))
    return found


def mark_counts(plan: Plan) -> list[pl.Expr]:
    """Aggregates of the marks that transforms set (ambiguous times, wrong check digits)."""
    return [
        (mark if slot.part is None else mark & pl.col(slot.name).is_not_null())
        .sum()
        .alias(f"{slot.name}.mark{place}")
        for slot in plan.slots
        for place, (_, mark) in enumerate(slot.cell.marks)
    ]


def list_counts(plan: Plan) -> list[pl.Expr]:
    """An aggregate over the wide table: nested lists that could not be read."""
    return [(~pl.col(SOUND)).sum().alias("unread_lists")] if plan.items is not None else []


def list_findings(plan: Plan, stages: Stages, sums: Mapping[str, Any]) -> list[Finding]:
    """Lists of which no rows could be made."""
    count = int(sums.get("unread_lists") or 0)
    if plan.items is None or not count:
        return []
    lines = stages.wide.filter(~pl.col(SOUND)).select(LINE).head(_FIRST_LINES).collect(engine="streaming")
    sentence = (
        f"{counted(count, 'value')} of «{plan.items.column}» "
        f"{agree(count, 'are')} no JSON list{'' if count == 1 else 's'}; each stays one row without items."
    )
    step = "Look at these lines: what their items would have counted is missing."
    columns = (plan.items.column,)
    return [Finding("value.unreadable_list", "warning", sentence, columns, count, tuple(lines[LINE]), step)]


def mark_findings(plan: Plan, stages: Stages, sums: Mapping[str, Any]) -> list[Finding]:
    """What was counted, with its first lines."""
    found = []
    for slot in plan.slots:
        for place, (rule, mark) in enumerate(slot.cell.marks):
            count = int(sums[f"{slot.name}.mark{place}"] or 0)
            if count:
                lines = stages.wide.filter(mark).select(LINE).head(_FIRST_LINES).collect(engine="streaming")
                verb, told, step = _MARKED[rule]
                field = slot.cell.rule.source_field
                sentence = f"{counted(count, 'value')} of «{field}» {agree(count, verb)} {told}."
                found.append(Finding(rule, "warning", sentence, (field,), count, tuple(lines[LINE]), step))
    return found


#: Mark → (verb, the rest of the sentence, what to do).
_MARKED: Mapping[str, tuple[str, str, str]] = {
    "time.ambiguous": (
        "lie",
        "in an hour that came twice when the clock was set back; the first was taken",
        "Ask the source for times with their offset.",
    ),
    "time.nonexistent": (
        "lie",
        "in an hour that the clock skipped; moved forward",
        "Check the time zone of the source.",
    ),
    "gtin.check_digit": (
        "have",
        "a check digit that does not fit; kept all the same",
        "Check whether these are GTINs at all.",
    ),
}


def _loss(slot: Slot, plan: Plan, stages: Stages, found: Mapping[str, Any]) -> Loss:
    wrong, withheld = int(found[f"{slot.name}.wrong"] or 0), int(found[f"{slot.name}.withheld"] or 0)
    blank = int(found[f"{slot.name}.gone"] or 0) - wrong - withheld
    listed: tuple[tuple[str, int], ...] = ()
    if wrong and (slot.cell.rule.transform.op is TransformOp.ENUM_MAP or slot.cell.column.words):
        listed = _listed(slot, plan, stages, wrong_value(slot, plan))
    nulls: tuple[tuple[str, int], ...] = ()
    if blank and slot.cell.blank_words:
        nulls = _listed(slot, plan, stages, lost(slot, plan) & _blank(slot, plan))
    return Loss(slot, wrong, blank, withheld, tuple(found[f"{slot.name}.lines"] or ()), listed, nulls)


def _listed(slot: Slot, plan: Plan, stages: Stages, which: pl.Expr) -> tuple[tuple[str, int], ...]:
    """The most frequent values of those that are meant."""
    counted = (
        stages.wide.filter(which)
        .group_by(raw_of(slot, plan).str.slice(0, 200).alias("raw"))
        .len()
        .sort("len", "raw", descending=[True, False])
        .head(_LISTED)
        .collect(engine="streaming")
    )
    return tuple((str(raw), int(count)) for raw, count in counted.iter_rows())


def _blank(slot: Slot, plan: Plan) -> pl.Expr:
    raw = pl.when(pl.col(slot.name).is_null()).then(raw_of(slot, plan))
    pattern = BLANK if slot.cell.column.dtype in _TYPED else r"^\s*$"
    blank = raw.str.contains(pattern)
    if slot.cell.blank_words:
        blank = blank | raw.str.strip_chars().str.to_lowercase().is_in(list(slot.cell.blank_words))
    return blank.fill_null(value=False)


def _withheld(slot: Slot, plan: Plan) -> pl.Expr:
    if not slot.measure:
        return pl.lit(value=False)
    raw = pl.when(pl.col(slot.name).is_null()).then(raw_of(slot, plan))
    return raw.str.contains(WITHHELD).fill_null(value=False)


def _wrong(loss: Loss, raw: int, columns: tuple[str, ...]) -> Finding:
    cell = loss.slot.cell
    share = loss.wrong / max(raw, 1)
    severity: Severity = "error" if share > 0.5 else "warning"
    became = f"«{cell.otherwise}»" if cell.otherwise else "blank"
    sentence = (
        f"{counted(loss.wrong, 'value')} of «{columns[0]}» ({share:.1%}) "
        f"became {became} in {loss.slot.target}: {cell.why}."
    )
    if loss.listed:
        shown = ", ".join(f"«{value[:40]}» ({count:,})" for value, count in loss.listed[:8])
        sentence += f" Most frequent: {shown}."
    rule = "value.unmapped" if cell.rule.transform.op is TransformOp.ENUM_MAP else "value.unreadable"
    step = (
        "Add them to the map."
        if rule == "value.unmapped"
        else "Correct the rule, or look at the list of rejected values."
    )
    return Finding(rule, severity, sentence, columns, loss.wrong, loss.lines, step)


def _blank_sentence(loss: Loss, column: str) -> str:
    if not loss.without_word:
        return (
            f"{counted(loss.blank, 'value')} of «{column}» {agree(loss.blank, 'mean')} «nothing» (such as - or n/a) and "
            f"{agree(loss.blank, 'stay')} blank."
        )
    shown = ", ".join(f"«{value[:40]}» ({count:,})" for value, count in loss.without_word[:8])
    return (
        f"{counted(loss.blank, 'value')} of «{column}» {agree(loss.blank, 'have')} no word in the map (null) and "
        f"{agree(loss.blank, 'stay')} blank: {shown}."
    )
