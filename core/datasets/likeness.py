"""How alike two texts are: words, numbers and pairs of neighbours, weighted by how rare they are in the set."""

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

NUMBER = r"-?\d+(?:[.,:]\d+)*"
TOKEN = rf"[\p{{L}}\p{{M}}]+|{NUMBER}"
SEED = 20_260_104

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Row by feature: weights by rarity, ones, marks of words, of words that other rows use, and of rare features.

    `frequency` holds for each word how many rows have it.
    """

    weights: sparse.csr_array
    ones: sparse.csr_array
    words: sparse.csr_array
    known: sparse.csr_array
    rare: sparse.csr_array
    frequency: sparse.csr_array


def features_of(texts: pl.Series) -> Features:
    """Words, numbers and pairs of neighbours of each text, each once."""
    words = texts.str.extract_all(TOKEN)
    counts = words.list.len().to_numpy()
    tokens = words.explode(empty_as_null=False)
    hashes = tokens.hash(seed=SEED).to_numpy()
    spelled = tokens.str.contains(r"^\p{L}").to_numpy()
    row = np.repeat(np.arange(len(texts)), counts)
    follows = row[1:] == row[:-1]
    pairs = (mixed(hashes[:-1]) + hashes[1:])[follows]
    names, feature = np.unique(np.concatenate([hashes, pairs]), return_inverse=True)
    is_word = np.zeros(len(names), np.float32)
    is_word[feature[: len(hashes)][spelled]] = 1
    ones = sparse.csr_array(
        (np.ones(len(feature), np.float32), (np.concatenate([row, row[:-1][follows]]), feature)),
        shape=(len(texts), len(names)),
    )
    ones.sum_duplicates()
    ones.data[:] = 1
    rows_with = np.bincount(ones.indices, minlength=len(names))
    weight = np.log1p(len(texts) / np.maximum(1, rows_with)).astype(np.float32)
    known = is_word * (rows_with >= KNOWN_WORD_ROWS)
    rare = (rows_with <= RARE_ROWS).astype(np.float32)
    weights, words_only, known_only, rare_only, frequency = (
        sparse.csr_array((values[ones.indices], ones.indices, ones.indptr), shape=ones.shape)
        for values in (weight, is_word, known, rare, is_word * rows_with)
    )
    return Features(weights, ones, words_only, known_only, rare_only, frequency)


def near_pairs(
    features: Features, left: Places, right: Places, texts: pl.Series, rare_answer: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the pairs are near. `rare_answer` tells which share an answer that few rows have."""
    shared, mine, theirs = _compared(features.weights, features.ones, left, right)
    similarity = shared / np.maximum(mine + theirs - shared, 1e-9)
    shared_words, my_words, their_words = _compared(features.words, features.ones, left, right)
    only_mine, only_theirs = my_words - shared_words, their_words - shared_words
    blank, listed = _template(features, left, right)
    added = np.minimum(only_mine, only_theirs) == 0
    few = np.maximum(only_mine, only_theirs) <= np.maximum(1, MOST_ADDED * shared_words)
    near: NDArray[np.bool_] = (
        (similarity >= SIMILAR_DESPITE_BLANK)
        | ((similarity >= SIMILAR_ADDED_KNOWN) & ~blank)
        | ((similarity >= SIMILAR) & ~blank & ~listed)
        | ((similarity >= SIMILAR_SAME_ANSWER) & rare_answer)
        | ((similarity >= SIMILAR_ADDED) & added & few & ~listed & (only_mine + only_theirs > 0))
    )
    shared_rows, my_rows, their_rows = _compared(features.frequency, features.ones, left, right)
    often = np.maximum(my_rows, their_rows) - shared_rows
    seldom = np.minimum(my_rows, their_rows) - shared_rows
    doubtful = ((similarity >= SIMILAR_MISSPELLED) | rare_answer) & ~near
    doubtful &= (only_mine == 1) & (only_theirs == 1) & (~blank | (often >= MUCH_RARER * seldom))
    for at in np.flatnonzero(doubtful):
        near[at] = misspelled(texts[int(left[at])], texts[int(right[at])])
    sizes = np.diff(features.ones.indptr)
    near &= np.minimum(sizes[left], sizes[right]) >= LEAST_FEATURES
    return near


def _template(features: Features, left: Places, right: Places) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs seem to fill in a blank differently, and which to list more or fewer known words."""
    shared, mine, theirs = _compared(features.known, features.ones, left, right)
    blank: NDArray[np.bool_] = (mine > shared) & (theirs > shared)
    listed: NDArray[np.bool_] = ((mine > shared) | (theirs > shared)) & ~blank
    listed &= _compared(features.rare, features.ones, left, right)[0] < LEAST_RARE
    return blank, listed


def _compared(
    values: sparse.csr_array, ones: sparse.csr_array, left: Places, right: Places
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the values that both rows of a pair have, that the left one has, and that the right one has."""
    sums = np.asarray(values.sum(axis=1), np.float64).ravel()
    shared = np.zeros(len(left))
    for start in range(0, len(left), PART_PAIRS):
        part = slice(start, start + PART_PAIRS)
        shared[part] = np.asarray(values[left[part]].multiply(ones[right[part]]).sum(axis=1)).ravel()
    return shared, sums[left], sums[right]


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
