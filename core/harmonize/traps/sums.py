"""What must not be added: total columns beside their parts, rates, and the same column twice."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from core.harmonize.traps.evidence import Evidence, Finding, Severity, listed, probe_rows
from core.harmonize.traps.roles import plain_words
from core.rmis.facts import FactGroup, fact_column

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

_RATE_NAME = re.compile(
    r"(^| )(ctr|cpc|cpm|cpa|acpc|roas|acos|tacos|cvr|rate|ratio|share|percent|pct|avg|average|per|vtr|aov)( |$)"
)
MIN_ROWS = 8
AGREE = 0.95
MOST_MEASURES = 30
PROBE = 400
FACTORS = (1.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True)
class _Table:
    """Measures as a matrix of probe rows × columns, with half of the last written digit of each column."""

    names: tuple[str, ...]
    values: Matrix
    half_digit: Vector


@dataclass(frozen=True, slots=True)
class _Quotient:
    """Column numbers of a table: rate = top / bottom × factor."""

    rate: int
    top: int
    bottom: int
    factor: float


def sum_traps(evidence: Evidence) -> Iterator[Finding]:
    table = _measures(evidence)
    copies = list(_same_columns(evidence))
    yield from (finding for finding, _ in copies)
    if table is None:
        return
    copied = {name for _, names in copies for name in names[1:]}
    derived = list(_derived(evidence, table, copied))
    yield from (finding for finding, _ in derived)
    yield from _total_columns(evidence, table, copied | {name for _, name in derived})


def _same_columns(evidence: Evidence) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Columns that say the same in every row."""
    rows = probe_rows(evidence.frame.height, PROBE)
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in evidence.columns:
        numbers = evidence.number(name) if name in evidence.measures else None
        probe = tuple((numbers if numbers is not None else evidence.text(name)).gather(rows).to_list())
        if len(rows) >= MIN_ROWS and len(set(probe) - {None, 0.0}) >= 3:
            groups.setdefault(probe, []).append(name)
    for names in groups.values():
        same = [names[0], *(name for name in names[1:] if _equal(evidence, names[0], name))]
        if len(same) > 1:
            yield _copy(evidence, same), tuple(same)


def _equal(evidence: Evidence, left: str, right: str) -> bool:
    if left in evidence.measures:
        a, b = evidence.number(left), evidence.number(right)
        return a is not None and b is not None and bool(a.eq_missing(b).all())
    return bool(evidence.text(left).eq_missing(evidence.text(right)).all())


def _copy(evidence: Evidence, names: list[str]) -> Finding:
    used = [
        name
        for name in names
        if not evidence.is_dropped(name) and (evidence.mapping is None or name in evidence.used)
    ]
    targets = [evidence.used.get(name) for name in used]
    measure = names[0] in evidence.measures
    twice = len(used) > 1 and (evidence.mapping is None or len(set(targets)) < len(targets))
    severity: Severity = "warning" if measure and twice else "note"
    sentence = f"{listed(names)} are the same in all {evidence.frame.height:,} rows."
    step = f"Keep {listed(names[:1])} and leave the other out." if twice else ""
    return Finding("sum.duplicate_column", severity, sentence, tuple(names), evidence.frame.height, (), step)


def _derived(evidence: Evidence, table: _Table, copied: set[str]) -> Iterator[tuple[Finding, str]]:
    """Columns that are one column over another: rates, which are never added."""
    quotients = (_quotient(table, i, copied) for i, name in enumerate(table.names) if name not in copied)
    best: dict[frozenset[int], _Quotient] = {}
    for found in quotients:
        if found is None:
            continue
        # Spend / CPC are the clicks as much as spend / clicks are the CPC: of the three, the likeliest is the rate.
        triple = frozenset({found.rate, found.top, found.bottom})
        known = best.get(triple)
        if known is None or _likeliness(table, found.rate) > _likeliness(table, known.rate):
            best[triple] = found
    for found in best.values():
        yield _rate(evidence, table, found), table.names[found.rate]


def _likeliness(table: _Table, index: int) -> tuple[bool, float, float]:
    called = _RATE_NAME.search(plain_words(table.names[index])) is not None
    told = table.values[:, index]
    return called, -table.half_digit[index], -float(np.nanmedian(np.abs(told)))


def _rate(evidence: Evidence, table: _Table, found: _Quotient) -> Finding:
    name, top, bottom = (table.names[i] for i in (found.rate, found.top, found.bottom))
    times = {1.0: "", 100.0: " × 100", 1000.0: " × 1,000"}[found.factor]
    target = evidence.used.get(name)
    column = fact_column(target) if target else None
    harmless = evidence.is_dropped(name) or (column is not None and not _is_summed(column.group))
    handled = harmless or (evidence.mapping is not None and target is None)
    sentence = f"{listed([name])} is {listed([top])} over {listed([bottom])}{times}: a rate."
    step = "" if handled else f"Leave {listed([name])} out; rates are computed from the sums."
    severity: Severity = "note" if handled else "warning"
    return Finding("sum.derived", severity, sentence, (name, top, bottom), evidence.frame.height, (), step)


def _is_summed(group: FactGroup) -> bool:
    return group in (FactGroup.DELIVERY, FactGroup.MONEY, FactGroup.OUTCOME)


def _quotient(table: _Table, index: int, copied: set[str]) -> _Quotient | None:
    rate = table.values[:, index]
    told = rate[np.isfinite(rate) & (rate != 0)]
    half = table.half_digit[index]
    # Whole or coarse numbers fit many quotients by chance: the rate needs digits, and different values.
    if told.size < MIN_ROWS or np.unique(told).size < 5 or (told == told.round()).all():
        return None
    if half > 0.05 * np.median(np.abs(told)):
        return None
    others = [i for i in range(len(table.names)) if i != index and table.names[i] not in copied]
    for bottom in others:
        divisor = table.values[:, bottom]
        usable = np.isfinite(rate) & np.isfinite(divisor) & (divisor != 0)
        if usable.sum() < MIN_ROWS or np.unique(divisor[usable]).size < 3:
            continue
        for top in (i for i in others if i != bottom):
            factor = _factor(table.values[usable, top], divisor[usable], rate[usable], half)
            if factor:
                return _Quotient(index, top, bottom, factor)
    return None


def _factor(top: Vector, bottom: Vector, rate: Vector, half: float) -> float:
    """The factor for which rate = top / bottom × factor within its last digit in nearly all rows; 0 without one."""
    few = slice(0, 40)
    for factor in FACTORS:
        slack = half * 1.01 + 1e-9
        if (np.abs(top[few] / bottom[few] * factor - rate[few]) <= slack).mean() < AGREE - 0.1:
            continue
        quotients = top / bottom
        close = np.abs(quotients * factor - rate) <= slack
        if close.mean() >= AGREE and np.unique(quotients.round(9)).size >= 5:
            return factor
    return 0.0


def _total_columns(evidence: Evidence, table: _Table, excluded: set[str]) -> Iterator[Finding]:
    """A column that is the sum of two or three others in every row."""
    usable = [i for i in range(len(table.names)) if table.names[i] not in excluded]
    for index in usable:
        parts = _parts(table, index, usable)
        if parts is None:
            continue
        names = [table.names[i] for i in parts]
        name = table.names[index]
        columns = (name, *names)
        added = [each for each in columns if evidence.mapping is None or each in evidence.used]
        handled = evidence.mapping is not None and _kept_apart(evidence, name, names)
        sentence = f"{listed([name])} is the sum of {listed(names)}: a total beside its parts."
        step = "" if handled else f"Use either {listed([name])} or its parts, never both in one sum."
        severity: Severity = "note" if handled or len(added) < 2 else "warning"
        yield Finding("sum.total_column", severity, sentence, columns, evidence.frame.height, (), step)


def _kept_apart(evidence: Evidence, total: str, parts: list[str]) -> bool:
    """Whether the mapping tells the total and its parts from one another."""
    whole = evidence.rule(total)
    if whole is None or whole.dropped:
        return True
    rules = [rule for name in parts if (rule := evidence.rule(name)) is not None and not rule.dropped]
    return all((rule.target, rule.qualifiers) != (whole.target, whole.qualifiers) for rule in rules)


def _parts(table: _Table, index: int, usable: list[int]) -> tuple[int, ...] | None:
    total = table.values[:, index]
    rows = np.isfinite(total) & (total != 0)
    if rows.sum() < MIN_ROWS or np.unique(total[rows]).size < 6:
        return None
    values, whole = table.values[rows], total[rows]
    parts = [i for i in usable if i != index and _may_be_part(values[:, i], whole)]
    filled = np.nan_to_num(values)
    for count in (2, 3):
        for chosen in combinations(parts[:14], count):
            columns = filled[:, chosen]
            # Each part has to matter, or any column plus one of zeros would be a sum.
            if (columns != 0).mean(axis=0).min() < 0.1 or (columns < whole[:, None] - 1e-9).mean(
                axis=0
            ).min() < 0.1:
                continue
            slack = table.half_digit[[index, *chosen]].sum() * 1.01 + 1e-9
            if (np.abs(columns.sum(axis=1) - whole) <= slack).mean() >= AGREE:
                return chosen
    return None


def _may_be_part(values: Matrix, whole: Matrix) -> bool:
    told = np.nan_to_num(values)
    return bool((told <= whole + 0.01).mean() >= AGREE and (told >= 0).all() and np.unique(told).size >= 3)


def _measures(evidence: Evidence) -> _Table | None:
    rows = probe_rows(evidence.frame.height, PROBE)
    names = [name for name in evidence.measures if _varies(evidence, name)][:MOST_MEASURES]
    if len(rows) < MIN_ROWS or len(names) < 3:
        return None
    columns = [evidence.number(name) for name in names]
    values = np.column_stack([c.gather(rows).to_numpy() for c in columns if c is not None]).astype(np.float64)
    digits = [_decimals(evidence, name, rows) for name in names]
    half = np.array([0.5 * 10.0**-count if count is not None else 1e-6 for count in digits])
    return _Table(tuple(names), values, half)


def _varies(evidence: Evidence, name: str) -> bool:
    numbers = evidence.number(name)
    return numbers is not None and numbers.drop_nulls().head(2000).n_unique() >= 3


def _decimals(evidence: Evidence, name: str, rows: list[int]) -> int | None:
    """Digits behind the decimal sign, or None for floats, which have no last digit."""
    if evidence.frame.schema[name].is_float():
        return None
    written = evidence.text(name).gather(rows).drop_nulls().str.extract(r"[.,](\d{1,12})\D*$")
    most = written.str.len_chars().max()
    return most if isinstance(most, int) else 0
