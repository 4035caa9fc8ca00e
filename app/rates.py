"""How often: API requests and tokens of a tenant, failed sign-ins of an address. Counted in this process.

The clock is the monotonic one: a machine whose time of day is corrected must neither lock anybody out nor open
the gate. (The `limits` package reads the time of day and takes no other clock.)
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import BusyError

WINDOW_S = 60.0
FAILED_SIGN_INS_PER_MINUTE = 10
FAILED_SIGN_INS_PER_MINUTE_AND_HOST = 60
REGISTRATIONS_PER_MINUTE_AND_HOST = 5
SWEEP_AT_NAMES = 10_000


@dataclass(slots=True, eq=False)
class Charge:
    """What was counted for one event. `correct` of its window says later what it really was."""

    at: float
    weight: int
    counts: bool = True


@dataclass(slots=True, eq=False)
class _Track:
    """The events of one name in the last minute, oldest first, and their sum."""

    charges: deque[Charge] = field(default_factory=deque)
    total: int = 0

    def forget_until(self, moment: float) -> None:
        while self.charges and self.charges[0].at <= moment:
            gone = self.charges.popleft()
            gone.counts = False
            self.total -= gone.weight

    def room_at(self, needed: int) -> float:
        """When so much of what counts now was: its end frees enough."""
        freed = 0
        for charge in self.charges:
            freed += charge.weight
            if freed >= needed:
                return charge.at
        return self.charges[-1].at


class MovingWindow:
    """At most `amount` in any minute for each name. `clock` gives seconds that never go back.

    An event weighs 1, or what the caller says. One that alone weighs more than the amount passes when nothing else
    was in the last minute: else it could never be.
    """

    def __init__(self, amount: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.amount, self._clock = amount, clock
        self._events: dict[str, _Track] = {}
        self._lock = threading.Lock()

    def hit(self, name: str, *, amount: int | None = None) -> float:
        """Count one event; 0, or the seconds to wait when it was one too many (and is not counted)."""
        return self.charge(name, 1, amount=amount)[0]

    def charge(self, name: str, weight: int, *, amount: int | None = None) -> tuple[float, Charge | None]:
        """Count an event: 0 and what was counted, or the seconds to wait and None. `amount`: that of this name."""
        with self._lock:
            now = self._clock()
            if len(self._events) > SWEEP_AT_NAMES:
                self._sweep(now)
            track = self._current(name, now)
            if waits := self._wait(track, weight, amount, now):
                return waits, None
            made = Charge(now, weight)
            track.charges.append(made)
            track.total += weight
            self._events[name] = track
            return 0.0, made

    def correct(self, name: str, charge: Charge, weight: int) -> None:
        """What an event really weighed. After its minute that no longer matters."""
        with self._lock:
            track = self._events.get(name)
            if track is not None and charge.counts:
                track.total += weight - charge.weight
                charge.weight = weight

    def wait_s(self, name: str) -> float:
        """Seconds until another event fits; 0 if it fits now. Counts nothing."""
        with self._lock:
            now = self._clock()
            return self._wait(self._current(name, now), 1, None, now)

    def _wait(self, track: _Track, weight: int, amount: int | None, now: float) -> float:
        amount = self.amount if amount is None else amount
        over = track.total + min(weight, amount) - amount
        if over <= 0 or not track.charges:
            return 0.0
        # Rounding must not tell of more than a minute.
        return min(WINDOW_S, track.room_at(over) + WINDOW_S - now)

    def _current(self, name: str, now: float) -> _Track:
        track = self._events.get(name) or _Track()
        track.forget_until(now - WINDOW_S)
        return track

    def _sweep(self, now: float) -> None:
        """Forget who has not come for a minute: names are chosen by whoever asks."""
        tracks = {name: self._current(name, now) for name in list(self._events)}
        self._events = {name: track for name, track in tracks.items() if track.charges}


class Rates:
    """Raises BusyError with the seconds to wait. Safe from any thread."""

    def __init__(self, requests_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = MovingWindow(requests_per_minute, clock)
        self._tokens = MovingWindow(0, clock)
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

    def count_request(self, tenant_id: str, amount: int | None = None) -> None:
        """Count one API request of a tenant. `amount`: how many it may make in a minute, if not as many as all."""
        if wait_s := self._requests.hit(tenant_id, amount=amount):
            most = self._requests.amount if amount is None else amount
            raise _busy("Too many requests.", f"Your workspace may make {most:,} a minute.", wait_s)

    def charge_tokens(self, tenant_id: str, tokens: int, amount: int) -> Charge:
        """Count tokens that a tenant is about to use; `correct_tokens` has to follow."""
        wait_s, charge = self._tokens.charge(tenant_id, tokens, amount=amount)
        if charge is None:
            raise _busy("Too many tokens.", f"Your workspace may use {amount:,} a minute.", wait_s)
        return charge

    def correct_tokens(self, tenant_id: str, charge: Charge, tokens: int) -> None:
        """How many it really were."""
        self._tokens.correct(tenant_id, charge, tokens)

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
