"""Every trap that is known, looked for in raw columns (before or with a mapping) and in harmonized rows."""

from collections.abc import Iterator
from datetime import datetime

from core.harmonize.records import Mapping, SourceCard
from core.harmonize.traps.dates import date_traps, text_times
from core.harmonize.traps.evidence import Evidence, Finding, RawSource, Severity, gather
from core.harmonize.traps.ids import id_traps
from core.harmonize.traps.moments import read_moments, time_columns
from core.harmonize.traps.result import find_result_traps
from core.harmonize.traps.sums import sum_traps
from core.harmonize.traps.time import clock_traps, unknown_clock
from core.harmonize.traps.totals import total_row_traps
from core.harmonize.traps.units import unit_traps
from core.harmonize.traps.values import value_traps
from core.harmonize.traps.windows import window_traps
from core.harmonize.traps.written import written_traps

__all__ = ["Finding", "Severity", "find_result_traps", "find_traps"]

SAMPLE_ROWS = 200_000
_ORDER = ("error", "warning", "note")


def find_traps(
    source: RawSource,
    mapping: Mapping | None,
    card: SourceCard | None,
    *,
    sample_rows: int = SAMPLE_ROWS,
    now: datetime | None = None,
) -> list[Finding]:
    """Traps in the raw columns, worst first. With a mapping: what it does not handle is a warning, what it does a note.

    Looks at the first `sample_rows` rows and the last few hundred. `now` (aware) is needed to see times in the future
    and to count back from; without it days are immature by the newest day in the file.
    """
    evidence = gather(source, mapping, card, sample_rows=sample_rows, now=now)
    if not evidence.frame.height or not evidence.columns:
        return []
    return sorted(
        set(_all(evidence)), key=lambda f: (_ORDER.index(f.severity), f.rule, f.columns, f.sentence)
    )


def _all(evidence: Evidence) -> Iterator[Finding]:
    times = time_columns(evidence)
    moments = [found for name in times if (found := read_moments(evidence, name)) is not None]
    yield from unit_traps(evidence)
    yield from written_traps(evidence)
    yield from unknown_clock(evidence, moments)
    yield from clock_traps(evidence, moments)
    yield from date_traps(evidence, moments, text_times(evidence, times))
    yield from total_row_traps(evidence)
    yield from sum_traps(evidence)
    yield from window_traps(evidence)
    yield from value_traps(evidence)
    yield from id_traps(evidence)
