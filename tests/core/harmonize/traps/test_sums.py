"""Totals, parts, rates and copies are told from columns that only look alike."""

import random

import pytest

from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import SourceCard
from tests.core.harmonize.trap_files import File, daily_report, texts


def sums(rows: list[dict[str, object]]) -> list[Finding]:
    file = File(texts(rows), [], SourceCard())
    return [f for f in find_traps(file.source, None, file.card) if f.rule.startswith("sum.")]


def drawn(seed: int, count: int = 40) -> list[dict[str, object]]:
    rng = random.Random(seed)
    return [
        {
            "alpha": rng.randrange(1000, 9000),
            "beta": rng.randrange(10, 90),
            "gamma": f"{rng.uniform(1, 50):.2f}",
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_independent_columns_are_never_related(seed: int) -> None:
    assert sums(drawn(seed)) == []


@pytest.mark.parametrize(("factor", "said"), [(1, "over «alpha»: a rate"), (100, "× 100"), (1000, "× 1,000")])
def test_a_quotient_is_named_with_its_factor(factor: int, said: str) -> None:
    rows = [{**row, "rate": f"{row['beta'] / row['alpha'] * factor:.4f}"} for row in drawn(1)]  # type: ignore[operator]
    (finding,) = sums(rows)
    assert finding.columns == ("rate", "beta", "alpha")
    assert said in finding.sentence


def test_the_name_tells_which_of_three_related_columns_is_the_rate() -> None:
    rng = random.Random(3)
    rows = []
    for _ in range(40):
        cost, roas = rng.randrange(100, 9000) / 100, rng.randrange(10, 900) / 100
        rows.append({"cost": f"{cost:.4f}", "sales": f"{cost * roas:.4f}", "roas": f"{roas:.4f}"})
    (finding,) = sums(rows)
    assert finding.columns == ("roas", "sales", "cost")


def test_a_rate_with_one_digit_is_left_alone() -> None:
    """0.1 or 0.2 fits too many quotients by chance."""
    assert sums([{**row, "rate": f"{row['beta'] / row['alpha']:.2f}"} for row in drawn(4)]) == []  # type: ignore[operator]


@pytest.mark.parametrize("parts", [2, 3])
def test_a_sum_of_a_few_columns_is_a_total(parts: int) -> None:
    rng = random.Random(parts)
    rows = []
    for _ in range(30):
        pieces = [round(rng.uniform(1, 90), 2) for _ in range(parts)]
        rows.append(
            {"all": f"{sum(pieces):.2f}", **{f"piece {i}": f"{piece:.2f}" for i, piece in enumerate(pieces)}}
        )
    (finding,) = sums(rows)
    assert finding.rule == "sum.total_column"
    assert finding.columns == ("all", *(f"piece {i}" for i in range(parts)))


def test_a_column_and_zeros_are_no_sum() -> None:
    rows = [{"a": i + 5, "b": i + 5 if i else 4, "zero": 0 if i else 1, "c": i % 7} for i in range(40)]
    assert [f.rule for f in sums(rows) if f.rule == "sum.total_column"] == []


def test_a_blank_is_not_the_same_as_zero_in_a_copy() -> None:
    rows = [{"a": i, "b": i if i else None, "c": i} for i in range(40)]
    (finding,) = sums(rows)
    assert (finding.rule, finding.columns) == ("sum.duplicate_column", ("a", "c"))


def test_the_same_number_written_otherwise_is_a_copy() -> None:
    (finding,) = sums([{"a": f"{i}.50", "b": f"{i}.5"} for i in range(40)])
    assert (finding.severity, finding.columns) == ("warning", ("a", "b"))


def test_a_name_equal_to_its_id_is_only_a_note() -> None:
    rows = [{"line": f"L{i % 9}", "line name": f"L{i % 9}", "n": i * i % 31} for i in range(40)]
    (finding,) = sums(rows)
    assert finding.severity == "note"


def test_a_constant_column_is_no_copy() -> None:
    assert sums([{"a": 0, "b": 0, "c": "x", "d": "x"} for _ in range(40)]) == []


# Total rows.


def totals(file: File) -> list[Finding]:
    return [f for f in find_traps(file.source, None, file.card) if f.rule == "sum.total_row"]


@pytest.mark.parametrize(
    "word",
    ["Total", "GRAND TOTAL", "Summe", "Gesamt", "Totale", "Итого", "合計", "Subtotal:", "total général"],
)
def test_totals_are_known_in_many_languages(word: str) -> None:
    file = daily_report(days=3).add_rows([{"Campaign Name": word, "Clicks": 7}])
    (finding,) = totals(file)
    assert finding.lines == (62,)


@pytest.mark.parametrize(
    "name", ["Total Fitness", "Summer sale", "Totality", "Gesamtkunstwerk", "sum of all fears"]
)
def test_a_campaign_that_sounds_like_a_total_is_none(name: str) -> None:
    assert (
        totals(daily_report(days=3).each("Campaign Name", lambda v: name, where=lambda i: i % 9 == 0)) == []
    )


def test_a_last_row_without_names_is_a_total_only_where_its_numbers_add_up() -> None:
    file = daily_report(days=3)
    counted = {n: sum(int(v) for v in file.frame.get_column(n)) for n in ("Impressions", "Clicks")}
    (finding,) = totals(file.add_rows([counted]))
    assert finding.sentence == "The last row is the sum of all others in «Impressions» and «Clicks»."
    assert totals(file.add_rows([{"Impressions": 5, "Clicks": 3}])) == []


def test_a_total_below_a_table_of_one_row_is_not_guessed() -> None:
    assert totals(File(texts([{"a": 1, "b": 5}, {"a": 1, "b": 5}]), [], SourceCard())) == []
