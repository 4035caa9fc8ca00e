"""Which minutes, hours and days a period is made of, and which period lies before it. Days are those of UTC.

Cells are of whole minutes, hours and days. A period of at most MINUTES_AT_MOST within the last KEPT_FOR is cut to
whole minutes; every other to whole hours. Its end is the end of the cell that `until` lies in, so that «until now»
takes in what has just happened.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.errors import InvalidInputError

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEPT_FOR = timedelta(minutes=150)  # minutes
MINUTES_AT_MOST = timedelta(minutes=75)  # so that the period before lies within KEPT_FOR, too
LONGEST = timedelta(days=3660)


class Grain:
    """What the column `grain` of a cell says."""

    MINUTE = "minute"  # not in its hour yet; a row for each process that writes
    KEPT = "kept"  # a minute that is in its hour already, for charts of the last hours
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Span:
    """Cells of one grain from `since` to before `until`."""

    grain: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to before `until`, both whole minutes or both whole hours."""

    since: datetime
    until: datetime
    by_minute: bool = False

    @property
    def before(self) -> "Period":
        """As long, and ends where this begins."""
        return Period(self.since - (self.until - self.since), self.since, self.by_minute)

    def spans(self, *, whole_days: bool = True) -> tuple[Span, ...]:
        """Cells that together count every request of the period once; `whole_days` False: no days among them."""
        if self.by_minute:
            return tuple(Span(grain, self.since, self.until) for grain in (Grain.MINUTE, Grain.KEPT))
        first, last = ceil_to(self.since, DAY), floor_to(self.until, DAY)
        fresh = Span(Grain.MINUTE, self.since, self.until)
        if not whole_days or first >= last:
            return Span(Grain.HOUR, self.since, self.until), fresh
        edges = (Span(Grain.HOUR, self.since, first), Span(Grain.HOUR, last, self.until))
        return (Span(Grain.DAY, first, last), *(span for span in edges if span.since < span.until), fresh)


def period_of(since: datetime, until: datetime, now: datetime) -> Period:
    """`since` and `until` moved outwards to whole cells. Raises InvalidInputError where the end is not after the start."""
    if since.tzinfo is None or until.tzinfo is None:
        raise InvalidInputError(
            "A time needs its zone.",
            "Without one it could be any of 38 moments.",
            "Write 2026-11-02T09:30:00Z.",
        )
    if until <= since:
        raise InvalidInputError(
            "The period ends before it begins.",
            f"It is from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC.",
            "Give an end that is later than the start.",
        )
    if until - since > LONGEST:
        raise InvalidInputError(
            "The period is too long.", f"It may have {LONGEST.days:,} days at most.", "Choose a shorter one."
        )
    length = until - since
    by_minute = length <= MINUTES_AT_MOST and floor_to(since, MINUTE) - length - MINUTE >= now - KEPT_FOR
    step = MINUTE if by_minute else HOUR
    return Period(floor_to(since, step), ceil_to(until, step), by_minute)


def floor_to(moment: datetime, step: timedelta) -> datetime:
    """The last whole `step` at or before a moment, in UTC."""
    moment = moment.astimezone(UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // step * step


def ceil_to(moment: datetime, step: timedelta) -> datetime:
    """The first whole `step` at or after a moment, in UTC."""
    down = floor_to(moment, step)
    return down if down == moment else down + step
