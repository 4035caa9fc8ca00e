"""The bets under the degradation alarm (core/stats/change.py): their sums, a coin that can be tossed again, and how all
of it is kept."""

import math
import struct
import zlib
from collections.abc import Sequence

from core.errors import IntegrityError

_MASK = (1 << 64) - 1
_VERSION = 1


class Bets:
    """The sums M of one direction, one for each bet. Each bet has Page's sum, too, to tell since when it wins."""

    __slots__ = ("_limit", "_marks", "_runs", "_scores", "_sums")

    def __init__(self, bets: int, rate: float) -> None:
        self._limit = 1.0 / rate
        self._sums, self._scores = [0.0] * bets, [0.0] * bets
        self._runs, self._marks = [0] * bets, [0] * bets

    def add(self, logs: Sequence[float], weights: Sequence[float], mark: int = 0) -> bool:
        """One value: the logarithm of what each bet multiplies by. True: the limit is reached."""
        sums, scores, total = self._sums, self._scores, 0.0
        for k, log in enumerate(logs):
            sums[k] = grown = (sums[k] + 1.0) * math.exp(log)
            total += weights[k] * grown
            score = scores[k] + log
            if score > 0.0:
                scores[k] = score
                self._runs[k] += 1
                self._marks[k] += mark
            else:
                scores[k], self._runs[k], self._marks[k] = 0.0, 0, 0
        return total >= self._limit

    @property
    def since(self) -> tuple[int, int]:
        """For the bet that has won most: over how many values it has, and the marks on them."""
        best = max(range(len(self._sums)), key=lambda k: self._sums[k])
        return self._runs[best], self._marks[best]

    def clear(self) -> None:
        """Begin anew."""
        self.restore([0.0] * (4 * len(self._sums)))

    def state(self) -> list[float]:
        """All that is held, to be kept."""
        return [*self._sums, *self._scores, *map(float, self._runs), *map(float, self._marks)]

    def restore(self, state: Sequence[float]) -> None:
        """As `state` told it."""
        n = len(self._sums)
        self._sums, self._scores = list(state[:n]), list(state[n : 2 * n])
        self._runs, self._marks = [int(x) for x in state[2 * n : 3 * n]], [int(x) for x in state[3 * n :]]


def coin(draw: int) -> float:
    """The `draw`-th number of a fixed stream, uniform in [0, 1): the same stream of values gives the same alarm.

    Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, figure 16 (SplitMix64).
    """
    z = (draw * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def pack(numbers: Sequence[float]) -> bytes:
    """Numbers as bytes, to be kept."""
    return bytes([_VERSION]) + zlib.compress(struct.pack(f"<{len(numbers)}d", *numbers), 6)


def unpack(kept: bytes, least: int) -> tuple[float, ...]:
    """As `pack` made them, at least so many. Raises IntegrityError for anything else."""
    try:
        raw = zlib.decompress(kept[1:])
        numbers = struct.unpack(f"<{len(raw) // 8}d", raw)
    except (zlib.error, struct.error):
        numbers = ()
    if not kept or kept[0] != _VERSION or len(numbers) < least or not all(map(math.isfinite, numbers)):
        raise IntegrityError("What an alarm had seen cannot be read.", "", "It begins anew.")
    return numbers
