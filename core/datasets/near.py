"""Rows that are nearly the same: MinHash finds candidates, a weighted comparison decides.

Two questions are near when they hold the same numbers and nearly the same words. The numbers must be equal, since a
record of retail media with another amount or id is another record. Words and numbers are compared one by one and in
pairs of neighbours, weighted by how rare they are in the set, so that a template that all rows share makes nothing
alike; and where both sides differ by words that other rows use too, a blank of a template was filled in differently.
Two rows that share an answer which hardly any other row has need less of a likeness.
Candidates come from MinHash with banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
3.4): 24 hash functions in 12 bands of 2.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.datasets.findings import NOWHERE, Places
from core.datasets.likeness import NUMBER, RARE_ROWS, SEED, Features, Hashes, features_of, mixed, near_pairs
from core.datasets.records import Split
from core.datasets.table import Table

BANDS, ROWS_PER_BAND = 12, 2
NEIGHBOURS = 2
COMMON, LEAST_COMMON = (
    0.25,
    8,
)  # share of the rows, and rows at least, that make a feature part of the template
LEAST_SHARED = 0.3  # of the hash functions, before two rows are compared in full
SIMILAR_ANSWER = 0.9


Pairs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NearRows:
    """Places of rows that nearly repeat an earlier row, and of held-out rows whose question is nearly a training one."""

    repeats: Places = field(default_factory=NOWHERE.copy)
    of_training: Places = field(default_factory=NOWHERE.copy)


def near_rows(table: Table) -> NearRows:
    """All rows that are nearly another one. Exact repeats of whole rows are the caller's to leave out."""
    if len(table) < 2:
        return NearRows()
    forms = _forms(table)
    same_question = forms.select(pl.struct("asked", "numbers").hash().alias("key"))["key"]
    row_key = forms.select(
        pl.struct("asked", "numbers", "answered", "answer_numbers", "liked").hash().alias("key")
    )["key"]
    # Only case, white space and punctuation differ.
    repeats = [np.flatnonzero(~row_key.is_first_distinct().to_numpy())]
    in_training = same_question.filter(forms["train"]).unique()
    leaked = [np.flatnonzero((~forms["train"] & same_question.is_in(in_training.implode())).to_numpy())]
    left, right = _similar_questions(forms, same_question)
    if len(left):
        repeats.append(right[_same_answers(forms, left, right)])
        train = forms["train"].to_numpy()
        leaked += [right[train[left] & ~train[right]], left[train[right] & ~train[left]]]
    return NearRows(_union(repeats), _union(leaked))


def similar_questions(table: Table) -> list[tuple[int, int]]:
    """Pairs of places whose questions are near, or the same but for case, white space and punctuation."""
    if len(table) < 2:
        return []
    forms = _forms(table)
    question = forms.select(pl.struct("asked", "numbers").hash().alias("key"))["key"]
    places = pl.DataFrame({"key": question, "place": np.arange(len(question))})
    same = places.with_columns(first=pl.col("place").min().over("key")).filter(
        pl.col("first") < pl.col("place")
    )
    near = zip(*_similar_questions(forms, question), strict=True)
    return [*same.select("first", "place").iter_rows(), *((int(one), int(other)) for one, other in near)]


def _forms(table: Table) -> pl.DataFrame:
    return table.frame.select(
        asked=_form(pl.concat_str(["system", "history", "prompt"], separator="\n")),
        tokens=pl.concat_str(["system", "history", "prompt"], separator="\n").str.to_lowercase(),
        answered=_form(pl.concat_str(["answer", pl.col("rejected").fill_null("")], separator="\n")),
        numbers=_numbers(pl.concat_str(["system", "history", "prompt"], separator="\n")),
        answer_numbers=_numbers(pl.concat_str(["answer", pl.col("rejected").fill_null("")], separator="\n")),
        train=pl.col("split") == str(Split.TRAIN),
        liked=pl.col("liked").fill_null(False),
    )


def _form(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}]+", " ").str.strip_chars()


def _numbers(text: pl.Expr) -> pl.Expr:
    return text.str.extract_all(NUMBER).list.join(" ").hash()


def _similar_questions(forms: pl.DataFrame, question: pl.Series) -> tuple[Places, Places]:
    """Pairs of places (earlier, later) whose questions are near but not the same; one row stands for each question."""
    first = pl.DataFrame({"question": question, "place": np.arange(len(question))}).filter(
        pl.col("question").is_first_distinct()
    )
    chosen = first["place"].to_numpy()
    candidates = forms.select("asked", "tokens", "numbers")[chosen].with_columns(place=pl.Series(chosen))
    candidates = candidates.filter(pl.len().over("numbers") > 1)
    if candidates.height < 2:
        return NOWHERE, NOWHERE
    features = features_of(candidates["tokens"])
    places = candidates["place"].to_numpy()
    numbers, answers = candidates["numbers"].to_numpy(), _answers(forms)[places]
    pairs = np.unique(np.concatenate([_candidates(features, numbers), _same_rare(numbers, answers)]))
    left, right = np.divmod(pairs, len(numbers))
    rare = answers[left] == answers[right]
    rare &= _rows_answering(forms)[places][left] <= RARE_ROWS
    near = near_pairs(features, left, right, candidates["asked"], rare)
    return places[left[near]], places[right[near]]


def _candidates(features: Features, numbers: Hashes) -> Pairs:
    """Pairs of rows that share a band of MinHash values, the numbers, and enough of all hash functions."""
    indices, rows_with = features.ones.indices, features.rows_with
    # What one row has alone makes nothing alike, and neither does the template that most rows share.
    useful = (rows_with > 1) & (rows_with <= max(LEAST_COMMON, COMMON * len(numbers)))
    kept = np.flatnonzero(useful[indices])
    bounds = np.searchsorted(kept, features.ones.indptr)
    rows = np.flatnonzero(np.diff(bounds))
    if len(rows) < 2:
        return NOWHERE
    minima = _minima(indices[kept].astype(np.uint32), bounds[rows])
    found = np.sort(np.concatenate([_neighbours(minima, band, numbers[rows]) for band in range(BANDS)]))
    found = found[np.diff(found, prepend=-1) > 0]
    left, right = np.divmod(found, len(rows))
    enough = (minima[left] == minima[right]).mean(axis=1) >= LEAST_SHARED
    return _coded(rows[left[enough]], rows[right[enough]], len(numbers))


def _minima(features: NDArray[np.uint32], starts: Places) -> NDArray[np.uint32]:
    """MinHash values, row by hash function: multiplication by an odd number and a shift, modulo 2 ** 32."""
    random = np.random.default_rng(SEED)
    minima = np.empty((len(starts), BANDS * ROWS_PER_BAND), np.uint32)
    for function in range(BANDS * ROWS_PER_BAND):
        factor, shift = (np.uint32(random.integers(1 << 20, 1 << 32)) for _ in range(2))
        minima[:, function] = np.minimum.reduceat(features * (factor | np.uint32(1)) + shift, starts)
    return minima


def _neighbours(minima: NDArray[np.uint32], band: int, numbers: Hashes) -> Pairs:
    """Pairs within the buckets of one band. In a large bucket a row meets only those next to it."""
    columns = [minima[:, (band * ROWS_PER_BAND + i) % minima.shape[1]].astype(np.uint64) for i in range(5)]
    key = numbers.copy()
    for column in columns[:ROWS_PER_BAND]:
        key = mixed(key) + column
    return _adjacent(key, np.lexsort((np.arange(len(key)), columns[4], columns[3], key)))


def _adjacent(key: Hashes, order: Places) -> Pairs:
    """Pairs of equal keys that stand close in the order."""
    pairs = []
    for step in range(1, NEIGHBOURS + 1):
        a, b = order[:-step], order[step:]
        same = key[a] == key[b]
        pairs.append(_coded(a[same], b[same], len(key)))
    return np.concatenate(pairs)


def _coded(one: Places, other: Places, rows: int) -> Pairs:
    """Each pair as one number: the smaller place times `rows`, plus the larger one."""
    found: Pairs = np.minimum(one, other).astype(np.int64) * rows + np.maximum(one, other)
    return found


def _same_rare(numbers: Hashes, answers: Hashes) -> Pairs:
    """Pairs with the same numbers and the same answer, where few have that answer."""
    key = mixed(numbers) + answers
    order = np.argsort(key, kind="stable")
    _, place, rows = np.unique(key, return_inverse=True, return_counts=True)
    return _adjacent(key, order[rows[place[order]] <= RARE_ROWS])


def _answers(forms: pl.DataFrame) -> Hashes:
    """Each answer as a number."""
    found: Hashes = forms.select(pl.struct("answered", "answer_numbers").hash().alias("key"))[
        "key"
    ].to_numpy()
    return found


def _rows_answering(forms: pl.DataFrame) -> Places:
    """How many rows have the answer of each row."""
    found: Places = forms.select(pl.len().over("answered", "answer_numbers").alias("rows"))["rows"].to_numpy()
    return found


def _same_answers(forms: pl.DataFrame, left: Places, right: Places) -> NDArray[np.bool_]:
    """Whether the answers hold the same numbers and mostly the same words."""
    numbers = forms["answer_numbers"].to_numpy()
    same: NDArray[np.bool_] = numbers[left] == numbers[right]
    texts = forms["answered"]
    for at in np.flatnonzero(same):
        a, b = (set(texts[int(side[at])].split()) for side in (left, right))
        same[at] = len(a & b) >= SIMILAR_ANSWER * len(a | b)
    return same


def _union(parts: list[NDArray[np.int64]]) -> Places:
    return np.unique(np.concatenate(parts)).astype(np.int64)
