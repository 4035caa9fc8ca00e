"""Degradation of adapters: reads the minutes that are over since the last time, and keeps what its alarms hold.

One alarm for each adapter and each of success, latency and rating (core/stats/change.py). A minute counts once it is over
by SETTLE, so that no process writes into it any more; what was recorded later is not seen. A watch that has been away for
longer than minutes are kept goes on from those that are there.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from core.analytics import service
from core.analytics.alert_records import Alert, AlertKind, AlertRule, Finding
from core.analytics.records import Point, Scope, Step, Subject
from core.analytics.store import watched as store
from core.errors import IntegrityError
from core.stats.change import Direction, RankAlarm, ShareAlarm, Shift, Worse
from core.stats.sketches import LogSketch

_log = structlog.get_logger(__name__)
SETTLE = timedelta(seconds=15)
LOOK_BACK = timedelta(hours=2)
MOST_VALUES = 600  # latencies of one minute; of more, so many are taken, evenly by rank
TRAFFIC = (AlertKind.SUCCESS, AlertKind.LATENCY, AlertKind.RATING)
DegradationAlarm = RankAlarm | ShareAlarm


@dataclass(frozen=True, slots=True)
class Kept:
    """What an alarm holds after a minute."""

    kind: AlertKind
    subject: str
    seen_until: datetime
    state: bytes


@dataclass(frozen=True, slots=True)
class Watched:
    """What one look at the traffic of a tenant came to. `over`: kinds and subjects that are as before, with a sentence."""

    findings: tuple[Finding, ...] = ()
    over: tuple[tuple[AlertKind, str, str], ...] = ()
    kept: tuple[Kept, ...] = ()


def look(
    s: Session,
    tenant_id: str,
    rules: Mapping[AlertKind, AlertRule],
    unresolved: Sequence[Alert],
    *,
    now: datetime,
) -> Watched:
    """Read what is new of every adapter that had a request or a judgement. Writes nothing."""
    until = _whole_minute(now - SETTLE)
    on = [kind for kind in TRAFFIC if rules[kind].enabled]
    found: list[Finding] = []
    over: list[tuple[AlertKind, str, str]] = []
    kept: list[Kept] = []
    open_ones = {(alert.kind, alert.subject): alert for alert in unresolved}
    for subject in _active(s, tenant_id, until) if on else []:
        for kind in on:
            shifts, state = _read(s, tenant_id, kind, subject.id, until)
            if state is not None:
                kept.append(state)
            for shift in shifts:
                finding = finding_of(kind, subject, shift, rules[kind])
                alert = open_ones.get((kind, subject.id))
                if finding is not None:
                    found.append(finding)
                elif alert is not None and is_over(kind, shift, alert):
                    over.append((kind, subject.id, _told(kind, shift)))
    return Watched(tuple(found), tuple(over), tuple(kept))


def remember(s: Session, tenant_id: str, kept: Sequence[Kept]) -> None:
    """Keep what the alarms hold."""
    for each in kept:
        store.remember(s, tenant_id, each.kind, each.subject, each.seen_until, each.state)


def feed(kind: AlertKind, alarm: DegradationAlarm, points: Sequence[Point]) -> list[Shift]:
    """Give an alarm the minutes in their order; what it found. Ratings are told by the minute, as their mean."""
    found = []
    for point in points:
        shift = None
        if isinstance(alarm, ShareAlarm):
            shift = alarm.observe_counts(point.requests - point.cancelled, point.failures)
        elif kind is AlertKind.LATENCY:
            shift = alarm.observe_all(values_of(point.latency, int(point.at.timestamp())))
        elif point.rating_count:
            shift = alarm.observe(point.rating_sum / point.rating_count)
        if shift is not None:
            found.append(shift)
    return found


def values_of(sketch: LogSketch, seed: int) -> list[float]:
    """The values of a sketch, to its error, in an order that has nothing to do with their size."""
    count = min(sketch.count, MOST_VALUES)
    ranks = [math.ceil((k + 0.5) * sketch.count / count) for k in range(count)]
    values = [sketch.value_at_rank(rank) for rank in ranks]
    random.Random(seed).shuffle(values)
    return values


def new_alarm(kind: AlertKind) -> DegradationAlarm:
    """An alarm that has seen nothing yet."""
    if kind is AlertKind.SUCCESS:
        return ShareAlarm()
    return RankAlarm(Worse.HIGHER if kind is AlertKind.LATENCY else Worse.LOWER)


def finding_of(kind: AlertKind, subject: Subject, shift: Shift, rule: AlertRule) -> Finding | None:
    """A shift for the worse that is as large as the rule asks; else None."""
    if shift.direction is not Direction.WORSE or not effect(kind, shift) >= rule.threshold:
        return None
    what = {
        AlertKind.SUCCESS: "Fewer requests succeed.",
        AlertKind.LATENCY: "Answers take longer.",
        AlertKind.RATING: "Answers are rated lower.",
    }[kind]
    return Finding(
        kind,
        subject.id,
        subject.label or subject.id,
        what,
        _told(kind, shift),
        "Look at the requests behind it. If a new version was put into service, go back to the one before.",
        {"before": shift.before, "after": shift.after, "since": shift.since, "reference": shift.reference},
    )


def effect(kind: AlertKind, shift: Shift) -> float:
    """How much worse it became, in the unit of the rule's threshold. NaN where there was nothing before."""
    if kind is AlertKind.LATENCY:
        return shift.after / shift.before if shift.before > 0 else math.inf
    return shift.after - shift.before if kind is AlertKind.SUCCESS else shift.before - shift.after


def is_over(kind: AlertKind, shift: Shift, alert: Alert) -> bool:
    """Whether a shift for the better leads back more than half of the way that the alert tells of."""
    before, worse = alert.figures.get("before"), alert.figures.get("after")
    if shift.direction is not Direction.BETTER or before is None or worse is None:
        return False
    if kind is AlertKind.RATING:
        return bool(shift.after >= (before + worse) / 2)
    return bool(
        shift.after <= (math.sqrt(before * worse) if kind is AlertKind.LATENCY else (before + worse) / 2)
    )


def _read(
    s: Session, tenant_id: str, kind: AlertKind, subject: str, until: datetime
) -> tuple[list[Shift], Kept | None]:
    known = store.watched(s, tenant_id, kind, subject)
    alarm = _restored(kind, None if known is None else known[1])
    since = until - LOOK_BACK
    if known is not None:
        # A clock that was set back: nothing is read twice.
        since = max(since, known[0])
    if since >= until:
        return [], None
    points = service.series(s, tenant_id, subject, since, until, Step.MINUTE)
    shifts = feed(kind, alarm, [point for point in points if since <= point.at < until])
    return shifts, Kept(kind, subject, until, alarm.to_bytes())


def _restored(kind: AlertKind, state: bytes | None) -> DegradationAlarm:
    alarm = new_alarm(kind)
    if state is not None:
        try:
            alarm.restore(state)
        except IntegrityError:
            _log.warning("watch.state_lost", kind=kind.value)
            return new_alarm(kind)
    return alarm


def _active(s: Session, tenant_id: str, until: datetime) -> list[Subject]:
    """Adapters with anything in the last minutes; the others are read when they have something again."""
    scope = Scope(until - timedelta(minutes=5), until)
    return [summary.subject for summary in service.summaries(s, tenant_id, scope)]


def _told(kind: AlertKind, shift: Shift) -> str:
    if kind is AlertKind.LATENCY:
        return (
            f"The median latency went from {shift.before:,.4g} ms ({shift.reference:,} answers before) to "
            f"{shift.after:,.4g} ms (the last {shift.since:,})."
        )
    if kind is AlertKind.SUCCESS:
        return (
            f"{1 - shift.before:.1%} of requests succeeded ({shift.reference:,} before), now {1 - shift.after:.1%} "
            f"(the last {shift.since:,})."
        )
    return (
        f"The median rating went from {shift.before:.3g} ({shift.reference:,} minutes before) to {shift.after:.3g} "
        f"(the last {shift.since:,} minutes with a rating)."
    )


def _whole_minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)
