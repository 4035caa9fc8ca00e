"""Threat 36: hot swap under load, to a bad adapter, two at once, during eviction, and with a crash in the middle."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.compose.served import list_swaps, recover_swaps
from core.compose.swap_records import SwapState
from core.errors import ConflictError, IntegrityError, RmnError, UnavailableError
from core.registry.records import Adapter
from core.storage.database import Database
from tests.core.compose.swap_bench import NOW, SwapBench, opened
from tests.core.engine.conftest import Bench

THREADS, SWAPS = 8, 20


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("threat"), engine_options={"adapter_slots": 4})
    yield made
    made.engine.close()


@pytest.fixture
def shop(bench: Bench, sqlite_database: Database) -> Iterator[SwapBench]:
    with opened(bench, sqlite_database, max_entries=3) as made:
        yield made


def states(shop: SwapBench) -> list[str]:
    with shop.database.reading() as s:
        return [swap.state for swap in list_swaps(s, shop.tenant.id)]


def ask_until(shop: SwapBench, stop: threading.Event) -> list[tuple[float, float, tuple[int, ...]]]:
    """Requests one after another: when each began, when it was over, what came."""
    answers = []
    while not stop.is_set():
        begun = time.monotonic()
        answers.append((begun, time.monotonic(), shop.answer("amazon", tokens=4).token_ids))
        answers[-1] = (begun, time.monotonic(), answers[-1][2])
    return answers


def test_20_swaps_under_the_requests_of_8_threads_fail_none_tear_none_and_leave_none_stale(
    shop: SwapBench,
) -> None:
    """Each answer is wholly that of one version, and of one that served at some moment of the request."""
    versions = range(1, 4)
    for _ in versions:
        shop.register("amazon", rank=2)
    shop.swap("amazon", 1)
    alone = {shop.answer("amazon", version=v, tokens=4).token_ids: v for v in versions}
    assert len(alone) == len(versions), "the versions must answer differently, or the test proves nothing"
    stop = threading.Event()
    serving = [(0.0, 0.0, 1)]  # from when at the earliest, from when for certain, which version
    with ThreadPoolExecutor(THREADS) as threads:
        asking = [threads.submit(ask_until, shop, stop) for _ in range(THREADS)]
        for number in range(SWAPS):
            version = number % 3 + 1 if number % 3 + 1 != serving[-1][2] else (number + 1) % 3 + 1
            begun = time.monotonic()
            flipped: list[float] = []
            shop.swap(
                "amazon",
                version,
                warm=number % 2 == 0,
                progress=lambda swap, f=flipped: (
                    f.append(time.monotonic()) if swap.state == "serving" else None
                ),
            )
            serving.append((begun, flipped[0], version))
        stop.set()
        answers = [answer for future in asking for answer in future.result(60)]
    torn = [tokens for _, _, tokens in answers if tokens not in alone]
    stale = []
    for begun, over, tokens in answers:
        current = max(n for n, (_, certain, _) in enumerate(serving) if certain <= begun)
        possible = {v for earliest, _, v in serving[current + 1 :] if earliest <= over} | {
            serving[current][2]
        }
        if alone.get(tokens) not in possible:
            stale.append((begun, tokens))
    assert (torn, stale) == ([], [])
    assert len(answers) >= SWAPS
    assert {alone[tokens] for _, _, tokens in answers} == set(versions)
    assert states(shop) == [SwapState.SERVING] * (SWAPS + 1)
    stats = shop.cache.get_cache_stats()
    assert (stats.failures, sum(entry.pins for entry in stats.entries)) == (0, 0)


def test_a_bad_adapter_never_serves_and_its_swap_says_why(shop: SwapBench) -> None:
    shop.register("amazon")
    shop.swap("amazon", 1)
    tokens = shop.answer("amazon").token_ids

    flipped = shop.register("amazon")
    shop.corrupt(flipped)
    truncated = shop.register("amazon")
    weights = Path(truncated.path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    gone = shop.register("amazon")
    (Path(gone.path) / "adapter_model.safetensors").unlink()
    for adapter in (flipped, truncated, gone):
        with pytest.raises(IntegrityError):
            shop.swap("amazon", adapter.version)
    exploding = shop.register("amazon", scale=1e18)
    with pytest.raises(RmnError, match="not numbers"):
        shop.swap("amazon", exploding.version)
    assert shop.serves("amazon") == 1
    assert shop.answer("amazon").token_ids == tokens
    with shop.database.reading() as s:
        failed = [swap for swap in list_swaps(s, shop.tenant.id) if swap.state is SwapState.FAILED]
    assert sorted(swap.to_version for swap in failed) == [2, 3, 4, 5]
    assert all(swap.reason for swap in failed)
    assert exploding.digest not in {r.digest for r in shop.bench.engine.status().residents}


def test_numbers_that_are_none_and_another_base_are_refused_while_the_old_version_serves(
    shop: SwapBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Such adapters are refused at registration; these got past it, as by a restored backup of the database."""
    shop.register("amazon")
    shop.swap("amazon", 1)
    tokens = shop.answer("amazon").token_ids
    hollow = shop.register("amazon")
    rewrite_with_nan(shop, hollow)
    with pytest.raises(RmnError, match="not numbers"):
        shop.swap("amazon", hollow.version)
    foreign = shop.register("amazon")
    with shop.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE adapters SET base_digest = ? WHERE id = ?", ("f" * 64, foreign.id))
    with pytest.raises(ConflictError, match="another base"):
        shop.swap("amazon", foreign.version)
    assert (shop.serves("amazon"), shop.answer("amazon").token_ids) == (1, tokens)


def rewrite_with_nan(shop: SwapBench, adapter: Adapter) -> None:
    """Weights that are not numbers, with a digest in the database that fits them."""
    from core.storage.digests import digest_adapter_folder

    file = Path(adapter.path) / "adapter_model.safetensors"
    tensors = {name: tensor * torch.nan for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    digest = digest_adapter_folder(Path(adapter.path))
    with shop.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE adapters SET digest = ? WHERE id = ?", (digest, adapter.id))


def test_of_two_swaps_of_one_name_at_once_the_second_is_refused(shop: SwapBench) -> None:
    for _ in range(3):
        shop.register("amazon")
    shop.swap("amazon", 1)
    together = threading.Barrier(4)

    def work(version: int) -> str:
        together.wait()
        try:
            return str(shop.swap("amazon", version).state)
        except ConflictError as error:
            return error.what

    held, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        go_on.wait(60)

    shop.engine.before_generate = hold  # the canary of the first takes until the others were refused
    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work, version) for version in (2, 3, 2, 3)]
        assert held.wait(60)
        while sum(future.done() for future in working) < 3:
            time.sleep(0.002)
        go_on.set()
        outcomes = sorted(future.result(60) for future in working)
    assert outcomes == ["A swap of «amazon» is under way."] * 3 + ["serving"]
    assert sorted(states(shop)) == ["serving", "serving"]


def test_a_swap_while_the_cache_gives_up_everything_it_can_still_ends_well(shop: SwapBench) -> None:
    for _ in range(2):
        shop.register("amazon")
    others = [shop.register(f"other{n}") for n in range(4)]
    shop.swap("amazon", 1)
    stop = threading.Event()

    def crowd_out() -> int:
        turns = 0
        while not stop.is_set():
            shop.answer(others[turns % 4].name, tokens=1)
            shop.cache.forget_adapter(others[(turns + 1) % 4].digest)
            turns += 1
        return turns

    with ThreadPoolExecutor(2) as threads:
        crowding = [threads.submit(crowd_out) for _ in range(2)]
        for version in (2, 1, 2):
            assert shop.swap("amazon", version).state is SwapState.SERVING
        stop.set()
        assert all(future.result(60) > 0 for future in crowding)
    assert shop.answer("amazon").token_ids == shop.answer("amazon", version=2).token_ids


@pytest.mark.parametrize("died", ["building", "canary"])
def test_after_a_crash_in_the_middle_the_old_version_serves_and_the_swap_has_failed(
    shop: SwapBench, died: str
) -> None:
    """The process is gone at this moment: nothing after it runs, not even what cleans up."""
    shop.register("amazon")
    shop.register("amazon")
    shop.swap("amazon", 1)
    tokens = shop.answer("amazon").token_ids

    class Killed(BaseException):
        pass

    def die(swap) -> None:
        if swap.state == died:
            raise Killed

    shop.swaps._failing = lambda attempt: _nothing()  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        shop.swap("amazon", 2, progress=die)
    assert states(shop)[0] == died or died in states(shop)
    with opened(shop.bench, shop.database) as again:
        with again.database.transaction() as s:
            (ended,) = recover_swaps(s, NOW)
        assert (ended.state, ended.to_version) == (SwapState.FAILED, 2)
        again.tenant = shop.tenant
        assert again.serves("amazon") == 1
        assert again.answer("amazon").token_ids == tokens
        assert again.swap("amazon", 2).state is SwapState.SERVING


class _nothing:
    """No cleaning up."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_a_canary_that_does_not_answer_in_time_fails_the_swap(shop: SwapBench) -> None:
    from core.compose.canary import Canary

    shop.register("amazon")
    shop.register("amazon")
    shop.swap("amazon", 1)
    shop.swaps._canary = Canary(time_limit_s=-1.0, tokens=64)
    with pytest.raises(UnavailableError, match="in time"):
        shop.swap("amazon", 2)
    assert (shop.serves("amazon"), sorted(states(shop))) == (1, ["failed", "serving"])
