"""Rates by the monotonic clock: moving windows, waiting times, and a time of day that jumps."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.rates import SWEEP_AT_NAMES, MovingWindow, Rates
from core.errors import BusyError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_event_too_many_says_how_long_to_wait() -> None:
    clock = Clock()
    window = MovingWindow(2, clock)
    assert window.hit("a") == 0
    clock.now += 20
    assert window.hit("a") == 0
    assert window.hit("a") == pytest.approx(40)
    assert window.wait_s("a") == pytest.approx(40)
    assert window.hit("b") == 0
    clock.now += 40
    assert window.wait_s("a") == 0
    assert window.hit("a") == 0
    assert window.hit("a") == pytest.approx(20)


@example([1.2579454679907367, 0.0], 1)
@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 6))
def test_no_minute_ever_sees_more_than_the_amount(pauses: list[float], amount: int) -> None:
    clock = Clock()
    window, taken = MovingWindow(amount, clock), []
    for pause in pauses:
        clock.now += pause
        waits = window.hit("a")
        assert 0 <= waits <= 60
        if not waits:
            taken.append(clock.now)
    for start in taken:
        assert sum(start <= at < start + 60 for at in taken) <= amount


def test_a_time_of_day_that_jumps_locks_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, real = Rates(3), time.time
    for jump in (0, 86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        rates.count_request("tenant")
    with pytest.raises(BusyError) as refused:
        rates.count_request("tenant")
    assert refused.value.retry_after_s <= 60


def test_names_that_came_once_are_forgotten_after_their_minute() -> None:
    clock = Clock()
    window = MovingWindow(5, clock)
    for number in range(SWEEP_AT_NAMES + 1):
        window.hit(f"host {number}")
    clock.now += 61
    window.hit("another")
    assert len(window._events) == 1
