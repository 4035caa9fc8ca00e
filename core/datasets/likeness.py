"""How alike two texts are: words, numbers and pairs of neighbours, weighted by how rare they are in the set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from core.datasets.findings import Places

SIMILAR = 0.7
SIMILAR_DESPITE_BLANK = 0.85  # where a blank seems to be filled in differently
SIMILAR_ADDED_KNOWN = 0.8  # where one side has words more, and other rows use them too
SIMILAR_ADDED = 0.5  # where one side has words more and none less
SIMILAR_MISSPELLED = 0.3
SIMILAR_SAME_ANSWER = 0.4  # where both have an answer that at most RARE_ROWS rows have
RARE_ROWS = 4
LEAST_RARE = 2  # features that at most RARE_ROWS rows have: words added to them are no other entry of a list
MOST_ADDED = 0.25
KNOWN_WORD_ROWS = 3
LEAST_FEATURES = 4
LEAST_MISSPELLED = 4
MUCH_RARER = 10  # a misspelled word, than the word
PART_PAIRS = 100_000
LEAST_PLACES, MOST_PLACES = 16, 22  # powers of two

NUMBER = r"-?\d+(?:[.,:]\d+)*"
TOKEN = rf"[\p{{L}}\p{{M}}]+|{NUMBER}"
SEED = 20_260_104

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """`ones` is row by feature; `rows_with` counts the rows of each feature. Even features are words.

    Features are numbered by their hash, in at least eight times as many places as there are features in small sets
    and in four million in large ones; that two share a place makes them a little less rare, and no more.
    """

    ones: sparse.csr_array
    rows_with: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Sums over the features that both rows of each pair have, and that the left or the right one has."""

    shared: NDArray[np.float64]
    mine: NDArray[np.float64]
    theirs: NDArray[np.float64]


def features_of(texts: pl.Series) -> Features:
    """Words, numbers and pairs of neighbours of each text, each once."""
    words = texts.str.extract_all(TOKEN)
    counts = words.list.len().to_numpy()
    tokens = words.explode(empty_as_null=False)
    hashes = tokens.hash(seed=SEED).to_numpy()
    spelled = tokens.str.contains(r"^\p{L}").to_numpy()
    row = np.repeat(np.arange(len(texts), dtype=np.int32), counts)
    follows = row[1:] == row[:-1]
    pairs = (mixed(hashes[:-1]) + hashes[1:])[follows]
    size = 1 << min(MOST_PLACES, max(LEAST_PLACES, (8 * len(hashes)).bit_length()))
    single = _place(hashes, size) + np.where(spelled, 0, 1).astype(np.int32)
    both = np.concatenate([single, _place(pairs, size) + np.int32(1)])
    ones = sparse.csr_array(
        (np.ones(len(both), np.float32), (np.concatenate([row, row[:-1][follows]]), both)),
        shape=(len(texts), size),
    )
    ones.sum_duplicates()
    ones.data[:] = 1
    return Features(ones, np.bincount(ones.indices, minlength=size))


def _place(hashes: Hashes, size: int) -> NDArray[np.int32]:
    """An even number below `size`."""
    found: NDArray[np.int32] = ((mixed(hashes) >> np.uint64(20)) & np.uint64(size - 2)).astype(np.int32)
    return found


def near_pairs(
    features: Features, left: Places, right: Places, texts: pl.Series, rare_answer: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the pairs are near. `rare_answer` tells which share an answer that few rows have."""
    is_word = np.arange(len(features.rows_with)) % 2 == 0
    is_rare = features.rows_with <= RARE_ROWS
    is_known = is_word & (features.rows_with >= KNOWN_WORD_ROWS)
    weight = np.log1p(features.ones.shape[0] / np.maximum(1, features.rows_with))
    all_, words, known, rare, frequency = _compared(
        features.ones, left, right, (weight, is_word, is_known, is_rare, is_word * features.rows_with)
    )
    similarity = all_.shared / np.maximum(all_.mine + all_.theirs - all_.shared, 1e-9)
    only_mine, only_theirs = words.mine - words.shared, words.theirs - words.shared
    # A blank of a template filled in differently; or a list with more or fewer known words.
    blank = (known.mine > known.shared) & (known.theirs > known.shared)
    listed = (
        ((known.mine > known.shared) | (known.theirs > known.shared)) & ~blank & (rare.shared < LEAST_RARE)
    )
    added = np.minimum(only_mine, only_theirs) == 0
    few = np.maximum(only_mine, only_theirs) <= np.maximum(1, MOST_ADDED * words.shared)
    near: NDArray[np.bool_] = (
        (similarity >= SIMILAR_DESPITE_BLANK)
        | ((similarity >= SIMILAR_ADDED_KNOWN) & ~blank)
        | ((similarity >= SIMILAR) & ~blank & ~listed)
        | ((similarity >= SIMILAR_SAME_ANSWER) & rare_answer)
        | ((similarity >= SIMILAR_ADDED) & added & few & ~listed & (only_mine + only_theirs > 0))
    )
    often = np.maximum(frequency.mine, frequency.theirs) - frequency.shared
    seldom = np.minimum(frequency.mine, frequency.theirs) - frequency.shared
    doubtful = ((similarity >= SIMILAR_MISSPELLED) | rare_answer) & ~near
    doubtful &= (only_mine == 1) & (only_theirs == 1) & (~blank | (often >= MUCH_RARER * seldom))
    for at in np.flatnonzero(doubtful):
        near[at] = misspelled(texts[int(left[at])], texts[int(right[at])])
    sizes = np.diff(features.ones.indptr)
    near &= np.minimum(sizes[left], sizes[right]) >= LEAST_FEATURES
    return near


def _compared(
    ones: sparse.csr_array, left: Places, right: Places, values: Sequence[NDArray[np.generic]]
) -> list[_Pair]:
    """For each kind of value: its sums over what both rows of a pair have, the left one, and the right one."""
    rows = np.unique(np.concatenate([left, right]))
    some = ones[rows]
    of_rows = [some @ each.astype(np.float64) for each in values]
    mine, theirs = np.searchsorted(rows, left), np.searchsorted(rows, right)
    shared = np.zeros((len(values), len(left)))
    for start in range(0, len(left), PART_PAIRS):
        part = slice(start, start + PART_PAIRS)
        both = some[mine[part]].multiply(some[theirs[part]])
        for kind, each in enumerate(values):
            shared[kind, part] = both @ each.astype(np.float64)
    return [_Pair(shared[kind], sums[mine], sums[theirs]) for kind, sums in enumerate(of_rows)]


def misspelled(one: str, other: str) -> bool:
    """Whether the only word that differs is the same but for a letter added, lost, changed or swapped."""
    a, b = set(one.split()) - set(other.split()), set(other.split()) - set(one.split())
    if len(a) != 1 or len(b) != 1:
        return False
    short, long = sorted((a.pop(), b.pop()), key=len)
    if len(short) < LEAST_MISSPELLED or len(long) - len(short) > 1:
        return False
    start = next(
        (at for at, pair in enumerate(zip(short, long, strict=False)) if pair[0] != pair[1]), len(short)
    )
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[start + 1 : start + 2] + short[start : start + 1] + short[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped == long[start:]


def mixed(values: Hashes) -> Hashes:
    """Spread bits (splitmix64's first step)."""
    return (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
