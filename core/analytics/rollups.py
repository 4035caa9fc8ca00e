"""Minutes become hours and days, and what is too old is deleted. In short transactions; safe from several processes.

A minute is rolled up once it is over by SETTLED_AFTER. What comes later for it (a process whose database was away, a
clock that was set back) is rolled up when it comes: sums do not care for order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.analytics.periods import DAY, HOUR, KEPT_FOR, MINUTE, Grain, floor_to
from core.analytics.records import SubjectKind, Tally
from core.analytics.store import cells, names, requests
from core.analytics.tallies import CellKey, add_all

SETTLED_AFTER = timedelta(minutes=2)
MOST_MINUTES, MOST_REQUESTS = 1_000, 5_000  # rows of one transaction: others wait for it where one may write
WRITERS_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days single requests and hours are kept. Days are kept for good."""

    request_days: int = 30
    hour_days: int = 400


def roll_up(s: Session, now: datetime) -> int:
    """Move what is settled into its hour and day; how many cells. Fewer than asked for: nothing is left."""
    names.lock_roll_up(s, now)
    minutes = cells.take_minutes(s, floor_to(now - SETTLED_AFTER, MINUTE), MOST_MINUTES)
    if not minutes:
        return 0
    kept_since = floor_to(now - KEPT_FOR, MINUTE)
    cells.add(s, {key: tally for key, tally in minutes.items() if key.start >= kept_since}, Grain.KEPT, "")
    for grain, step in ((Grain.HOUR, HOUR), (Grain.DAY, DAY)):
        longer: dict[CellKey, Tally] = {}
        for key, tally in minutes.items():
            add_all(longer, {key._replace(start=floor_to(key.start, step)): tally})
        cells.add(s, longer, grain, "")
    return len(minutes)


def retire(s: Session, now: datetime, retention: Retention) -> int:
    """Delete minutes, hours and single requests that are older than they are kept; how many requests."""
    names.lock_roll_up(s, now)
    cells.forget(s, Grain.KEPT, floor_to(now - KEPT_FOR, MINUTE))
    cells.forget(s, Grain.HOUR, floor_to(now - timedelta(days=retention.hour_days), DAY))
    names.forget_writers(s, now - WRITERS_KEPT)
    before = now - timedelta(days=retention.request_days)
    deleted = 0
    for tenant_id in names.tenants_with_names(s):
        gone = requests.forget(s, tenant_id, before, MOST_REQUESTS)
        if gone:
            deleted += gone
            oldest = requests.oldest(s, tenant_id) or before
            for name in names.list_names(s, tenant_id):
                if name.kind in (SubjectKind.ADAPTER, SubjectKind.COMPOSITION):
                    requests.forget_links(s, tenant_id, name.kind, name.subject, min(before, oldest))
    return deleted
