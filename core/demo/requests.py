"""Simulated requests of a demo workspace, so that analytics has something to show before anybody asks anything.

A week of traffic to the workspace's own adapters, seeded: busier by day than by night, slower with every adapter after
the first, and one Wednesday afternoon on which the second adapter often timed out. Every request says that it is simulated.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from sqlalchemy.orm import Session

from core.analytics.costs import Prices
from core.analytics.history import has_records, insert_history
from core.analytics.records import RequestEvent, Source, Tally, Thumbs
from core.analytics.tallies import judgement
from core.registry import service as registry
from core.registry.records import Adapter

DAYS, REQUESTS, SEED = 7, 2_000, 20261102
TASKS = {"retailer": "mapping", "brand": "copy", "task": "planning", "domain": "questions"}
BUSY_HOURS = tuple(1.2 + math.cos((hour - 14) / 24 * 2 * math.pi) for hour in range(24))
USUAL_FAILURES, BAD_FAILURES = 0.015, 0.35
BAD_WEEKDAY, BAD_FROM, BAD_TO = 2, 13, 17  # a Wednesday, hours of UTC
JUDGED = 0.08


def simulate_requests(s: Session, tenant_id: str, *, now: datetime) -> int:
    """Insert a week of simulated requests, unless the workspace has any record or has no adapters; how many."""
    adapters = sorted(
        registry.list_adapters(s, tenant_id), key=lambda adapter: (adapter.name, adapter.version)
    )
    if not adapters or has_records(s, tenant_id):
        return 0
    random = Random(SEED)
    events = [_request(tenant_id, adapters, moment, random) for moment in _moments(now, random)]
    judged = [
        (event, _judgement(event, random)) for event in events if not event.error and random.random() < JUDGED
    ]
    return insert_history(s, events, judged=judged, prices=Prices(), now=now)


def _moments(now: datetime, random: Random) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < REQUESTS:
        moment = now - timedelta(seconds=random.uniform(1, DAYS * 86_400))
        busy = BUSY_HOURS[moment.astimezone(UTC).hour] * (0.55 if moment.weekday() >= 5 else 1.0)
        if random.random() < busy / max(BUSY_HOURS):
            found.append(moment)
    return sorted(found)


def _request(tenant_id: str, adapters: Sequence[Adapter], moment: datetime, random: Random) -> RequestEvent:
    place = min(int(random.expovariate(1.0)), len(adapters) - 1)
    adapter = adapters[place]
    failures = BAD_FAILURES if place == 1 and _is_bad(moment) else USUAL_FAILURES
    error = (
        "" if random.random() >= failures else random.choice(("timeout", "timeout", "busy", "unavailable"))
    )
    prompt, completion = random.randrange(60, 400), 0 if error else random.randrange(8, 160)
    queued, composing = random.expovariate(1 / 4), random.expovariate(1 / 2)
    latency = queued + composing + 40 + completion * (2.0 + place * 0.6) * random.lognormvariate(0, 0.25)
    return RequestEvent(
        tenant_id=tenant_id,
        at=moment.timestamp(),
        request_id=f"req_simulated_{random.getrandbits(80):020x}",
        model=adapter.label,
        composition=adapter.digest,
        adapters=((adapter.id, adapter.type.value),),
        named=(),
        task=TASKS[adapter.type.value],
        error=error,
        latency_ms=latency,
        queued_ms=queued,
        composing_ms=composing,
        first_token_ms=None if error else queued + composing + 40,
        prompt_tokens=prompt,
        completion_tokens=completion,
        memory_bytes=adapter.size_bytes,
        source=Source.SIMULATED.value,
    )


def _is_bad(moment: datetime) -> bool:
    utc = moment.astimezone(UTC)
    return utc.weekday() == BAD_WEEKDAY and BAD_FROM <= utc.hour < BAD_TO


def _judgement(event: RequestEvent, random: Random) -> Tally:
    pleased = random.random() < (0.85 if event.latency_ms < 300 else 0.6)
    rating = float(random.choice((4, 5, 5) if pleased else (1, 2, 3)))
    return judgement(
        rating, Thumbs.UP if pleased else Thumbs.DOWN, random.betavariate(18 if pleased else 6, 3)
    )
