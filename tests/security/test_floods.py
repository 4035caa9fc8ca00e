"""Row 27: while one tenant asks without end, the answers of another come as steadily as before."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from starlette.testclient import TestClient

from app.api.application import build_api
from app.bootstrap import Console, build_console
from core.tenants.records import Role

CROWD, CALM, ROWS = 24, 15, 2
TOKENS = 24  # long enough that the engine is what everybody waits for


@dataclass(frozen=True)
class Asked:
    """One request as its client saw it: the status, and the moments when it was sent and answered."""

    status: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def ask(api: TestClient, who: Any, number: int) -> Asked:
    asked = {"messages": [{"role": "user", "content": f"say {number}"}], "max_new_tokens": TOKENS}
    began = time.perf_counter()
    answer = api.post("/inference", json=asked, headers=who.headers(Role.VIEWER))
    return Asked(answer.status_code, began, time.perf_counter())


def flood(made: Console, crowd: Any, calm: Any) -> tuple[list[Asked], list[Asked], list[Asked]]:
    """What the calm tenant got alone and beside the crowd, and what the crowd got meanwhile."""
    with TestClient(build_api(made)) as api, ThreadPoolExecutor(CROWD) as pool:
        alone = [ask(api, calm, number) for number in range(CALM)]
        over, answered = threading.Event(), threading.Semaphore(0)

        def without_end(number: int) -> list[Asked]:
            got = []
            while not over.is_set():
                got.append(ask(api, crowd, number))
                answered.release()
            return got

        asking = [pool.submit(without_end, number) for number in range(CROWD)]
        try:
            for _ in range(CROWD):  # all of them are there, and those that were answered have asked again
                assert answered.acquire(timeout=60)
            beside = [ask(api, calm, number) for number in range(CALM)]
        finally:
            over.set()
        got = [each for one in asking for each in one.result()]
    assert {each.status for each in beside} == {200}
    return alone, beside, got


def overtaken(calm: Asked, crowd: list[Asked]) -> int:
    """Answers of the crowd that came while this request waited for its own."""
    return sum(calm.began < each.ended < calm.ended for each in crowd)


def test_row_27_the_engine_is_shared_so_that_a_crowd_waits_for_itself(
    console: Console, ours: Any, theirs: Any
) -> None:
    made = build_console(console.settings.model_copy(update={"max_batch_rows": ROWS}))
    made.engine()
    alone, beside, got = flood(made, ours, theirs)
    made.close()
    crowd = [each for each in got if each.status == 200]
    # In a queue without owners all of the crowd would come before each calm request. How many do does not depend on how
    # fast this machine is now: those that run when it comes, and those that fill the other places while it runs.
    ahead = [overtaken(each, crowd) for each in beside]
    assert median(ahead) < CROWD / 3, ahead
    usual = median(each.seconds for each in beside)
    of_crowd = median(each.seconds for each in crowd)
    assert usual < 0.6 * of_crowd, (usual, of_crowd)
    before = median(each.seconds for each in alone)
    assert usual < 20 * before + 0.5, (usual, before)
