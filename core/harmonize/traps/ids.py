"""Identifiers that lost digits, events that came twice, and rows that are there twice."""

from collections.abc import Iterator

import polars as pl

from core.harmonize.counted import agree
from core.harmonize.records import Rule
from core.harmonize.traps.evidence import Evidence, Finding, Severity, listed, probe_rows
from core.harmonize.traps.roles import is_called_id
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

_SPOILED = r"^-?\d([.,]\d+)?[eE]\+?\d{1,3}$"
INT32_ENDS = ("2147483647", "-2147483648", "4294967295")
#: From this many digits on a spreadsheet or a float keeps only the first fifteen to seventeen.
LONG = 16
ZEROED_SHARE = 0.8
MIN_IDS = 10
REPEATED_SHARE = 0.5
EVENT_KEYS = ("dedup_key", "event_id")


def id_traps(evidence: Evidence) -> Iterator[Finding]:
    for name in evidence.columns:
        if _is_id(evidence, name):
            yield from _digits(evidence, name)
    repeated = list(_repeated_events(evidence))
    yield from repeated
    yield from _repeated_rows(evidence, keyed=bool(repeated))


def _is_id(evidence: Evidence, column: str) -> bool:
    target = fact_column(evidence.roles.get(column, ""))
    if target is not None:
        return target.dtype is FactType.IDENTIFIER
    return is_called_id(column)


def _digits(evidence: Evidence, column: str) -> Iterator[Finding]:
    series = evidence.frame.get_column(column)
    if series.dtype.is_float():
        yield from _float_ids(evidence, column, series)
        return
    text = evidence.text(column)
    spoiled = text.str.contains(_SPOILED).fill_null(value=False)
    if count := int(spoiled.sum()):
        example = str(text.filter(spoiled).first())[:30]
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'are')} written like «{example}»: their digits are gone."
        )
        yield _lost("id.spoiled", sentence, column, count, evidence.lines_where(spoiled))
    fraction = text.str.contains(r"^\d+\.0+$").fill_null(value=False)
    if count := int(fraction.sum()):
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'end')} in «.0»: numbers that were once identifiers."
        )
        step = "Take the file from before it went through a spreadsheet or a data frame; «.0» is no part of an id."
        lines = evidence.lines_where(fraction)
        yield Finding("id.float_text", "warning", sentence, (column,), count, lines, step)
    long = text.str.contains(rf"^\d{{{LONG},}}$").fill_null(value=False)
    if int(long.sum()) >= MIN_IDS:
        yield from _zeroed(evidence, column, text, long)
    ends = text.is_in(list(INT32_ENDS)).fill_null(value=False)
    if (count := int(ends.sum())) > 1:
        example = str(text.filter(ends).first())
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'are')} {example}, an end of 32 bits: an overflow."
        )
        yield _lost("id.overflow", sentence, column, count, evidence.lines_where(ends))


def _zeroed(evidence: Evidence, column: str, text: pl.Series, long: pl.Series) -> Iterator[Finding]:
    zeros = text.str.ends_with("000").fill_null(value=False) & long
    different = text.filter(zeros).n_unique()
    if different >= MIN_IDS and int(zeros.sum()) >= ZEROED_SHARE * int(long.sum()):
        count = int(zeros.sum())
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'have')} {LONG} digits or more and end in 000: rounded by a "
            "spreadsheet, different ids may have become the same."
        )
        yield _lost("id.rounded", sentence, column, count, evidence.lines_where(zeros))


def _float_ids(evidence: Evidence, column: str, series: pl.Series) -> Iterator[Finding]:
    beyond = (series.abs() > 2.0**53).fill_null(value=False)
    if count := int(beyond.sum()):
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'are')} floats beyond 2^53: their last digits are lost."
        )
        yield _lost("id.overflow", sentence, column, count, evidence.lines_where(beyond))


def _lost(rule: str, sentence: str, column: str, rows: int, lines: tuple[int, ...]) -> Finding:
    step = f"Export again with {listed([column])} as text; the digits cannot be brought back."
    return Finding(rule, "warning", sentence, (column,), rows, lines, step)


def _repeated_events(evidence: Evidence) -> Iterator[Finding]:
    """The same event more than once: at-least-once delivery, or corrections of it."""
    keys = [name for name in evidence.columns if _is_key(evidence, name)]
    for name in keys:
        text = evidence.text(name)
        told = text.is_not_null()
        later = told & ~text.is_first_distinct()
        count = int(later.sum())
        if not count or count > REPEATED_SHARE * int(told.sum()):
            continue
        deduplicated = any(rule.transform.op is TransformOp.DEDUP for rule in _all_rules(evidence, name))
        corrected = any(evidence.op(each) is TransformOp.SUM_DELTA for each in evidence.columns)
        rows_alike = _row_hashes(evidence).is_duplicated()
        alike = int((rows_alike & later).sum())
        said = (
            "the rows are the same"
            if alike == count
            else f"in {count - alike:,} the rows differ: corrections"
        )
        sentence = (
            f"{evidence.share(count)} {agree(count, 'repeat')} a «{name[:80]}» that came before ({said})."
        )
        handled = deduplicated or corrected
        severity: Severity = "note" if handled else "warning"
        step = (
            "The repeats are left out before any sum."
            if deduplicated
            else "Add a rule of kind dedup for this column, so that nothing is counted twice."
        )
        yield Finding(
            "value.repeated_event", severity, sentence, (name,), count, evidence.lines_where(later), step
        )


def _all_rules(evidence: Evidence, column: str) -> list[Rule]:
    """Rules of the column, and those of others that name it as their key."""
    rules = [rule for found in evidence.rules.values() for rule in found]
    return [rule for rule in rules if column in (rule.source_field, rule.transform.on)]


def _is_key(evidence: Evidence, column: str) -> bool:
    if evidence.roles.get(column) in EVENT_KEYS or evidence.op(column) is TransformOp.DEDUP:
        return True
    return any(rule.transform.on == column for rule in _all_rules(evidence, column))


def _repeated_rows(evidence: Evidence, *, keyed: bool) -> Iterator[Finding]:
    """Rows that are there more than once in every column."""
    if keyed or len(evidence.columns) < 3 or evidence.frame.height < 2:
        return
    hashes = _row_hashes(evidence)
    later = ~hashes.is_first_distinct()
    count = int(later.sum())
    if not count or not _tells_rows_apart(evidence):
        return
    handled = any(
        evidence.op(name) in (TransformOp.DEDUP, TransformOp.SUM_DELTA) for name in evidence.columns
    )
    sentence = (
        f"{evidence.share(count)} "
        f"{agree(count, 'are')} the same as an earlier row in all {len(evidence.columns)} columns."
    )
    step = "Find out whether the file was put together twice; leave the repeats out if so."
    severity: Severity = "note" if handled else "warning"
    yield Finding("value.repeated_row", severity, sentence, (), count, evidence.lines_where(later), step)


def _tells_rows_apart(evidence: Evidence) -> bool:
    """Whether rows are mostly different, so that an equal one is suspicious: not so in a file of three codes."""
    rows = probe_rows(evidence.frame.height)
    hashes = _row_hashes(evidence).gather(rows)
    return hashes.n_unique() >= 0.5 * len(rows)


def _row_hashes(evidence: Evidence) -> pl.Series:
    return evidence.frame.select(evidence.columns).hash_rows(seed=7)
