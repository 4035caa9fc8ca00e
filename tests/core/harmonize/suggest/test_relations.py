"""Quotients, repeats and sums among columns."""

from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.suggest.profile import profile_values
from core.harmonize.suggest.relations import find_relations

CLICKS = [52, 31, 88, 17, 44, 63]
IMPRESSIONS = [4120, 2877, 9011, 1543, 3906, 5038]
COST = [41.22, 19.75, 63.10, 9.99, 35.42, 50.07]


def columns(**values: list[object]):
    return [
        profile_values(name, [None if each is None else str(each) for each in column])
        for name, column in values.items()
    ]


def test_a_rate_is_found_whatever_its_name_and_factor() -> None:
    rate = [f"{100 * a / b:.3f}" for a, b in zip(CLICKS, IMPRESSIONS, strict=True)]
    found = find_relations(columns(x=CLICKS, y=IMPRESSIONS, z=rate)).quotients
    assert [(each.top, each.bottom, each.factor) for each in found["z"]] == [("x", "y", 100.0)]


def test_a_rate_that_is_wrong_in_one_row_is_none() -> None:
    rate = [f"{a / b:.4f}" for a, b in zip(COST, CLICKS, strict=True)]
    rate[2] = "9.9999"
    assert find_relations(columns(cost=COST, clicks=CLICKS, z=rate)).quotients == {}


def test_few_digits_prove_nothing() -> None:
    assert find_relations(columns(a=[1, 2, 3], b=[2, 4, 6], c=["0.5", "0.5", "0.5"])).quotients == {}


def test_rows_with_a_blank_or_a_zero_are_passed_over() -> None:
    cost, clicks = [*COST, 0, None], [*CLICKS, 0, 12]
    rate = [*(f"{a / b:.4f}" for a, b in zip(COST, CLICKS, strict=True)), "0", None]
    assert "z" in find_relations(columns(cost=cost, clicks=clicks, z=rate)).quotients


def test_equal_columns_are_twins_of_the_first() -> None:
    found = find_relations(
        columns(
            cost=COST,
            clicks=CLICKS,
            spend=[f"{each:.3f}" for each in COST],
            names=list("abcdef"),
            again=list("abcdef"),
        )
    )
    assert found.twins == {"spend": "cost", "again": "names"}


def test_a_constant_column_is_nobodys_twin() -> None:
    assert find_relations(columns(a=[5, 5, 5], b=[5, 5, 5])).twins == {}


def test_a_total_is_found_beside_its_parts() -> None:
    same, other = [120.5, 88.25, 301.75, 42.0, 76.4, 55.1], [30.25, 11.5, 99.0, 7.75, 20.2, 13.9]
    total = [round(a + b, 2) for a, b in zip(same, other, strict=True)]
    assert find_relations(columns(same=same, other=other, total=total)).sums == {"total": ("same", "other")}


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=4, max_size=4), max_size=5))
def test_any_columns_are_compared_without_failing(values: list[list[int | None]]) -> None:
    find_relations(columns(**{f"c{index}": column for index, column in enumerate(values)}))
