"""Checks of the answers of demonstrations and judgements: contradictions, form, and how they are spread."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import polars as pl

from core.datasets.findings import WARNING, Hit, hit, hit_of_set
from core.datasets.records import Fix, Split
from core.datasets.table import Table

MOST = 0.5
LEAST_ROWS_TO_JUDGE = 20
MOST_LABELS = 20
RARE_TIMES = 20
DOMINANT = 2 / 3
RETAILER_DOMINANT = 0.9
USUAL_TYPE = 0.6
RETAILER = r"(?i)\bretailer\b[\"']?\s*[:=]?\s*[\"']?([\p{L}\d][\p{L}\d&'._-]{0,40})"


def contradictions(table: Table) -> Hit | None:
    """The same prompt with another answer, within one split (between splits it is leakage)."""
    found = table.keys.select((pl.col("answered").n_unique().over("split", "asked") > 1).alias("at"))["at"]
    return hit(
        "contradictions",
        WARNING,
        table.where(found),
        "1 row contradicts another one.",
        "{rows} rows have a prompt that another row answers differently."
        " Keep the right answer, unless several are right.",
        Fix.DROP_CONTRADICTIONS,
    )


def copied_prompt(table: Table) -> Hit | None:
    """Answers that repeat their prompt."""
    prompt = pl.col("prompt").str.strip_chars()
    return hit(
        "copied_prompt",
        WARNING,
        table.where((prompt != "") & (prompt == pl.col("answer").str.strip_chars())),
        "1 answer is the same as its prompt. Check that the columns are not mixed up.",
        "{rows} answers are the same as their prompts. Check that the columns are not mixed up.",
        Fix.DROP_ROWS,
    )


def output_not_json(table: Table) -> Hit | None:
    """Answers that are no JSON where most are, and answers that begin as JSON and do not parse anywhere."""
    parsed = np.fromiter((value is not None for value in table.parsed), bool, len(table))
    wrong = ~parsed & (table.frame["answer"].str.strip_chars() != "").to_numpy()
    if parsed.sum() <= MOST * len(table):
        wrong &= table.looks_like_json.to_numpy()
    return hit(
        "output_not_json",
        WARNING,
        np.flatnonzero(wrong),
        "1 answer is no JSON object or list, though it should be one. Correct it.",
        "{rows} answers are no JSON object or list, though they should be. Correct them.",
        Fix.DROP_ROWS,
    )


def odd_types(table: Table) -> Hit | None:
    """Values of another JSON type than most values of that name have."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    records = [(place, value) for place, value in enumerate(table.parsed) if isinstance(value, dict)]
    for _, record in records:
        for name, value in record.items():
            kinds[name][_type(value)] += 1
    usual: dict[str, str] = {}
    for name, counts in kinds.items():
        del counts["null"]
        if len(counts) > 1 and counts.total() >= LEAST_ROWS_TO_JUDGE:
            word, rows = counts.most_common(1)[0]
            if rows >= USUAL_TYPE * counts.total():
                usual[name] = word
    odd = {
        place: name
        for place, record in records
        for name in usual
        if name in record and _type(record[name]) not in (usual[name], "null")
    }
    shown = ", ".join(f"«{name[:40]}» is usually {usual[name]}" for name in sorted(set(odd.values()))[:3])
    return hit(
        "odd_types",
        WARNING,
        odd,
        f"1 answer has a value of another type than the others: {shown}. Correct it.",
        f"{{rows}} answers have a value of another type than the others: {shown}. Correct them.",
    )


def one_answer_dominates(table: Table) -> Hit | None:
    """More than two thirds of the training answers are the same."""
    counts = _training_answers(table)
    total = int(counts["count"].sum())
    if counts.height < 2 or total < LEAST_ROWS_TO_JUDGE:
        return None
    answer, rows = counts.row(0)
    if rows <= DOMINANT * total:
        return None
    message = (
        f"{rows:,} of {total:,} training rows have the same answer: the adapter may give it always."
        " Balance the set."
    )
    return hit_of_set("one_answer_dominates", WARNING, message, _rows_answering(table, [answer]))


def rare_answers(table: Table) -> Hit | None:
    """Where the answers are few labels: labels at least 20 times rarer than the most frequent one."""
    counts = _training_answers(table)
    total = int(counts["count"].sum())
    if not 2 <= counts.height <= MOST_LABELS or total < LEAST_ROWS_TO_JUDGE * counts.height:
        return None
    rare = counts.filter(pl.col("count") * RARE_TIMES <= counts["count"][0])["answer"].to_list()
    return hit(
        "rare_answers",
        WARNING,
        _rows_answering(table, rare) if rare else [],
        f"1 training row has a label at least {RARE_TIMES} times rarer than the most frequent one."
        " Add rows for it.",
        f"{{rows}} training rows have labels at least {RARE_TIMES} times rarer than the most frequent one."
        " Add rows for them.",
    )


def retailers(table: Table) -> dict[str, int]:
    """Rows by the retailer that their prompt names, most frequent first."""
    named = table.frame["prompt"].str.extract(RETAILER, 1).drop_nulls().value_counts(sort=True)
    return dict(named.sort("count", "prompt", descending=[True, False]).iter_rows())


def one_retailer_dominates(table: Table) -> Hit | None:
    """Nine of ten rows are of one retailer, where several are named."""
    named = retailers(table)
    total = sum(named.values())
    if len(named) < 2 or total < max(LEAST_ROWS_TO_JUDGE, MOST * len(table)):
        return None
    name, rows = next(iter(named.items()))
    if rows <= RETAILER_DOMINANT * total:
        return None
    message = (
        f"{rows:,} of {total:,} rows that name a retailer are of «{name[:40]}»: the others will be learned badly."
        " Add rows for them, or train one adapter for each."
    )
    return hit_of_set("one_retailer_dominates", WARNING, message, counted=rows)


def one_label_dominates(table: Table) -> Hit | None:
    """Thumbs that nearly all point the same way."""
    up, total = int(table.frame["liked"].sum()), len(table)
    rows, word = (up, "up") if 2 * up >= total else (total - up, "down")
    if total < LEAST_ROWS_TO_JUDGE or rows <= RETAILER_DOMINANT * total:
        return None
    message = (
        f"{rows:,} of {total:,} thumbs point {word}: there is little to compare. Add rows of the other kind."
    )
    return hit_of_set("one_label_dominates", WARNING, message, counted=rows)


def _training_answers(table: Table) -> pl.DataFrame:
    """answer, count: most frequent first."""
    training = table.frame.filter(table.split_is(Split.TRAIN))
    counts = training.select(pl.col("answer").str.strip_chars())["answer"].value_counts()
    return counts.sort("count", "answer", descending=[True, False])


def _rows_answering(table: Table, answers: list[str]) -> Any:
    told = pl.col("answer").str.strip_chars().is_in(answers)
    return table.where(told & (pl.col("split") == str(Split.TRAIN)))


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"
