"""Threads that wait for the model are shared: one workspace never has them all."""

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from app.api.waiting import AnswerThreads
from core.errors import BusyError


def run(crowd: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a thread of its own: a browser that an earlier test has opened keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(anyio.run, crowd).result()


def test_one_workspace_gets_half_and_a_newcomer_a_thread_at_once() -> None:
    gate, running = threading.Event(), []

    def hold(owner: str) -> None:
        running.append(owner)
        assert gate.wait(60)

    async def crowd() -> None:
        threads = AnswerThreads(100, threads=8)
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(threads.of("a").run, lambda: hold("a"))
            with anyio.fail_after(60):
                while len(running) < 4:
                    await anyio.sleep(0.01)
            await anyio.sleep(0.2)  # and no more come
            assert running == ["a"] * 4
            assert await threads.of("b").run(lambda: "at once") == "at once"
            gate.set()
        assert running == ["a"] * 12
        assert not threads._running
        assert not threads._queues

    run(crowd)


def test_the_higher_priority_is_next_and_who_has_a_thread_leaves_the_other_one() -> None:
    gates = {owner: threading.Event() for owner in ("a", "b")}
    order: list[str] = []

    async def crowd() -> None:
        threads = AnswerThreads(100, threads=2)

        async def until(reached: Callable[[], bool]) -> None:
            with anyio.fail_after(60):
                while not reached():
                    await anyio.sleep(0.005)

        async with anyio.create_task_group() as group:
            for owner, gate in gates.items():
                group.start_soon(threads.of(owner).run, lambda gate=gate: gate.wait(60))
            await until(lambda: threads._running.total() == 2)
            names = []
            for owner, priority in (("a", 0), ("low", -1), ("high", 3)):
                for number in range(2):
                    names.append(f"{owner}{number}")
                    own = threads.of(owner, priority)
                    group.start_soon(own.run, lambda name=names[-1]: order.append(name))
                    await until(lambda: sum(map(len, threads._queues.values())) == len(names))
            gates["b"].set()
            await until(lambda: len(order) == 4)
            assert order == ["high0", "high1", "low0", "low1"]
            gates["a"].set()
        assert order[4:] == ["a0", "a1"]

    run(crowd)


def test_a_crowd_that_waits_is_refused_and_who_stops_waiting_leaves_no_trace() -> None:
    gate = threading.Event()

    async def crowd() -> None:
        threads = AnswerThreads(4, threads=2)
        async with anyio.create_task_group() as group:
            group.start_soon(threads.of("a").run, lambda: gate.wait(60))
            await anyio.sleep(0.05)
            with anyio.move_on_after(0.3):
                async with anyio.create_task_group() as waiting:
                    for _ in range(2):
                        waiting.start_soon(threads.of("a").run, lambda: None)
                    await anyio.sleep(0.05)
                    with pytest.raises(BusyError):  # two wait, two places are left for everybody
                        await threads.of("a").run(lambda: None)
            assert not threads._queues
            gate.set()
        assert not threads._running

    run(crowd)
