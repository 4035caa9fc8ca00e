"""Train, validation and test rows that share nothing: no question, no near repeat, no retailer, no later day.

Rows that must stay together are joined into groups, and groups are dealt out whole. Equal questions and near repeats
always stay together, whatever else the split goes by.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from types import MappingProxyType

from core.datasets.check_answers import RETAILER
from core.datasets.near import similar_questions
from core.datasets.records import Split
from core.datasets.table import Table
from core.errors import InvalidInputError

DAY = re.compile(r"(?<!\d)(20\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))")
USUAL_SHARES: Mapping[Split, float] = MappingProxyType(
    {Split.TRAIN: 0.8, Split.VALIDATION: 0.1, Split.TEST: 0.1}
)
ORDER = (Split.TRAIN, Split.VALIDATION, Split.TEST)


class SplitBy(StrEnum):
    """What must not be on both sides of a split, besides equal questions and near repeats."""

    QUESTION = "question"  # nothing else
    RETAILER = "retailer"  # test rows are of retailers that training never saw
    TIME = "time"  # training has the earlier days, the test the latest


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How to split. Shares are of rows and sum to 1; `seed` decides what chance decides."""

    by: SplitBy = SplitBy.QUESTION
    shares: Mapping[Split, float] = field(default_factory=lambda: USUAL_SHARES)
    seed: int = 0

    def __post_init__(self) -> None:
        asked = [self.shares.get(split, 0.0) for split in Split]
        if min(asked) < 0 or abs(sum(asked) - 1) > 1e-6 or self.shares.get(Split.TRAIN, 0.0) <= 0:
            raise InvalidInputError(
                "The shares of the splits cannot be used.",
                "They must not be negative, must sum to 1, and training needs some rows.",
                "For example 0.8, 0.1 and 0.1.",
            )


@dataclass(frozen=True, slots=True)
class SplitOutcome:
    """The split of every row in order, what it came to, and how many groups were dealt out."""

    splits: tuple[Split, ...]
    rows: Mapping[Split, int]
    groups: int
    largest_group: int


def plan_splits(table: Table, plan: SplitPlan) -> SplitOutcome:
    """Deal the rows of a table out. Raises InvalidInputError when they do not say what is to be split by."""
    together = _Groups(len(table))
    together.join_equal(table.keys["asked"].to_list())
    for left, right in similar_questions(table):
        together.join(int(left), int(right))
    if plan.by is SplitBy.RETAILER:
        together.join_equal(_named(table, "retailer", RETAILER))
    groups = together.members()
    dealt = _in_order(groups, _days(table), plan) if plan.by is SplitBy.TIME else _at_random(groups, plan)
    counted = {split: dealt.count(split) for split in ORDER}
    return SplitOutcome(tuple(dealt), counted, len(groups), max(map(len, groups), default=0))


def _named(table: Table, what: str, pattern: str) -> list[str]:
    found = table.frame["prompt"].str.extract(pattern, 1)
    if found.null_count():
        raise _does_not_say(what, int(found.null_count()), len(table))
    return [str(name) for name in found.to_list()]


def _days(table: Table) -> list[str]:
    """The first day that each row names: in its answer (harmonized), else in its question."""
    days = []
    for answer, prompt in table.frame.select("answer", "prompt").iter_rows():
        match = DAY.search(answer) or DAY.search(prompt)
        days.append(match[1] if match else "")
    if missing := days.count(""):
        raise _does_not_say("day", missing, len(table))
    return days


def _does_not_say(what: str, missing: int, rows: int) -> InvalidInputError:
    return InvalidInputError(
        f"These rows cannot be split by {what}.",
        f"{missing:,} of {rows:,} rows name no {what}.",
        "Split by question, or remove those rows first.",
    )


def _at_random(groups: Sequence[Sequence[int]], plan: SplitPlan) -> list[Split]:
    """Whole groups by chance, each to the split that lacks most; large ones first, so that the shares can be met."""
    order = list(groups)
    Random(plan.seed).shuffle(order)
    order.sort(key=len, reverse=True)
    rows = sum(map(len, groups))
    wanted = {split: plan.shares.get(split, 0.0) * rows for split in ORDER}
    dealt = [Split.TRAIN] * rows
    for group in order:
        split = max(ORDER, key=lambda each: (wanted[each], each is Split.TRAIN))
        wanted[split] -= len(group)
        for row in group:
            dealt[row] = split
    return dealt


def _in_order(groups: Sequence[Sequence[int]], days: Sequence[str], plan: SplitPlan) -> list[Split]:
    """Days in order, never cut in two; a group lies where its earliest row does, so nothing later is trained on."""
    on_day: dict[str, list[int]] = defaultdict(list)
    for row, day in enumerate(days):
        on_day[day].append(row)
    split_of_day, seen, total = {}, 0, len(days)
    until_validation = plan.shares.get(Split.TRAIN, 0.0)
    until_test = until_validation + plan.shares.get(Split.VALIDATION, 0.0)
    for day in sorted(on_day):
        middle = (seen + len(on_day[day]) / 2) / total
        split_of_day[day] = (
            Split.TRAIN
            if middle < until_validation
            else Split.VALIDATION
            if middle < until_test
            else Split.TEST
        )
        seen += len(on_day[day])
    dealt = [split_of_day[day] for day in days]
    for group in groups:
        latest = max((dealt[row] for row in group), key=ORDER.index)
        for row in group:
            dealt[row] = latest
    return dealt


class _Groups:
    """Disjoint sets of rows (union by the smaller root, with path halving)."""

    def __init__(self, rows: int) -> None:
        self._parent = list(range(rows))

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def join_equal(self, keys: Iterable[object]) -> None:
        first: dict[object, int] = {}
        for row, key in enumerate(keys):
            self.join(first.setdefault(key, row), row)

    def members(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for row in range(len(self._parent)):
            found[self._root(row)].append(row)
        return list(found.values())

    def _root(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row
