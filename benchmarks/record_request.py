"""What recording a request costs its caller, and what a killed process loses.

    python benchmarks/record_request.py [--calls 200000] [--threads 4] [--kills 5]

`record_request` of the product, with its writing thread at work on SQLite, beside what others do on the request's path
in the same process: prometheus-client (labels + counter + histogram), and DDSketch where it is installed. Times are by
call, in microseconds. Then children that record without pause are killed by SIGKILL: `lost_seconds` is the age of the
oldest request that is not in the database. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram

from core.analytics.recorder import Recorder
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants

CHILD = """
import sys, time
from core.analytics.recorder import Recorder
from core.storage.database import Database
recorder, number = Recorder(Database(sys.argv[1])), 0
recorder.record_request(sys.argv[2], "adapter_0", "task", 10.0, True)
recorder.write()
while True:
    recorder.record_request(sys.argv[2], f"adapter_{number % 8}", "task", 10.0, True, "mapping")
    number += 1
    print(time.time(), flush=True)
    time.sleep(0.002)
"""


def timed(call: Callable[[int], None], calls: int) -> dict[str, float]:
    """Each call by itself; the clock's own time is taken off."""
    clock, times = time.perf_counter_ns, np.empty(calls)
    for number in range(calls):
        began = clock()
        call(number)
        times[number] = clock() - began
    empty = np.empty(20_000)
    for number in range(empty.size):
        began = clock()
        empty[number] = clock() - began
    times = np.maximum(times - np.median(empty), 0) / 1000
    p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99])
    return {
        "p50_us": round(p50, 3),
        "p95_us": round(p95, 3),
        "p99_us": round(p99, 3),
        "mean_us": round(times.mean(), 3),
    }


def product(database: Database, tenant_id: str, calls: int, threads: int) -> dict[str, object]:
    """One thread's calls while `threads - 1` others record 500 requests a second each."""
    recorder = Recorder(database, most=10_000_000)
    mine = recorder.of(tenant_id).record_request
    names = [f"adapter_{number}" for number in range(8)]
    stop = threading.Event()

    def others() -> None:
        while not stop.wait(0.02):
            for number in range(10):
                mine(names[number % 8], "task", 10.0, True, "mapping")

    crowd = [threading.Thread(target=others) for _ in range(threads - 1)]
    for thread in crowd:
        thread.start()
    found: dict[str, object] = dict(
        timed(lambda number: mine(names[number % 8], "task", 10.0 + number % 100, True, "mapping"), calls)
    )
    stop.set()
    for thread in crowd:
        thread.join()
    began = time.perf_counter()
    recorder.close()
    with database.engine.connect() as connection:
        query = "SELECT sum(requests) FROM analytics_cells WHERE kind = 'all'"
        counted = int(connection.exec_driver_sql(query).scalar_one())
    state = recorder.state
    found |= {"recorded": state.written, "in_the_database": counted, "dropped": state.dropped}
    return found | {"last_write_s": round(time.perf_counter() - began, 2)}


def prometheus(calls: int) -> dict[str, float]:
    """A counter and a histogram with four labels."""
    registry = CollectorRegistry()
    labels = ("tenant", "adapter", "task", "success")
    count = Counter("requests", "Requests.", labels, registry=registry)
    times = Histogram("latency_ms", "Latency.", labels, registry=registry)
    names = [f"adapter_{number}" for number in range(8)]

    def call(number: int) -> None:
        told = ("tenant", names[number % 8], "mapping", "true")
        count.labels(*told).inc()
        times.labels(*told).observe(10.0 + number % 100)

    return timed(call, calls)


def sketches(calls: int) -> dict[str, float] | str:
    """A DDSketch for each adapter; nothing is kept beyond the process."""
    try:
        from ddsketch import DDSketch
    except ImportError:
        return "not installed"
    found = {f"adapter_{number}": DDSketch(0.01) for number in range(8)}
    names = list(found)
    return timed(lambda number: found[names[number % 8]].add(10.0 + number % 100), calls)


def kills(folder: Path, url: str, tenant_id: str, times: int) -> list[float]:
    """Seconds before the kill from which on requests are lost."""
    lost = []
    database = Database(url)
    for _ in range(times):
        before = _rows(database)
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, url, tenant_id], stdout=subprocess.PIPE, text=True, cwd=folder
        ) as child:
            assert child.stdout is not None
            told = [float(child.stdout.readline()) for _ in range(1500)]
            child.kill()
            told += [float(line) for line in child.stdout.read().split("\n") if line.count(".") == 1]
        kept = _rows(database) - before - 1
        lost.append(round(told[-1] - told[min(kept, len(told) - 1)], 3))
    database.close()
    return lost


def _rows(database: Database) -> int:
    with database.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM request_records").scalar_one())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/rmn.sqlite"
        upgrade(url)
        database = Database(url)
        with database.transaction() as s:
            tenant = tenants.create_tenant(s, name="Simulated", simulated=True, now=datetime.now(UTC))
        alone = prometheus(asked.calls), sketches(asked.calls)
        found = product(database, tenant.id, asked.calls, asked.threads)
        lost = kills(Path.cwd(), url, tenant.id, asked.kills)
        database.close()
    print(
        json.dumps(
            {
                "calls": asked.calls,
                "threads": asked.threads,
                "record_request": found,
                "prometheus_client": alone[0],
                "ddsketch": alone[1],
                "killed": {"times": asked.kills, "lost_seconds": lost},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
