"""Checks of how many rows there are, of empty and repeated ones, and of rows that leak between the splits."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from core.datasets.findings import ERROR, NOWHERE, WARNING, Hit, Places, hit, hit_of_set
from core.datasets.near import NearRows
from core.datasets.records import Fix, Split
from core.datasets.table import Table

LEAST_TRAINING_ROWS = 8
FEW_TRAINING_ROWS = 50
FEW_TEST_ROWS = 30


def enough_rows(table: Table, faulty: Places = NOWHERE, flawed: Places = NOWHERE) -> Iterator[Hit]:
    """Too few rows to learn from, or to measure on. Only rows without a finding of their own count.

    `faulty` rows have an error, `flawed` ones an error or a warning.
    """
    training, test = (_without(table, split, flawed) for split in (Split.TRAIN, Split.TEST))
    sound = " sound" if len(flawed) else ""
    if training < FEW_TRAINING_ROWS:
        blocks = _without(table, Split.TRAIN, faulty) < LEAST_TRAINING_ROWS
        needed = f"at least {LEAST_TRAINING_ROWS} are needed" if blocks else "that is little to learn from"
        message = f"The set has {_rows(training, sound, Split.TRAIN)}; {needed}. Add rows, best 200 or more."
        yield hit_of_set("few_training_rows", ERROR if blocks else WARNING, message, counted=training)
    if test < FEW_TEST_ROWS:
        measured = "can only be measured roughly" if test else "cannot be measured"
        message = (
            f"The set has {_rows(test, sound, Split.TEST)}: the gain {measured}. Add some, best 100 or more."
        )
        yield hit_of_set("few_test_rows", WARNING, message, counted=test, fix=Fix.RELABEL_SPLIT)


def _rows(count: int, sound: str, split: Split) -> str:
    word = "training" if split is Split.TRAIN else "test"
    return f"{count}{sound} {word} row{'' if count == 1 else 's'}"


def _without(table: Table, split: Split, left_out: Places) -> int:
    counted = table.split_is(split).to_numpy().copy()
    counted[left_out] = False
    return int(counted.sum())


def empty(table: Table, column: str, name: str) -> Hit | None:
    """Texts of nothing but white space."""
    places = table.where(pl.col(column).str.strip_chars() == "")
    article = "an" if name[0] in "aeiou" else "a"
    return hit(
        f"empty_{name.replace(' ', '_')}",
        ERROR,
        places,
        f"1 row has {article} {name} that is empty. Fill it in or remove the row.",
        f"{{rows}} rows have {article} {name} that is empty. Fill them in or remove the rows.",
        Fix.DROP_ROWS,
    )


def leakage(table: Table, near: NearRows) -> Iterator[Hit]:
    """Test and validation prompts that are also trained on, word for word or nearly so."""
    keys = table.keys
    trained = keys.filter(pl.col("split") == str(Split.TRAIN))["asked"].unique()
    for split, severity, spoiled in (
        (Split.TEST, ERROR, "the result would look better than it is"),
        (Split.VALIDATION, WARNING, "the validation loss will look better than it is"),
    ):
        held_out = keys["split"] == str(split)
        same = table.where(held_out & keys["asked"].is_in(trained.implode()))
        similar = np.setdiff1d(np.intersect1d(near.of_training, table.where(held_out)), same)
        cure = "Move {it} to the training rows, remove one of the two, or leave out the split column."
        yield from _some(
            hit(
                f"{split}_leakage",
                severity,
                same,
                f"1 {split} prompt is also a training prompt: {spoiled}. {cure.format(it='it')}",
                f"{{rows}} {split} prompts are also training prompts: {spoiled}. {cure.format(it='them')}",
                Fix.MOVE_TO_TRAIN,
            ),
            hit(
                f"near_{split}_leakage",
                WARNING,
                similar,
                f"1 {split} prompt is nearly a training prompt: {spoiled}. {cure.format(it='it')}",
                f"{{rows}} {split} prompts are nearly training prompts: {spoiled}. {cure.format(it='them')}",
                Fix.MOVE_TO_TRAIN,
            ),
        )


def duplicates(table: Table, near: NearRows) -> Iterator[Hit]:
    """The same row again, to the letter or nearly so; the first one is not counted."""
    columns = ["system", "history", "prompt", "answer", "rejected", "liked"]
    content = table.frame.select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\0").hash()
    ).to_series()
    same = table.where(~content.is_first_distinct())
    yield from _some(
        hit(
            "duplicate_rows",
            WARNING,
            same,
            "1 row repeats an earlier one. It weighs double; remove it unless that is meant.",
            "{rows} rows repeat earlier ones. They weigh double; remove them unless that is meant.",
            Fix.KEEP_FIRST_DUPLICATE,
        ),
        hit(
            "near_duplicates",
            WARNING,
            np.setdiff1d(near.repeats, same),
            "1 row is nearly an earlier one (the same numbers, nearly the same words). Remove it unless it is meant.",
            "{rows} rows are nearly earlier ones (the same numbers, nearly the same words)."
            " Remove them unless they are meant.",
            Fix.KEEP_FIRST_DUPLICATE,
        ),
    )


def several_turns(table: Table) -> Hit | None:
    """Conversations of more than one question."""
    return hit(
        "several_turns",
        WARNING,
        table.where(pl.col("history") != ""),
        "1 row is a conversation of several turns. Only its last answer is learned; the turns before are context.",
        "{rows} rows are conversations of several turns. Only the last answer of each is learned;"
        " the turns before are context.",
    )


def _some(*found: Hit | None) -> Iterator[Hit]:
    yield from (each for each in found if each is not None)
