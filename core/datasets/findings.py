"""How a rule reports what it found."""

from collections.abc import Iterable

from core.datasets.records import Problem

ERROR = "error"
WARNING = "warning"
SHOWN_LINES = 10


def finding(rule: str, severity: str, lines: Iterable[int], one: str, many: str) -> Problem | None:
    """A problem with the rows at `lines`, or None when there are none. `many` has {rows} for their number."""
    concerned = sorted(set(lines))
    if not concerned:
        return None
    message = one if len(concerned) == 1 else many.replace("{rows}", f"{len(concerned):,}")
    return Problem(rule, severity, message, len(concerned), tuple(concerned[:SHOWN_LINES]))


def finding_of_set(
    rule: str, severity: str, message: str, rows: int = 0, lines: Iterable[int] = ()
) -> Problem:
    """A problem of the set as a whole."""
    return Problem(rule, severity, message, rows, tuple(lines)[:SHOWN_LINES])
