"""Rows that are the sum of other rows: called a total, or last and without a name."""

from collections.abc import Iterator

import polars as pl

from core.harmonize.traps.evidence import Evidence, Finding, Severity, listed

_TOTAL = (
    r"^(?i:(?:grand |overall |report )?(?:totals?|sub-?totals?)|sum(?:ma|me)?|summe|gesamt(?:summe|ergebnis)?|insgesamt"
    r"|totale?s?(?: g[eé]n[eé]ra(?:l|ux))?|total general|totaal|suma|razem|итого|всего|合計|总计)\s*:?$"
)


def total_row_traps(evidence: Evidence) -> Iterator[Finding]:
    """Rows that are called a total, or a last row that is the sum of the others."""
    called = pl.Series([False] * evidence.frame.height)
    where: list[str] = []
    for name in evidence.columns:
        if evidence.frame.schema[name] != pl.String or name in evidence.measures:
            continue
        told = evidence.text(name).str.contains(_TOTAL).fill_null(value=False)
        if told.any():
            called, where = called | told, [*where, name]
    summed = _foot_is_sum(evidence, called)
    count = int(called.sum())
    if not count and summed is None:
        return
    if count:
        sure = f" Its numbers are the sums of the others ({listed(summed)})." if summed else ""
        sentence = f"{evidence.share(count)} with the word «total» in {listed(where)}.{sure}"
        lines = evidence.lines_where(called)
    else:
        sentence = f"The last row is the sum of all others in {listed(summed or [])}."
        lines, count = (int(evidence.lines[-1]),), 1
    step = "Leave these rows out before anything is added: they would count everything twice."
    # A row that is the sum of the others is certain to count everything twice.
    severity: Severity = "error" if summed else "warning"
    yield Finding("sum.total_row", severity, sentence, (*where, *(summed or ())), count, lines, step)


def _foot_is_sum(evidence: Evidence, called: pl.Series) -> list[str] | None:
    """Measures whose last value is the sum of all before it. Only where the whole file is at hand."""
    height = evidence.frame.height
    if height < evidence.total_rows or height < 4:
        return None
    matched = []
    told = 0
    for name in evidence.measures:
        numbers = evidence.number(name)
        if numbers is None:
            continue
        last, rest = numbers[-1], float(numbers.head(height - 1).filter(~called.head(height - 1)).sum() or 0)
        if last is None or last == 0:
            continue
        told += 1
        if abs(last - rest) <= 0.005 + 1e-6 * abs(rest) and rest != numbers[-2]:
            matched.append(name)
    strong = len(matched) >= 2 or (len(matched) == 1 and (bool(called[-1]) or _foot_is_bare(evidence)))
    return matched if matched and strong and 2 * len(matched) >= told else None


def _foot_is_bare(evidence: Evidence) -> bool:
    """The last row lacks what nearly every other row has: names and days."""
    named = [name for name in evidence.columns if name not in evidence.measures]
    filled = [n for n in named if evidence.text(n).null_count() <= 0.05 * evidence.frame.height + 1]
    return bool(filled) and all(evidence.text(name)[-1] is None for name in filled)
