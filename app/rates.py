"""How often: API requests of a tenant, failed sign-ins of an address. Counted in this process.

The clock is the monotonic one: a machine whose time of day is corrected must neither lock anybody out nor open
the gate. (The `limits` package reads the time of day and takes no other clock.)
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from core.errors import BusyError

WINDOW_S = 60.0
FAILED_SIGN_INS_PER_MINUTE = 10
FAILED_SIGN_INS_PER_MINUTE_AND_HOST = 60
REGISTRATIONS_PER_MINUTE_AND_HOST = 5
SWEEP_AT_NAMES = 10_000


class MovingWindow:
    """At most `amount` events in any minute for each name. `clock` gives seconds that never go back."""

    def __init__(self, amount: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.amount, self._clock = amount, clock
        self._events: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def hit(self, name: str) -> float:
        """Count one event; 0, or the seconds to wait when it was one too many (and is not counted)."""
        with self._lock:
            now = self._clock()
            if len(self._events) > SWEEP_AT_NAMES:
                self._sweep(now)
            events = self._current(name, now)
            if len(events) >= self.amount:
                return events[0] + WINDOW_S - now
            events.append(now)
            self._events[name] = events
            return 0.0

    def wait_s(self, name: str) -> float:
        """Seconds until another event fits; 0 if it fits now. Counts nothing."""
        with self._lock:
            now = self._clock()
            events = self._current(name, now)
            return events[0] + WINDOW_S - now if len(events) >= self.amount else 0.0

    def _current(self, name: str, now: float) -> deque[float]:
        events = self._events.get(name, deque())
        while events and events[0] <= now - WINDOW_S:
            events.popleft()
        return events

    def _sweep(self, now: float) -> None:
        """Forget who has not come for a minute: names are chosen by whoever asks."""
        self._events = {name: left for name in list(self._events) if (left := self._current(name, now))}


class Rates:
    """Raises BusyError with the seconds to wait. Safe from any thread."""

    def __init__(self, requests_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = MovingWindow(requests_per_minute, clock)
        self._failed = MovingWindow(FAILED_SIGN_INS_PER_MINUTE, clock)
        self._failed_at_host = MovingWindow(FAILED_SIGN_INS_PER_MINUTE_AND_HOST, clock)
        self._registrations = MovingWindow(REGISTRATIONS_PER_MINUTE_AND_HOST, clock)

    def count_registration(self, host: str) -> None:
        """Count a workspace that somebody without a key registers."""
        if wait_s := self._registrations.hit(host):
            raise _busy(
                "Too many registrations.",
                f"At most {self._registrations.amount} a minute come from one address.",
                wait_s,
            )

    def count_request(self, tenant_id: str) -> None:
        """Count one API request of a tenant."""
        if wait_s := self._requests.hit(tenant_id):
            raise _busy(
                "Too many requests.", f"Your workspace may make {self._requests.amount:,} a minute.", wait_s
            )

    def check_sign_in(self, account: str, host: str) -> None:
        """Refuse another try for an account or from a host that failed too often in the last minute."""
        if wait_s := max(self._failed.wait_s(account), self._failed_at_host.wait_s(host)):
            raise _busy(
                "Too many attempts to sign in.",
                "After so many that failed, you have to wait.",
                wait_s,
                "Try again in a minute, or ask an administrator for a sign-in link.",
            )

    def count_failed_sign_in(self, account: str, host: str) -> None:
        """Note that one failed."""
        self._failed.hit(account)
        self._failed_at_host.hit(host)


def _busy(
    what: str, why: str, wait_s: float, next_step: str = "Wait as long as Retry-After says."
) -> BusyError:
    return BusyError(what, why, next_step, retry_after_s=float(max(1, math.ceil(wait_s))))
