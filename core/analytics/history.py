"""Many requests of the past at once: simulated ones, or those of another system. As if they had been recorded then."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from core.analytics.batches import KnownNames, Settling, identify_adapter
from core.analytics.costs import Prices
from core.analytics.periods import DAY, HOUR, MINUTE, Grain, floor_to
from core.analytics.records import RequestEvent, Tally
from core.analytics.store import cells, names, requests
from core.analytics.tallies import CellKey, merged, subjects_of, tally_of
from core.storage.ids import new_id

STILL_MINUTES = timedelta(hours=2)  # what is younger is left to roll-ups
Judged = Sequence[tuple[RequestEvent, Tally]]


def has_records(s: Session, tenant_id: str) -> bool:
    """Whether anything was ever recorded for a workspace."""
    return bool(names.list_names(s, tenant_id))


def insert_history(
    s: Session,
    events: Iterable[RequestEvent],
    *,
    judged: Judged = (),
    prices: Prices,
    now: datetime,
) -> int:
    """Insert requests of one workspace, and what was said of some of them; how many. Not to be repeated."""
    settling = Settling(s, identify_adapter, KnownNames(), now)
    kept = [settled for event in events if (settled := settling.event(event)) is not None]
    names.add_names(s, settling.new)
    young = floor_to(now - STILL_MINUTES, HOUR)
    groups: defaultdict[CellKey, list[RequestEvent]] = defaultdict(list)
    for event in kept:
        for key in _keys(event, young):
            groups[key].append(event)
    tallies = {key: tally_of(found, prices) for key, found in groups.items()}
    for event, said in judged:
        settled = settling.event(event)
        for key in () if settled is None else _keys(settled, young):
            tallies[key] = merged((tallies[key], said)) if key in tallies else said
    days: defaultdict[CellKey, list[Tally]] = defaultdict(list)
    for key, tally in tallies.items():
        if key.start < young:
            days[key._replace(start=floor_to(key.start, DAY))].append(tally)
    cells.add(s, {key: tally for key, tally in tallies.items() if key.start < young}, Grain.HOUR, "")
    cells.add(s, {key: merged(parts) for key, parts in days.items()}, Grain.DAY, "")
    fresh = ((key, tally) for key, tally in tallies.items() if key.start >= young)
    cells.insert_whole(s, fresh, Grain.MINUTE, new_id("wri"))
    requests.insert_all(s, kept, prices)
    return len(kept)


def _keys(event: RequestEvent, young: datetime) -> list[CellKey]:
    at = datetime.fromtimestamp(event.at, UTC)
    start = floor_to(at, HOUR if at < young else MINUTE)
    return [
        CellKey(event.tenant_id, kind, start, subject, event.task) for kind, subject in subjects_of(event)
    ]
