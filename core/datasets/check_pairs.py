"""Checks of preference pairs and of judgements."""

import polars as pl

from core.datasets.findings import ERROR, WARNING, Hit, hit, hit_of_set
from core.datasets.records import Fix
from core.datasets.table import Table

LEAST_PAIRS_TO_JUDGE = 20
LENGTH_BIAS = 0.9


def equal_pairs(table: Table) -> Hit | None:
    """Pairs that prefer nothing."""
    return hit(
        "equal_pair",
        ERROR,
        table.where(pl.col("answer").str.strip_chars() == pl.col("rejected").str.strip_chars()),
        "1 pair has the same chosen and rejected answer. Remove it.",
        "{rows} pairs have the same chosen and rejected answer. Remove them.",
        Fix.DROP_ROWS,
    )


def reversed_pairs(table: Table) -> Hit | None:
    """Pairs that another pair turns round."""
    same = ["system", "history", "prompt"]
    one = table.frame.select(pl.struct(*same, "answer", "rejected").hash().alias("key"))["key"]
    turned = table.frame.select(
        pl.struct(*same, pl.col("rejected").alias("answer"), pl.col("answer").alias("rejected"))
        .hash()
        .alias("key")
    )["key"]
    differ = table.frame["answer"] != table.frame["rejected"]
    return hit(
        "contradictions",
        WARNING,
        table.where(differ & turned.is_in(one.implode())),
        "1 pair is the reverse of another one.",
        "{rows} pairs are the reverse of other pairs. Keep the right ones.",
        Fix.DROP_CONTRADICTIONS,
    )


def disputed(table: Table) -> Hit | None:
    """The same answer to the same question with a thumb up and a thumb down."""
    voices = table.keys.with_columns(table.frame["liked"]).select(
        (pl.col("liked").n_unique().over("split", "asked", "answered") > 1).alias("at")
    )
    return hit(
        "contradictions",
        WARNING,
        table.where(voices["at"]),
        "1 answer is liked and disliked.",
        "{rows} rows hold the same answer liked and disliked. Keep what most people say.",
        Fix.DROP_CONTRADICTIONS,
    )


def length_bias(table: Table) -> Hit | None:
    """The chosen answer is longer (or shorter) in at least 90 % of the pairs whose lengths differ."""
    longer = table.where(pl.col("answer").str.len_chars() > pl.col("rejected").str.len_chars())
    shorter = table.where(pl.col("answer").str.len_chars() < pl.col("rejected").str.len_chars())
    differing = len(longer) + len(shorter)
    if differing < LEAST_PAIRS_TO_JUDGE:
        return None
    word, most = ("longer", longer) if len(longer) >= len(shorter) else ("shorter", shorter)
    if len(most) < LENGTH_BIAS * differing:
        return None
    message = (
        f"In {len(most):,} of {differing:,} pairs the chosen answer is the {word} one: the adapter"
        " may learn length instead of quality. Add pairs where it is not."
    )
    return hit_of_set("length_bias", WARNING, message, most)
