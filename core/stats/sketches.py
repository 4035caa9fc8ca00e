"""Quantiles of any number of values in a few hundred counters, with a proven error.

Sources
- Masson, C., Rim, J. E. and Lee, H. K. (2019), DDSketch, PVLDB 12(12), 2195–2205: counters whose edges grow with the
  value give every quantile to a fixed relative error, and merge by addition (§2.1, lemmas 2 and 3).
- Tene, G. (2012), HdrHistogram: each octave in equal parts, so that a counter is found by shifting bits.

The error. A positive double is 2^e·(1 + f) with 0 ≤ f < 1. Its counter is the e and the first six bits of f: all values
of [a, b) with a = 2^e·(1 + j/64) and b = a + 2^e/64, j whole. The estimate for all of them is v = 2ab/(a + b), and for
every x of [a, b], |v − x|/x is largest at the two ends, where it is

    (b − a)/(b + a) = 1/(2·(64 + j) + 1) ≤ 1/129 < 0.78 %.

Counters are ordered as values are, so the k-th smallest value lies in the counter where the counts add up to k: the
estimate of every order statistic is within 1/129 of the value itself, whatever the distribution, and stays so when it is
moved into [minimum, maximum], both of which are exact. Nothing is rounded on the way to a counter, so equal values
always meet in one, on every machine. Values below 2^−1022 count as 0.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import IntegrityError

RELATIVE_ERROR = 1 / 129
_SUB_BITS = 6
_SHIFT = 52 - _SUB_BITS
_FIRST_KEY = 1 << _SUB_BITS  # of the least normal double, 2^-1022
_LEAST_POWER = 1074  # every double is a whole number of 2^-1074
_EXACT_ROWS = 1 << 26  # so many numbers of 27 bits have an exact sum in a double
_DENSE = 1 << 12  # so many counters side by side are added up faster than they are sorted
_VERSION = 1
_HEAD = struct.Struct("<BQQddHHIIB")
_WIDTHS = (1, 2, 4, 8)
_TYPES = {width: np.dtype(f"<u{width}") for width in _WIDTHS}


def _no_keys() -> NDArray[np.int64]:
    return _fixed(np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class LogSketch:
    """Counts of values ≥ 0 by counter. Adding sketches up gives the same bytes in any order and grouping.

    `keys` rise and have their `counts` beside them; `zeros` are values of 0. `units` is the exact sum of all values as a
    whole number of 2^−1074. Made by `of`, `merged` and `+`; `LogSketch()` holds nothing.
    """

    keys: NDArray[np.int64] = field(default_factory=_no_keys)
    counts: NDArray[np.int64] = field(default_factory=_no_keys)
    zeros: int = 0
    count: int = 0
    minimum: float = math.nan
    maximum: float = math.nan
    units: int = 0

    @classmethod
    def of(cls, values: ArrayLike) -> "LogSketch":
        """Of values in one dimension. Raises ValueError for what is negative, infinite or not a number."""
        found: NDArray[np.float64] = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if found.ndim != 1:
            raise ValueError("values stand in one row")
        if found.size == 0:
            return cls()
        low, high = float(found.min()), float(found.max())
        if not (low >= 0 and high < math.inf):  # also when one of them is not a number
            raise ValueError("a sketch takes finite values that are not negative")
        keys = np.ascontiguousarray(found + 0.0).view(np.int64) >> _SHIFT
        distinct, counts = _tally(keys)
        start = int(np.searchsorted(distinct, _FIRST_KEY))
        return cls(
            _fixed(distinct[start:]),
            _fixed(counts[start:]),
            int(counts[:start].sum()),
            int(found.size),
            low + 0.0,
            high + 0.0,
            _exact_units(found),
        )

    @classmethod
    def merged(cls, sketches: Iterable["LogSketch"]) -> "LogSketch":
        """All of them together."""
        parts = [each for each in sketches if each.count]
        if len(parts) < 2:
            return parts[0] if parts else cls()
        keys, counts = _added(
            np.concatenate([each.keys for each in parts]), np.concatenate([each.counts for each in parts])
        )
        return cls(
            _fixed(keys),
            _fixed(counts),
            sum(each.zeros for each in parts),
            sum(each.count for each in parts),
            min(each.minimum for each in parts),
            max(each.maximum for each in parts),
            sum(each.units for each in parts),
        )

    def __add__(self, other: "LogSketch") -> "LogSketch":
        return LogSketch.merged((self, other))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogSketch) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    @property
    def sum(self) -> float:
        """Sum of all values, rounded once; infinite where no double holds it."""
        try:
            return float(Fraction(self.units, 1 << _LEAST_POWER))
        except OverflowError:
            return math.inf

    @property
    def mean(self) -> float:
        """Mean of all values, rounded once; not a number where there are none."""
        return float(Fraction(self.units, self.count << _LEAST_POWER)) if self.count else math.nan

    @property
    def variance(self) -> float:
        """Variance of single values (n − 1), each taken as the middle of its counter; 0 below two."""
        if self.count < 2:
            return 0.0
        lows, highs = (((self.keys + step) << _SHIFT).view(np.float64) for step in (0, 1))
        middles = np.append((lows + np.minimum(highs, self.maximum)) / 2, 0.0)
        counts = np.append(self.counts, self.zeros)
        mean = float((middles * counts).sum()) / self.count
        return float((counts * (middles - mean) ** 2).sum()) / (self.count - 1)

    def quantile(self, q: float) -> float:
        """The least value that at least a share q of all values does not exceed (the inverse of the empirical
        distribution), within RELATIVE_ERROR. Raises ValueError for q outside 0–1 and where there are no values."""
        return self.quantiles((q,))[0]

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """`quantile` of several shares at once."""
        if not all(0 <= q <= 1 for q in qs):
            raise ValueError("a quantile lies between 0 and 1")
        if not self.count:
            raise ValueError("there are no values, so they have no quantiles")
        ends = np.cumsum(self.counts)
        return [self._at(_rank(self.count, q), ends) for q in qs]

    def value_at_rank(self, rank: int) -> float:
        """The rank-th smallest value, 1 ≤ rank ≤ count, within RELATIVE_ERROR. Raises ValueError outside."""
        self._check_rank(rank)
        return self._at(rank, np.cumsum(self.counts))

    def bounds_at_rank(self, rank: int) -> tuple[float, float]:
        """Two values between which (both may be met) the rank-th smallest surely lies. Raises ValueError."""
        self._check_rank(rank)
        if rank <= self.zeros:
            low, high = 0.0, math.ldexp(1.0, -1022)
        else:
            place = int(np.searchsorted(np.cumsum(self.counts), rank - self.zeros))
            low, high = _edges(int(self.keys[place]))
        return max(low, self.minimum), min(high, self.maximum)

    def rank_at_most(self, value: float) -> int:
        """How many values are ≤ `value`: all of its own counter are taken as such. Raises ValueError for NaN."""
        if math.isnan(value):
            raise ValueError("nothing compares with what is not a number")
        if not self.count or value < self.minimum:
            return 0
        if value >= self.maximum:
            return self.count
        key = int(np.float64(value + 0.0).view(np.int64)) >> _SHIFT
        return self.zeros + int(self.counts[: np.searchsorted(self.keys, key, side="right")].sum())

    def buckets(self) -> list[tuple[float, float, int]]:
        """Counters that hold something, rising: from (included), to (excluded) and how many."""
        zero = [(0.0, math.ldexp(1.0, -1022), self.zeros)] if self.zeros else []
        return zero + [
            (*_edges(int(key)), int(count)) for key, count in zip(self.keys, self.counts, strict=True)
        ]

    def to_bytes(self) -> bytes:
        """A compact form of its own: about 60 bytes and 2 for each counter. Equal sketches have equal bytes."""
        steps = np.diff(self.keys, prepend=self.keys[:1]).astype(np.uint64)
        counts = self.counts.astype(np.uint64)
        step_width, count_width = _width(steps), _width(counts)
        power = (self.units & -self.units).bit_length() - 1 if self.units else 0
        exact = self.units >> power
        exact_bytes = exact.to_bytes((exact.bit_length() + 7) // 8, "little")
        head = _HEAD.pack(
            _VERSION,
            self.count,
            self.zeros,
            self.minimum if self.count else 0.0,
            self.maximum if self.count else 0.0,
            power,
            len(exact_bytes),
            int(self.keys[0]) if self.keys.size else 0,
            self.keys.size,
            _WIDTHS.index(step_width) | _WIDTHS.index(count_width) << 2,
        )
        return b"".join(
            (
                head,
                exact_bytes,
                steps.astype(f"<u{step_width}").tobytes(),
                counts.astype(f"<u{count_width}").tobytes(),
            )
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "LogSketch":
        """What `to_bytes` wrote. Raises IntegrityError for anything else."""
        return cls.merged_bytes((content,))

    @classmethod
    def merged_bytes(cls, contents: Sequence[bytes]) -> "LogSketch":
        """What `to_bytes` wrote, all together: several times as fast as reading one by one. Raises IntegrityError."""
        parts = [part for content in contents if (part := _unpacked(content)).size]
        if not parts:
            return cls()
        keys, counts = parts[0].keys, parts[0].counts.astype(np.int64)
        if len(parts) > 1:
            keys = np.concatenate([part.keys for part in parts])
            counts = np.concatenate([part.counts for part in parts]).astype(np.int64)
        count, zeros = sum(part.size for part in parts), sum(part.zeros for part in parts)
        if zeros + int(counts.sum()) != count or (counts.size and int(counts.min()) < 1):
            raise _damaged()
        if len(parts) > 1:
            keys, counts = _added(keys, counts)
        return cls(
            _fixed(keys),
            _fixed(counts),
            zeros,
            count,
            min(part.minimum for part in parts),
            max(part.maximum for part in parts),
            sum(part.units for part in parts),
        )

    def _at(self, rank: int, ends: NDArray[np.int64]) -> float:
        """`ends`: running totals of `counts`. The first and the last are known exactly."""
        if rank in (1, self.count):
            return self.minimum if rank == 1 else self.maximum
        if rank <= self.zeros:
            return max(0.0, self.minimum)
        key = int(self.keys[np.searchsorted(ends, rank - self.zeros)])
        part = _FIRST_KEY + (key & _FIRST_KEY - 1)  # 64 + j of the proof
        estimate = _edges(key)[0] * (
            2 * (part + 1) / (2 * part + 1)
        )  # 2ab/(a + b) without a + b, which may overflow
        return min(max(estimate, self.minimum), self.maximum)

    def _check_rank(self, rank: int) -> None:
        if not 1 <= rank <= self.count:
            raise ValueError(f"a rank lies between 1 and {self.count}")


class _Unpacked(NamedTuple):
    """Parts of a sketch as its bytes hold them."""

    size: int
    zeros: int
    minimum: float
    maximum: float
    units: int
    keys: NDArray[np.int64]
    counts: NDArray[Any]


def _unpacked(content: bytes) -> _Unpacked:
    try:
        version, count, zeros, low, high, power, length, first, size, widths = _HEAD.unpack_from(content)
        step_width, count_width = _WIDTHS[widths & 3], _WIDTHS[widths >> 2]
    except (struct.error, IndexError):
        raise _damaged() from None
    at = _HEAD.size + length
    ends = at + size * step_width
    if version != _VERSION or len(content) != ends + size * count_width:
        raise _damaged()
    keys = np.frombuffer(content, _TYPES[step_width], size, at).cumsum(dtype=np.int64)
    keys += first
    counts = np.frombuffer(content, _TYPES[count_width], size, ends)
    units = int.from_bytes(content[_HEAD.size : at], "little") << power
    return _Unpacked(count, zeros, low, high, units, keys, counts)


def _rank(count: int, q: float) -> int:
    """A product such as 0.07 · 100 may lie a rounding above the whole number that it means."""
    return min(count, max(1, math.ceil(q * count - 1e-9 * max(1.0, q * count))))


def _tally(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys, rising, and how often each is there."""
    first, last = int(keys.min()), int(keys.max())
    if last - first > max(_DENSE, 4 * keys.size):
        distinct, counts = np.unique(keys, return_counts=True)
        return distinct, counts.astype(np.int64)
    tallies = np.bincount(keys - first)
    found = np.flatnonzero(tallies)
    return found + first, tallies[found].astype(np.int64)


def _added(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys, rising, with the sum of their counts."""
    if not keys.size:
        return keys, counts
    first, last = int(keys.min()), int(keys.max())
    # Sums of whole numbers below 2^53 are exact in doubles.
    if last - first > max(_DENSE, 4 * keys.size) or float(counts.sum(dtype=np.float64)) >= 2.0**53:
        distinct, place = np.unique(keys, return_inverse=True)
        sums = np.zeros(distinct.size, dtype=np.int64)
        np.add.at(sums, place, counts)
        return distinct, sums
    totals = np.bincount(keys - first, weights=counts)
    found = np.flatnonzero(totals)
    return found + first, totals[found].astype(np.int64)


def _exact_units(values: NDArray[np.float64]) -> int:
    """Exact sum as a whole number of 2^−1074: whole mantissas are added by exponent, in halves that cannot overflow."""
    total = 0
    for start in range(0, values.size, _EXACT_ROWS):
        fractions, powers = np.frexp(values[start : start + _EXACT_ROWS])
        mantissas = np.ldexp(fractions, 53).astype(np.int64)
        least = int(powers.min())
        places = powers - least
        low = np.bincount(places, weights=(mantissas & 0x7FFFFFF).astype(np.float64))
        high = np.bincount(places, weights=(mantissas >> 27).astype(np.float64))
        for place in np.flatnonzero(low + high):
            shift = least + int(place) - 53 + _LEAST_POWER
            part = int(low[place]) + (int(high[place]) << 27)
            total += part << shift if shift >= 0 else part >> -shift  # subnormals end in zeros
    return total


def _edges(key: int) -> tuple[float, float]:
    """First value of a counter and first of the next; infinite after the last."""
    low, high = np.array([key << _SHIFT, (key + 1) << _SHIFT], dtype=np.int64).view(np.float64)
    return float(low), float(high)


def _width(numbers: NDArray[np.uint64]) -> int:
    most = int(numbers.max()) if numbers.size else 0
    return next(width for width in _WIDTHS if most < 1 << 8 * width)


def _fixed(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers.setflags(write=False)
    return numbers


def _damaged() -> IntegrityError:
    return IntegrityError(
        "A stored sketch cannot be read.",
        "Its bytes are not those of a sketch, or not all of them are there.",
        "Restore the database from a backup, or delete what holds it.",
    )
