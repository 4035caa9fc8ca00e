"""The score follows its formula, every lost point has a rule, and no planted defect ever raises it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.check import check_table
from core.datasets.records import Example, Split
from core.datasets.rows import Fault
from core.datasets.score import WEIGHTS, Band, Score, band_of, measuring_factor, score_of, training_factor
from core.datasets.table import table_of


def record(n: int) -> str:
    return json.dumps({"ts": f"2026-01-02T03:{n % 60:02d}:00Z", "clicks": n, "event_type": "click"})


def clean(rows: int) -> list[Example]:
    splits = [Split.TRAIN] * 7 + [Split.VALIDATION] + [Split.TEST] * 2
    return [
        Example(f"Harmonize: w={n * 7919} c=K{n}", record(n), splits[n % 10], None, n + 1)
        for n in range(rows)
    ]


def score(rows: list[Example], faults: int = 0) -> Score:
    table = table_of(rows)
    broken = {"parse_error": [Fault(n, "it is broken") for n in range(1, faults + 1)]} if faults else {}
    return score_of(table, check_table(table), broken)


def test_a_clean_set_has_a_hundred_points_and_nothing_is_lost() -> None:
    assert score(clean(200)) == Score(100.0, Band.EXCELLENT, ())


def test_one_row_in_a_hundred_with_an_error_costs_three_points() -> None:
    rows = clean(200)
    for place in (30, 40):
        rows[place] = replace(rows[place], completion=" ")
    # 100 · 198 / (198 + 3·2) = 97.06
    found = score(rows)
    assert found.value == 97.0
    assert [(each.rule, each.points, each.rows, each.lines) for each in found.lost] == [
        ("empty_completion", 2.94, 2, (31, 41))
    ]


def test_rows_that_cannot_be_read_cost_as_much_as_rows_with_an_error() -> None:
    # 100 · 200 / (200 + 3·10) = 86.96
    found = score(clean(200), faults=10)
    assert (found.value, found.band) == (86.9, Band.FAIR)
    assert (found.lost[0].rule, found.lost[0].points, found.lost[0].rows) == ("parse_error", 13.04, 10)


def test_the_points_of_a_row_with_two_findings_are_shared_by_their_weights() -> None:
    rows = clean(200)
    rows[30] = replace(rows[30], prompt="mail jane.doe@shop.example now", completion="CafÃ© [Your Name]")
    lost = {each.rule: each.points for each in score(rows).lost}
    assert set(lost) == {"personal_data", "broken_text", "placeholder", "output_not_json"}
    assert lost["personal_data"] == pytest.approx(1.5 * lost["broken_text"], abs=0.01)
    # The weights add up to 2.0, but a row costs 1 at most.
    assert sum(lost.values()) == pytest.approx(100 * (1 - 199 / 202), abs=0.02)


def test_lost_points_and_score_make_a_hundred() -> None:
    rows = [replace(each, completion="") if each.line % 9 == 0 else each for each in clean(40)]
    found = score(rows, faults=3)
    assert found.value + sum(each.points for each in found.lost) == pytest.approx(100, abs=0.15)
    assert {each.rule for each in found.lost} == {
        *("empty_completion", "parse_error", "few_training_rows", "few_test_rows")
    }


def test_a_set_without_rows_has_no_points_and_says_why() -> None:
    found = score([])
    assert (found.value, found.band) == (0.0, Band.POOR)
    assert [each.rule for each in found.lost] == ["few_training_rows"]


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (100, "excellent"),
        (95, "excellent"),
        (94.9, "good"),
        (90, "good"),
        (89.9, "fair"),
        (85, "fair"),
        (84.9, "poor"),
    ],
)
def test_bands_begin_where_they_say(value, band) -> None:
    assert band_of(value) == band


def test_more_sound_rows_never_score_less() -> None:
    for factor in (training_factor, measuring_factor):
        values = [factor(n) for n in range(120)]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(1)
    assert training_factor(8) == pytest.approx(0.9)
    assert all(0 <= weight <= 1 for weight in WEIGHTS.values())


DEFECTS = {
    "empty prompt": lambda n, rows: Example(" ", record(n), Split.TRAIN, None, n),
    "empty answer": lambda n, rows: Example(f"q {n * 31}", "", Split.TEST, None, n),
    "repeated": lambda n, rows: replace(rows[n % 17], line=n),
    "nearly repeated": lambda n, rows: replace(
        rows[n % 17], prompt=rows[n % 17].prompt.upper() + " !", line=n
    ),
    "contradiction": lambda n, rows: replace(rows[n % 17], completion=record(n + 9), line=n),
    "leak": lambda n, rows: replace(rows[n % 5], split=Split.TEST, line=n),
    "not JSON": lambda n, rows: Example(f"q {n * 37}", "broken {", Split.TRAIN, None, n),
    "not RMIS": lambda n, rows: Example(f"q {n * 41}", '{"clicks": "many"}', Split.TRAIN, None, n),
    "personal": lambda n, rows: Example(f"mail a{n}@shop.example {n * 43}", record(n), Split.TRAIN, None, n),
    "secret": lambda n, rows: Example(f"AKIAABCDEFGHIJKLMNOP {n * 43}", record(n), Split.TRAIN, None, n),
    "broken": lambda n, rows: Example(f"CafÃ© {n * 47}", record(n), Split.TRAIN, None, n),
    "space": lambda n, rows: Example(f"q {n * 53}", record(n) + " ", Split.TRAIN, None, n),
    "refusal": lambda n, rows: Example(f"q {n * 59}", "I'm sorry, but I cannot help.", Split.TEST, None, n),
}


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(20, 120),
    planted=st.lists(st.sampled_from(sorted(DEFECTS)), min_size=1, max_size=12),
    faults=st.integers(0, 3),
)
def test_one_more_defective_row_never_raises_the_score(size, planted, faults) -> None:
    rows = clean(size)
    before = score(rows, faults).value
    for n, kind in enumerate(planted):
        rows = [*rows, DEFECTS[kind](1000 + n, rows[:20])]
        after = score(rows, faults).value
        assert after <= before, kind
        before = after
    assert score(rows, faults + 1).value <= before


def test_every_rule_that_finds_rows_has_a_weight() -> None:
    rows = clean(60)
    table = table_of([*rows, *(defect(900 + n, rows) for n, defect in enumerate(DEFECTS.values()))])
    for found in check_table(table):
        assert found.of_set or found.rule in WEIGHTS
