"""Whose turn it is: a queue that shares the engine between owners by the tokens they were served.

Every owner has a counter of tokens served, divided by its share; the owner with the lowest counter goes next. An owner
that comes back is lifted to the lowest counter of those who are busy, so that idling saves nothing up. Source: Sheng et
al. 2024, «Fairness in Serving Large Language Models» (virtual token counter), arXiv 2401.00588, algorithm 2.
Nobody starves: each served token raises a counter, and an owner that waits keeps its own. Within an owner a step of
priority is worth ten seconds of waiting, so that its less urgent requests come about too.
"""

import heapq
import math
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

PROMPT_WEIGHT, ANSWER_WEIGHT = 1.0, 2.0  # what a token costs, as in the paper's measurements
PRIORITY_SECONDS = 10.0


class Waiting(Protocol):
    """What the queue looks at. `submitted` and `deadline` are seconds of one monotonic clock."""

    @property
    def owner(self) -> str:
        """Who pays."""

    @property
    def share(self) -> float:
        """The owner's part beside others."""

    @property
    def priority(self) -> int:
        """Among the owner's own."""

    @property
    def submitted(self) -> float:
        """When it came."""

    @property
    def deadline(self) -> float:
        """When it is too late; infinite without a limit."""

    @property
    def prompt_length(self) -> int:
        """Tokens to read."""


T = TypeVar("T", bound=Waiting)


@dataclass(slots=True)
class _Account:
    """One owner: tokens served over share, rows that run, requests that wait (least key first)."""

    served: float = 0.0
    running: int = 0
    share: float = 1.0
    waiting: list[tuple[float, int]] = field(default_factory=list)
    size: int = 0


class FairQueue(Generic[T]):
    """Requests that wait, by owner. Not safe for threads by itself: the engine holds its lock around every call."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._entries: dict[int, T] = {}
        self._numbers: dict[int, int] = {}  # id of a request → its entry; requests need not be hashable
        self._deadlines: list[tuple[float, int]] = []
        self._next = count()

    def __len__(self) -> int:
        return len(self._entries)

    def size_of(self, owner: str) -> int:
        """Requests of `owner` that wait."""
        account = self._accounts.get(owner)
        return account.size if account else 0

    def part_of(self, owner: str, share: float) -> float:
        """The part of the engine that `owner` gets while all who wait or run now are busy, 0 to 1."""
        others = sum(a.share for name, a in self._accounts.items() if name != owner and (a.size or a.running))
        return share / (share + others)

    def push(self, item: T) -> None:
        """Queue a request."""
        account = self._accounts.get(item.owner)
        if account is None:
            account = self._accounts[item.owner] = _Account()
        if not account.size and not account.running:
            account.served = max(account.served, self._level())
        account.share = item.share
        number = next(self._next)
        self._entries[number], self._numbers[id(item)] = item, number
        heapq.heappush(account.waiting, (item.submitted - PRIORITY_SECONDS * item.priority, number))
        account.size += 1
        if item.deadline < math.inf:
            heapq.heappush(self._deadlines, (item.deadline, number))

    def peek(self) -> T | None:
        """The request whose turn it is; None when nobody waits. Ties go to the one that came first."""
        best: tuple[float, float, int] | None = None
        for account in self._accounts.values():
            if account.size:
                number = self._head(account)
                rank = (account.served, self._entries[number].submitted, number)
                best = rank if best is None else min(best, rank)
        return None if best is None else self._entries[best[2]]

    def start(self, item: T) -> None:
        """`item` leaves the queue to run; its prompt is charged."""
        self._accounts[item.owner].running += 1
        self.remove(item)
        self.charge(item, prompt=item.prompt_length)

    def charge(self, item: T, *, prompt: int = 0, answer: int = 0) -> None:
        """Count tokens that were served; negative ones give back what was charged too much."""
        account = self._accounts.get(item.owner)
        if account is not None:
            account.served += (PROMPT_WEIGHT * prompt + ANSWER_WEIGHT * answer) / item.share

    def end(self, item: T) -> None:
        """A request that `start` let run is over."""
        self._accounts[item.owner].running -= 1
        self._settle(item.owner)

    def remove(self, item: T) -> bool:
        """Take a request out. False when it does not wait (any more)."""
        number = self._numbers.pop(id(item), None)
        if number is None:
            return False
        del self._entries[number]
        account = self._accounts[item.owner]
        account.size -= 1
        if not account.size:
            account.waiting.clear()
        self._settle(item.owner)
        return True

    def take_late(self, now: float) -> list[T]:
        """Take out all whose deadline has passed."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            item = self._entries.get(heapq.heappop(self._deadlines)[1])
            if item is not None:
                self.remove(item)
                late.append(item)
        return late

    def waiting(self) -> list[T]:
        """Every request, first come first."""
        return list(self._entries.values())

    def take_all(self) -> list[T]:
        """Take out every request, first come first."""
        items = self.waiting()
        for item in items:
            self.remove(item)
        return items

    def _head(self, account: _Account) -> int:
        """The first entry that still waits; entries that were removed are dropped here."""
        while account.waiting[0][1] not in self._entries:
            heapq.heappop(account.waiting)
        return account.waiting[0][1]

    def _level(self) -> float:
        busy = [account.served for account in self._accounts.values() if account.size or account.running]
        return min(busy, default=0.0)

    def _settle(self, owner: str) -> None:
        """Forget what no longer matters: everybody once all are idle, an owner that is idle and owes nothing."""
        account = self._accounts[owner]
        if account.size or account.running:
            return
        if not any(a.size or a.running for a in self._accounts.values()):
            self._accounts.clear()
        elif account.served <= self._level():
            del self._accounts[owner]
