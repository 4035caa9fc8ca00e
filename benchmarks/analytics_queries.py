"""How long all questions of the analytics screen take together, with a full database.

    python benchmarks/analytics_queries.py [--requests 1000000] [--rolled 10000000] [--days 30] [--repeats 5]

Two SQLite databases of simulated traffic over `days`: 20 adapters, 4 tasks, one composition for each adapter. The first
has `requests` single requests and what they add up to, the second the cells of `rolled` requests behind roll-ups (and
no single ones, as after their retention). In both the last minutes are not rolled up yet. Asked are, by the functions
that the screen calls: key figures with the period before, the series, the table of adapters, trends with sparklines,
the heat map, kinds of errors, the distribution, a ranking, a comparison of five, a page of requests and one behind an
error. Prints JSON: seconds of each question and of all (and of the processor, which is less on a busy machine), for a
day, a week and a month; medians of `repeats`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from sqlalchemy.orm import Session

from core.analytics import service
from core.analytics.costs import Prices
from core.analytics.periods import DAY, HOUR, MINUTE, Grain, floor_to
from core.analytics.records import RankMetric, RequestEvent, Scope, Source, Step, Tally
from core.analytics.store import cells, names
from core.analytics.store import requests as request_store
from core.analytics.store.names import TASK, KnownName
from core.analytics.tallies import CellKey, merged, subjects_of, tally_of
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants

ADAPTERS, TASKS = 20, ("mapping", "copy", "planning", "bids")
ERRORS = ("timeout", "busy", "unavailable")
CHUNK = 20_000
PRICES = Prices(0.15, 0.6)


def traffic(tenant_id: str, now: datetime, days: int, count: int) -> Iterator[RequestEvent]:
    """Requests in order of time, busier by day than by night."""
    random = np.random.default_rng(7)
    at = np.sort(now.timestamp() - days * 86_400 * random.random(count))
    adapter = (random.beta(1, 3, count) * ADAPTERS).astype(int)
    task = random.integers(0, len(TASKS), count)
    latency = random.lognormal(4 + adapter / ADAPTERS, 0.5, count)
    failed = random.random(count) < 0.03
    error = random.integers(0, len(ERRORS), count)
    tokens = random.integers(20, 400, count)
    for n in range(count):
        name = f"adapter_{adapter[n]:02}"
        yield RequestEvent(
            tenant_id, float(at[n]), f"req_{n}", name, f"{adapter[n]:064}", ((name, "retailer"),), (),
            TASKS[task[n]], ERRORS[error[n]] if failed[n] else "", float(latency[n]), 1.0, 0.5, 20.0,
            int(tokens[n]), int(tokens[n]) // 2, 0, Source.SIMULATED.value,
        )  # fmt: skip


def fill(database: Database, tenant_id: str, now: datetime, days: int, single: int, rolled: int) -> None:
    """Single requests with their cells; or, `rolled`, each drawn one standing for several in the cells alone."""
    count = single or min(rolled, 1_000_000)
    settled = floor_to(now - 2 * MINUTE, MINUTE)
    groups: dict[CellKey, list[RequestEvent]] = {}
    waiting: list[RequestEvent] = []
    with database.transaction() as s:
        add_names(s, tenant_id, now)
        for event in traffic(tenant_id, now, days, count):
            at = datetime.fromtimestamp(event.at, UTC)
            start = floor_to(at, HOUR if at < settled else MINUTE)
            for kind, subject in subjects_of(event):
                groups.setdefault(CellKey(tenant_id, kind, start, subject, event.task), []).append(event)
            waiting.append(event)
            if single and len(waiting) == CHUNK:
                request_store.insert_all(s, waiting, PRICES)
                waiting.clear()
        if single:
            request_store.insert_all(s, waiting, PRICES)
        times = max(1, round(rolled / count)) if rolled else 1
        found = {key: several(tally_of(events, PRICES), times) for key, events in groups.items()}
        hours = {key: tally for key, tally in found.items() if key.start < floor_to(settled, HOUR)}
        fresh = {key: tally for key, tally in found.items() if key not in hours}
        parts: dict[CellKey, list[Tally]] = {}
        for key, tally in hours.items():
            parts.setdefault(key._replace(start=floor_to(key.start, DAY)), []).append(tally)
        cells.insert_whole(s, hours.items(), Grain.HOUR, "")
        cells.insert_whole(s, ((key, merged(part)) for key, part in parts.items()), Grain.DAY, "")
        cells.insert_whole(s, fresh.items(), Grain.MINUTE, "wri_1")


def several(tally: Tally, times: int) -> Tally:
    """The same requests several times."""
    return merged([tally] * times) if times > 1 else tally


def add_names(s: Session, tenant_id: str, now: datetime) -> None:
    known = [KnownName(tenant_id, TASK, task, task, "", now) for task in TASKS]
    for number in range(ADAPTERS):
        name = f"adapter_{number:02}"
        known.append(KnownName(tenant_id, "adapter", name, name, "retailer", now))
        known.append(KnownName(tenant_id, "composition", f"{number:064}", name, "", now))
    names.add_names(s, known)


def questions(tenant_id: str, now: datetime, days: int) -> dict[str, Callable[[Session], Any]]:
    since, scope = now - timedelta(days=days), Scope(now - timedelta(days=days), now, asked_at=now)
    step = Step.HOUR if days <= 7 else Step.DAY
    five = [f"adapter_{number:02}" for number in range(5)]
    return {
        "totals": lambda s: service.totals(s, tenant_id, scope),
        "series": lambda s: service.series(s, tenant_id, None, since, now, step),
        "adapters": lambda s: service.summaries(s, tenant_id, scope),
        "trends": lambda s: service.trends(s, tenant_id, scope),
        "heat_map": lambda s: service.heat_map(s, tenant_id, scope),
        "errors": lambda s: service.errors(s, tenant_id, scope),
        "distribution": lambda s: service.latency_buckets(s, tenant_id, scope),
        "ranking": lambda s: service.get_top_adapters(s, tenant_id, scope, RankMetric.SUCCESS_RATE, 5),
        "comparison": lambda s: service.get_adapter_comparison(s, tenant_id, five, scope),
        "requests": lambda s: service.requests(s, tenant_id, scope),
        "requests_of_error": lambda s: service.requests(
            s, tenant_id, Scope(since, now, "adapter_03", asked_at=now), error="timeout"
        ),
    }


def measured(database: Database, tenant_id: str, now: datetime, days: int, repeats: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    processor = []
    for _ in range(repeats):
        busy = time.process_time()
        for name, ask in questions(tenant_id, now, days).items():
            began = time.perf_counter()
            with database.reading() as s:
                ask(s)
            found.setdefault(name, []).append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    medians = {name: round(statistics.median(times), 4) for name, times in found.items()}
    busy_s = round(statistics.median(processor), 3)
    return {"all": round(sum(medians.values()), 3), "processor_of_all": busy_s, **medians}


def case(folder: Path, days: int, repeats: int, single: int, rolled: int) -> dict[str, Any]:
    file = folder / f"{single}-{rolled}.sqlite"
    upgrade(f"sqlite:///{file}")
    database, now = Database(f"sqlite:///{file}"), datetime.now(UTC)
    with database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Simulated", simulated=True, now=now)
    began = time.perf_counter()
    fill(database, tenant.id, now, days, single, rolled)
    built = time.perf_counter() - began
    with database.reading() as s:
        whole = service.summary(s, tenant.id, Scope(now - timedelta(days=days), now, asked_at=now))
    found = {f"{each}_days": measured(database, tenant.id, now, each, repeats) for each in (1, 7, days)}
    database.close()
    return {
        "single_requests": single,
        "requests_counted": whole.requests,
        "file_mb": round(file.stat().st_size / 1e6, 1),
        "built_s": round(built, 1),
        "seconds": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rolled", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        print(
            json.dumps(
                {
                    "days": asked.days,
                    "with_single_requests": case(place, asked.days, asked.repeats, asked.requests, 0),
                    "behind_roll_ups": case(place, asked.days, asked.repeats, 0, asked.rolled),
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
