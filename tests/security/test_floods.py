"""Row 27: while one tenant asks without end, the answers of another come as steadily as before."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Any

from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console
from core.tenants.records import Role

CROWD, CALM = 24, 8


def seconds_of(api: TestClient, who: Any, number: int) -> tuple[int, float]:
    asked = {"messages": [{"role": "user", "content": f"say {number}"}], "max_new_tokens": 12}
    began = time.perf_counter()
    answer = api.post("/inference", json=asked, headers=who.headers(Role.VIEWER))
    return answer.status_code, time.perf_counter() - began


def p95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20)[-1]


def flood(made: Console, crowd: Any, calm: Any) -> tuple[list[float], list[float], list[tuple[int, float]]]:
    """Latencies of the calm tenant alone and beside the crowd, and what the crowd got."""
    with TestClient(build_api(made)) as api, ThreadPoolExecutor(CROWD) as pool:
        alone = [seconds_of(api, calm, number)[1] for number in range(CALM)]
        over = threading.Event()

        def without_end(number: int) -> list[tuple[int, float]]:
            got = []
            while not over.is_set():
                got.append(seconds_of(api, crowd, number))
            return got

        asking = [pool.submit(without_end, number) for number in range(CROWD)]
        time.sleep(1.0)
        beside = [seconds_of(api, calm, number) for number in range(CALM)]
        over.set()
        got = [each for one in asking for each in one.result()]
    assert {status for status, _ in beside} == {200}
    return alone, [seconds for _, seconds in beside], got


def test_row_27_the_engine_is_shared_so_that_a_crowd_waits_for_itself(
    console: Console, ours: Any, theirs: Any
) -> None:
    made = build_console(console.settings.model_copy(update={"max_batch_rows": 2}))
    made.engine()
    alone, beside, got = flood(made, ours, theirs)
    made.close()
    crowd = median(seconds for status, seconds in got if status == 200)
    # Twelve requests of the crowd are ahead for each place in the batch: in a queue without owners both would wait alike.
    assert p95(beside) < 0.6 * crowd, (p95(beside), crowd)
    assert p95(beside) < 20 * p95(alone) + 0.5, (p95(beside), p95(alone))
