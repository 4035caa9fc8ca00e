"""Has it become worse? An alarm for a stream of values, judged at each one, whose false alarms have a proven bound.

How it works. Each value gets its rank among the values before it and itself, ties broken by a coin: u in (0, 1). While
nothing changes (the values are exchangeable) these u are independent and uniform, whatever the distribution, its unit or
its scale. A bet g(u) with ∫g = 1 then grows by 1 on average at each value, so that

    M_n = (M_{n−1} + 1) · g(u_n),   E[M_n] = n,   P(M reaches c within n values) ≤ n/c      (Doob, as M is a submartingale)

and an alarm at c = 800,000 gives at most 1.25 % of streams of 10,000 values a false one, the same in milliseconds or
seconds and for any size of sample. Measured, it is less than 1 %, because M jumps over c and does not stop on it. M is a
weighted mean of such sums, one for each size of change that is bet on.

How fast it can be. Nobody is much faster at this rate: Page's sum that is told both distributions and the size of the
change, calibrated to 1 % of streams of 10,000, needs a median of about 190 values for lognormal latencies (σ = 0.6) that
become 1.2 times as long and 46 at 1.5 times (Moustakides 1986: no rule has a smaller worst delay at its rate).

What the bound needs. It is exact as long as the ranks are among all values so far. From `WINDOW` values on, the oldest is
forgotten (a share: counts are halved at `SHARE_WINDOW`); benchmarks/degradation_alarm.py measures the rate beyond. Values
that hang together (a slow hour) or a daily course are changes, too: they are found and told, because they are there.

Beside it: ADWIN (Bifet and Gavaldà 2007) keeps a window of the values themselves and drops its older part whenever two
parts of it have means that differ by more than a bound made from the variance. It sees changes in the mean in both
directions; its bound holds for values in [0, 1], and on others its rate depends on their tails.

Sources
- Vovk, V., Gammerman, A. and Shafer, G. (2022), Algorithmic Learning in a Random World, §8: conformal p-values with
  broken ties are independent and uniform, and bets on them are martingales.
- McDonald, D. (1990), A CUSUM procedure based on sequential ranks, Naval Research Logistics 37, 627–646.
- Shin, J., Ramdas, A. and Rinaldo, A. (2023), E-detectors, arXiv 2203.03532, definition 2.2 and theorem 2.4: sums M of
  e-processes (Shiryaev–Roberts) and their mean time to a false alarm ≥ c.
- Page, E. S. (1954), Continuous inspection schemes, Biometrika 41, 100–115: since when (the last zero of his sum).
- Moustakides, G. V. (1986), Optimal stopping times for detecting changes in distributions, Annals of Statistics 14.

Constants. Tilts and c were chosen on independent normal scores (20,000 streams of 10,000, NumPy seed 5), which is what
ranks of any distribution become; the benchmark runs the product itself on raw values of several, with other seeds.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist, median

from core.stats.bets import Bets, coin, pack, unpack

FALSE_ALARM_RATE = 1 / 800_000  # for each value
WINDOW = 4096
SHARE_WINDOW = 40_000
FEWEST_SINCE = 5  # values that a changed stretch has at least
# Sizes of change that are bet on: in standard deviations of the normal scores, with weights; as factors of the odds of
# falling into the worst shares of ranks.
TILTS = ((0.34, 0.3), (0.70, 0.7))
SHARES = (0.4, 0.2, 0.1, 0.05, 0.025, 0.012, 0.006, 0.003, 0.0015)
ODDS = (2.0, 6.0)
_NORMAL = NormalDist()
_EDGE = 1e-12


class Worse(StrEnum):
    """Which values are bad ones."""

    HIGHER = "higher"  # latency
    LOWER = "lower"  # ratings


class Direction(StrEnum):
    """Where a stream went."""

    WORSE = "worse"
    BETTER = "better"


@dataclass(frozen=True, slots=True)
class Shift:
    """A change that was found. `since` is how many values ago it began, at a guess; `before` and `after` are the medians
    (of a share: the shares) of the `reference` values before it and of those since."""

    direction: Direction
    since: int
    reference: int
    before: float
    after: float


class RankAlarm:
    """For values of any kind: latencies, ratings. Give each to `observe` as it comes. Not for several threads at once."""

    def __init__(
        self, worse: Worse = Worse.HIGHER, *, rate: float = FALSE_ALARM_RATE, window: int = WINDOW
    ) -> None:
        _check(rate, window)
        self._sign = 1.0 if worse is Worse.HIGHER else -1.0
        self._window = window
        self._order: deque[float] = deque()
        self._sorted: list[float] = []
        self._worse, self._better = (Bets(len(TILTS), rate) for _ in range(2))
        self._drawn = 0

    @property
    def reference(self) -> int:
        """How many values the next one is ranked among."""
        return len(self._order)

    def observe(self, value: float) -> Shift | None:
        """The next value; a Shift when it gave the last evidence. Raises ValueError for what is not finite."""
        if not math.isfinite(value):
            raise ValueError("values are finite numbers")
        z = self._sign * self._score(value)
        self._remember(value)
        up = self._worse.add([t * z - t * t / 2 for t, _ in TILTS], _RANK_WEIGHTS)
        down = self._better.add([-t * z - t * t / 2 for t, _ in TILTS], _RANK_WEIGHTS)
        if up:
            return self._shift(Direction.WORSE, self._worse.since[0])
        return self._shift(Direction.BETTER, self._better.since[0]) if down else None

    def observe_all(self, values: Iterable[float]) -> Shift | None:
        """Several values; the last Shift among them."""
        last = None
        for value in values:
            last = self.observe(value) or last
        return last

    def _score(self, value: float) -> float:
        below = bisect_left(self._sorted, value)
        equal = bisect_right(self._sorted, value) - below
        self._drawn += 1
        u = (below + coin(self._drawn) * (equal + 1)) / (len(self._sorted) + 1)
        return _NORMAL.inv_cdf(min(max(u, _EDGE), 1 - _EDGE))

    def _remember(self, value: float) -> None:
        self._order.append(value)
        insort(self._sorted, value)
        if len(self._order) > self._window:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]

    def _shift(self, direction: Direction, since: int) -> Shift:
        """Tell it, and go on from what is since: further changes are told against that.

        After one for the better the reference begins empty: the values since were chosen for being good, and the next
        ones beside them would raise a false alarm. After one for the worse they only make the alarm less eager.
        """
        values = list(self._order)
        since = min(max(since, FEWEST_SINCE), len(values) - 1)
        old, new = values[:-since], values[-since:]
        kept = new if direction is Direction.WORSE else []
        self._order, self._sorted = deque(kept), sorted(kept)
        self._worse.clear()
        self._better.clear()
        return Shift(direction, since, len(old), float(median(old)), float(median(new)))

    def to_bytes(self) -> bytes:
        """All that is held, to be kept."""
        numbers = [float(self._drawn), *self._worse.state(), *self._better.state(), *self._order]
        return pack(numbers)

    def restore(self, kept: bytes) -> None:
        """As `to_bytes` told it. Raises IntegrityError for anything else."""
        each = 4 * len(TILTS)
        numbers = unpack(kept, 1 + 2 * each)
        self._drawn = int(numbers[0])
        self._worse.restore(numbers[1 : 1 + each])
        self._better.restore(numbers[1 + each : 1 + 2 * each])
        self._order = deque(numbers[1 + 2 * each :])
        self._sorted = sorted(self._order)


class ShareAlarm:
    """For failures among requests. Failures are the worst ranks, so the bound is the same whatever share of them fails:
    the bets are on the worst share of ranks, for several sizes of that share, and none of them depends on the data."""

    def __init__(self, *, rate: float = FALSE_ALARM_RATE, window: int = SHARE_WINDOW) -> None:
        _check(rate, window)
        self._window = float(window)
        self._n = self._failures = 0.0
        self._bets = {direction: Bets(len(SHARES) * len(ODDS), rate) for direction in Direction}
        self._drawn = 0

    @property
    def reference(self) -> int:
        """How many requests the next one is judged against."""
        return int(self._n)

    def observe(self, failed: bool) -> Shift | None:
        """The next request; a Shift of the share of failures when it gave the last evidence."""
        worst = _place(self._score(failed))
        for direction in Direction:
            bets = self._bets[direction]
            if bets.add(_SHARE_LOGS[direction][worst], _SHARE_WEIGHTS, int(failed)):
                return self._shift(direction)
        return None

    def observe_counts(self, requests: int, failures: int) -> Shift | None:
        """Requests whose order is not known, the failures spread evenly among them; the last Shift among them.

        Raises ValueError unless 0 ≤ failures ≤ requests.
        """
        if not 0 <= failures <= requests:
            raise ValueError("there are not more failures than requests, and not less than none")
        last = None
        for k in range(requests):
            failed = (k + 1) * failures // requests > k * failures // requests
            last = self.observe(failed) or last
        return last

    def _score(self, failed: bool) -> float:
        """The rank of this request among all so far, failures last, ties broken by a coin."""
        self._n += 1.0
        self._failures += failed
        self._drawn += 1
        share = self._failures / self._n
        if self._n > self._window:
            self._n, self._failures = self._n / 2, self._failures / 2
        toss = coin(self._drawn)
        return 1.0 - toss * share if failed else toss * (1.0 - share)

    def _shift(self, direction: Direction) -> Shift:
        """Tell it, and go on from what is since, or from nothing: see RankAlarm."""
        n, failures = self._bets[direction].since
        n = max(n, 1)
        old_n, old_failures = max(self._n - n, 1.0), max(self._failures - failures, 0.0)
        shift = Shift(direction, n, int(old_n), min(old_failures / old_n, 1.0), failures / n)
        worse = direction is Direction.WORSE
        self._n, self._failures = (float(n), float(failures)) if worse else (0.0, 0.0)
        for bets in self._bets.values():
            bets.clear()
        return shift

    def to_bytes(self) -> bytes:
        """All that is held, to be kept."""
        states = [number for direction in Direction for number in self._bets[direction].state()]
        return pack([float(self._drawn), self._n, self._failures, *states])

    def restore(self, kept: bytes) -> None:
        """As `to_bytes` told it. Raises IntegrityError for anything else."""
        each = 4 * len(SHARES) * len(ODDS)
        numbers = unpack(kept, 3 + 2 * each)
        self._drawn, self._n, self._failures = int(numbers[0]), numbers[1], numbers[2]
        for place, direction in enumerate(Direction):
            self._bets[direction].restore(numbers[3 + place * each : 3 + (place + 1) * each])


def _odds_logs(share: float, ratio: float) -> tuple[float, float]:
    """A bet that the worst `share` of ranks comes up with `ratio` times its odds: what it multiplies by, as logarithms,
    where the rank is not among them and where it is. It multiplies by 1 on average."""
    other = -math.log1p(share * (ratio - 1.0))
    return other, other + math.log(ratio)


def _share_logs(direction: Direction) -> tuple[tuple[float, ...], ...]:
    """By how many of SHARES hold the rank: the logarithms of all bets."""
    odds = [1.0 / ratio if direction is Direction.BETTER else ratio for ratio in ODDS]
    pairs = [(i, _odds_logs(share, ratio)) for i, share in enumerate(SHARES) for ratio in odds]
    most = len(SHARES)
    return tuple(tuple(logs[i < held] for i, logs in pairs) for held in range(most + 1))


def _place(u: float) -> int:
    """How many of SHARES hold this rank among their worst."""
    return sum(u > edge for edge in _EDGES)


_RANK_WEIGHTS = tuple(weight for _, weight in TILTS)
_SHARE_WEIGHTS = (1.0 / (len(SHARES) * len(ODDS)),) * (len(SHARES) * len(ODDS))
_SHARE_LOGS = {direction: _share_logs(direction) for direction in Direction}
_EDGES = tuple(1.0 - share for share in SHARES)


def _check(rate: float, window: int) -> None:
    if not 0 < rate < 1 or window < 2 * FEWEST_SINCE:
        raise ValueError("a rate lies between 0 and 1, and a window holds ten values at least")
