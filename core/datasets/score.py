"""The score of a training set, 0 to 100.

Every rule about rows has a weight between 0 and 1 (`WEIGHTS`). A row costs the sum of the weights of the rules that
found it, at most 1; a row that cannot be read costs 1. With C rows that cost nothing and D, the sum of all costs,

    score = 100 · C / (C + 3·D) · training(C_train) · measuring(C_test)

The first factor weighs what is wrong against what is right: a set in which 1 % of the rows have an error loses 3
points, 5 % lose 14. The others take from small sets: `training` is 0.5 + 0.04·n below 8 rows that cost nothing (0 for
none), then grows from 0.9 to 1 at 50 rows; `measuring` grows from 0.98 without a test row to 1 at 30. Findings about the
set as a whole (balance, language, length bias) cost nothing: they ask for a look, and no row is wrong.

C never grows and D never falls when a row with a finding is added, so such a row never raises the score. (The rules
that ask what most rows are like hold while the planted rows are a minority.)
Every lost point belongs to a rule: the first factor's by the shares of the rows' costs, the others' to
`few_training_rows` and `few_test_rows`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from core.datasets.check_prompts import FEW_TEST_ROWS, FEW_TRAINING_ROWS, LEAST_TRAINING_ROWS
from core.datasets.findings import SHOWN_LINES, Hit
from core.datasets.records import Split
from core.datasets.rows import Fault
from core.datasets.table import Table

SEVERITY_OF_COST = 3.0
#: Count up whenever a rule finds other rows or weighs them otherwise: scores of an earlier edition are not shown.
EDITION = 1
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "parse_error": 1.0,
        "not_utf8": 1.0,
        "wrong_columns": 1.0,
        "wrong_type": 1.0,
        "empty_prompt": 1.0,
        "empty_completion": 1.0,
        "empty_chosen_answer": 1.0,
        "empty_rejected_answer": 1.0,
        "equal_pair": 1.0,
        "test_leakage": 1.0,
        "near_test_leakage": 0.7,
        "validation_leakage": 0.5,
        "near_validation_leakage": 0.4,
        "too_long_tokens": 1.0,
        "secrets": 1.0,
        "unknown_target": 0.8,
        "bad_transform": 0.8,
        "bad_qualifier": 0.6,
        "rmis_record": 0.6,
        "output_not_json": 0.6,
        "tool_call": 0.6,
        "contradictions": 0.6,
        "copied_prompt": 0.6,
        "personal_data": 0.6,
        "odd_types": 0.4,
        "broken_text": 0.4,
        "boilerplate": 0.4,
        "placeholder": 0.4,
        "duplicate_rows": 0.3,
        "near_duplicates": 0.3,
        "rare_answers": 0.0,
        "too_long_characters": 0.2,
        "stray_space": 0.1,
        "several_turns": 0.0,
    }
)


class Band(StrEnum):
    """What a score means."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class LostPoints:
    """What one rule costs: points, how many rows, and the lines of the first ten."""

    rule: str
    points: float
    rows: int
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """The score in tenths, its band, and where the points went, most first."""

    value: float
    band: Band
    lost: tuple[LostPoints, ...]


def score_of(table: Table, hits: Sequence[Hit], faults: Mapping[str, Sequence[Fault]]) -> Score:
    """The score of a set with these findings; `faults` are its unusable rows by rule."""
    costing = [each for each in hits if not each.of_set and WEIGHTS[each.rule]]
    raw = np.zeros(len(table))
    for each in costing:
        raw[each.places] += WEIGHTS[each.rule]
    cost = np.minimum(raw, 1)
    unusable = sum(map(len, faults.values()))
    total, clean = float(cost.sum()) + unusable, raw == 0
    sound = int(clean.sum())
    first = sound / (sound + SEVERITY_OF_COST * total) if sound else 0.0
    training, test = (int((clean & table.split_is(s).to_numpy()).sum()) for s in (Split.TRAIN, Split.TEST))
    second, third = training_factor(training), measuring_factor(test)

    lost = [
        LostPoints(
            each.rule,
            100
            * (1 - first)
            * float((WEIGHTS[each.rule] * cost[each.places] / raw[each.places]).sum())
            / total,
            len(each.places),
            tuple(int(line) for line in table.lines[each.places[:SHOWN_LINES]]),
        )
        for each in costing
    ]
    lost += [
        LostPoints(
            rule,
            100 * (1 - first) * len(found) / total,
            len(found),
            tuple(f.line for f in found[:SHOWN_LINES]),
        )
        for rule, found in faults.items()
    ]
    # Without any row there is nothing else to blame.
    base = 100 * first if total or sound else 100.0
    lost.append(LostPoints("few_training_rows", base * (1 - second), training, ()))
    lost.append(LostPoints("few_test_rows", base * second * (1 - third), test, ()))
    told = [LostPoints(e.rule, round(e.points, 2), e.rows, e.lines) for e in lost if e.points > 0]
    value = math.floor(1000 * first * second * third + 1e-9) / 10
    return Score(value, band_of(value), tuple(sorted(told, key=lambda e: (-e.points, e.rule))))


def band_of(value: float) -> Band:
    """95 to 100 excellent, 90 to 94 good, 85 to 89 fair, below 85 poor."""
    bounds = ((95.0, Band.EXCELLENT), (90.0, Band.GOOD), (85.0, Band.FAIR))
    return next((band for least, band in bounds if value >= least), Band.POOR)


def training_factor(rows: int) -> float:
    """What is left of the score with so many sound training rows."""
    if rows == 0:
        return 0.0
    if rows < LEAST_TRAINING_ROWS:
        return 0.5 + 0.04 * rows
    return 0.9 + 0.1 * min(1.0, (rows - LEAST_TRAINING_ROWS) / (FEW_TRAINING_ROWS - LEAST_TRAINING_ROWS))


def measuring_factor(rows: int) -> float:
    """What is left of the score with so many sound test rows."""
    return 0.98 + 0.02 * min(1.0, rows / FEW_TEST_ROWS)
