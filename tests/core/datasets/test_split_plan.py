"""Splits that cannot leak: by question, retailer and time; whatever is near stays together."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.near import similar_questions
from core.datasets.records import Example, Split
from core.datasets.split_plan import SplitBy, SplitPlan, plan_splits
from core.datasets.table import Table, table_of
from core.errors import InvalidInputError


def rows_of(prompts: Sequence[str], answers: Sequence[str] | None = None) -> Table:
    told = answers or [f"answer {n}" for n in range(len(prompts))]
    return table_of(
        Example(prompt, answer, Split.TRAIN, None, n + 1)
        for n, (prompt, answer) in enumerate(zip(prompts, told, strict=True))
    )


def record(retailer: str, number: int, day: int = 1) -> str:
    return f"Harmonize: Retailer {retailer}\nzeit=2026-03-{day:02d}|kmp={number}|kost={number * 7}"


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=120),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.0, 0.3)]),
    st.integers(0, 9),
)
def test_equal_questions_never_lie_on_two_sides(
    numbers: list[int], shares: tuple[float, float, float], seed: int
) -> None:
    prompts = [
        record("Alpha", n) if k % 2 else record("Alpha", n).upper() + "  " for k, n in enumerate(numbers)
    ]
    outcome = plan_splits(
        rows_of(prompts), SplitPlan(shares=dict(zip(Split, shares, strict=True)), seed=seed)
    )
    sides: dict[int, set[Split]] = {}
    for number, split in zip(numbers, outcome.splits, strict=True):
        sides.setdefault(number, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(outcome.rows.values()) == len(numbers)
    assert shares[1] or not outcome.rows[Split.VALIDATION]


def test_the_shares_come_out_as_asked_where_groups_are_small() -> None:
    outcome = plan_splits(rows_of([record("Alpha", n) for n in range(1000)]), SplitPlan(seed=4))
    assert outcome.rows == {Split.TRAIN: 800, Split.VALIDATION: 100, Split.TEST: 100}
    assert outcome.groups == 1000
    assert outcome.largest_group == 1


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    table = rows_of([record("Alpha", n) for n in range(200)])
    first, again, other = (plan_splits(table, SplitPlan(seed=s)).splits for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_near_repeats_stay_together() -> None:
    words = [
        f"{one}{two}" for one in ("fresh", "dark", "crisp") for two in ("oat", "nut", "rye", "fig", "date")
    ]
    prompts = []
    for n in range(40):
        pair = f"{words[n % 15]} {words[(n * 7 + 3) % 15]}"
        text = f"Plan a campaign for {pair} granola number {n} with a budget of {n}00 euros"
        prompts += [text, text.replace("Plan a campaign", "Please plan a campaign")]
    table = rows_of(prompts, [f"same {n // 2}" for n in range(80)])
    pairs = similar_questions(table)
    assert len(pairs) >= 30  # the finder sees them; without that this test would say nothing
    outcome = plan_splits(table, SplitPlan(seed=2))
    assert all(outcome.splits[left] is outcome.splits[right] for left, right in pairs)
    assert outcome.groups < 60


def test_a_retailer_lies_on_one_side() -> None:
    names = ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta", "Eta", "Theta", "Iota", "Kappa"]
    prompts = [record(name, n) for name in names for n in range(30)]
    outcome = plan_splits(rows_of(prompts), SplitPlan(by=SplitBy.RETAILER, seed=1))
    for place, _name in enumerate(names):
        assert len(set(outcome.splits[place * 30 : place * 30 + 30])) == 1
    assert outcome.rows == {Split.TRAIN: 240, Split.VALIDATION: 30, Split.TEST: 30}


def test_time_trains_on_the_earlier_days_and_cuts_no_day_in_two() -> None:
    prompts = [record("Alpha", day * 100 + n, day) for day in range(1, 21) for n in range(10)]
    splits = plan_splits(rows_of(list(reversed(prompts))), SplitPlan(by=SplitBy.TIME)).splits[::-1]
    days = [splits[day * 10 : day * 10 + 10] for day in range(20)]
    assert all(len(set(day)) == 1 for day in days)
    assert [day[0] for day in days] == [Split.TRAIN] * 16 + [Split.VALIDATION] * 2 + [Split.TEST] * 2


def test_a_question_asked_again_later_is_not_trained_on() -> None:
    prompts = [f"Harmonize: Retailer Alpha\nid={n}" for n in range(40)]
    answers = [f'{{"ts":"2026-03-{n // 2 + 1:02d}T00:00:00Z","clicks":{n}}}' for n in range(40)]
    prompts[39] = prompts[0]
    splits = plan_splits(rows_of(prompts, answers), SplitPlan(by=SplitBy.TIME)).splits
    assert splits[0] is splits[39] is Split.TEST


@pytest.mark.parametrize(("by", "word"), [(SplitBy.RETAILER, "retailer"), (SplitBy.TIME, "day")])
def test_rows_that_do_not_say_what_to_split_by_are_refused(by: SplitBy, word: str) -> None:
    with pytest.raises(InvalidInputError, match=f"cannot be split by {word}"):
        plan_splits(rows_of([record("Alpha", 1), "Write a headline"]), SplitPlan(by=by))


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidInputError):
        SplitPlan(shares=dict(zip(Split, shares, strict=True)))


def test_no_rows_are_no_fault() -> None:
    assert plan_splits(rows_of([]), SplitPlan()).splits == ()
