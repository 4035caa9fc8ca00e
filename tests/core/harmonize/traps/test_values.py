"""Cells, identifiers and rows: what is doubted, and what is left alone."""

import random

import polars as pl
import pytest

from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import SourceCard
from core.harmonize.traps.values import CUTS, LIMITS
from tests.core.harmonize.trap_files import File, daily_report, event_stream, opened, texts


def found(file: File, *, mapped: bool = True) -> dict[str, Finding]:
    return {f.rule: f for f in find_traps(file.source, file.mapping if mapped else None, file.card)}


def column(name: str, values: list[object], **card: str) -> dict[str, Finding]:
    file = File(texts([{name: value, "n": i} for i, value in enumerate(values)]), [], SourceCard(**card))
    return found(file, mapped=False)


def test_codes_are_compared_without_case_and_spaces() -> None:
    file = daily_report().each("Placement", lambda v: f" {v.upper()} ", where=lambda i: i % 3 == 0)
    assert "value.unmapped" not in found(file)


def test_a_code_that_is_mapped_to_nothing_is_known() -> None:
    file = daily_report().each("Placement", lambda v: "other", where=lambda i: i == 0)
    codes = {
        "top_of_search": "sponsored_product",
        "product_page": "sponsored_display",
        "rest": "unknown",
        "Other": None,
    }
    assert "value.unmapped" not in found(file.rule("Placement", "placement_type", "enum_map", map=codes))
    assert "value.unmapped" not in found(file.rule("Placement", "placement_type", "drop"))
    assert "value.unmapped" in found(file)


def test_many_unknown_codes_are_counted_and_cut() -> None:
    sentence = found(
        daily_report().each("Placement", lambda v: f"code {hash(v) % 3}{random.Random(v).random()}"[:60])
    )["value.unmapped"].sentence
    assert sentence.startswith("600 rows of «Placement» hold what has no entry in the map")
    assert len(sentence) < 600


@pytest.mark.parametrize(
    "text", ["<10", "< 5", "*", "***", "Suppressed", "(suppressed)", "N/A (privacy)", "redacted"]
)
def test_each_way_of_holding_back_is_known(text: str) -> None:
    finding = column("orders", [text, *range(1, 30)])["value.suppressed"]
    assert (finding.rows, finding.lines) == (1, (2,))


def test_a_star_in_a_column_of_words_is_a_star() -> None:
    assert "value.suppressed" not in column("rating", ["*", "**", "good", "bad"] * 10)


@pytest.mark.parametrize("length", sorted(CUTS)[::4])
def test_names_that_end_at_a_limit_are_cut(length: int) -> None:
    rng = random.Random(length)
    names = [
        "".join(rng.choices("abcdefgh ", k=rng.randrange(5, 3 * length)))[:length].replace(" ", "_")
        for _ in range(300)
    ]
    assert column("name", list(names))["value.truncated_text"].rows == sum(
        len(name) == length for name in names
    )


def test_hashes_and_short_names_are_not_cut() -> None:
    rng = random.Random(5)
    hashes = [f"{rng.getrandbits(256):064x}" for _ in range(200)]
    names = ["x" * rng.randrange(3, 49) for _ in range(300)]
    one_long = [*("y" * rng.randrange(3, 40) for _ in range(300)), "z" * 255]
    for values in (hashes, names, one_long):
        assert "value.truncated_text" not in column("name", list(values))


@pytest.mark.parametrize("rows", [10_000, 65_536])
def test_a_round_number_of_rows_is_told(rows: int) -> None:
    findings = find_traps(opened(pl.DataFrame({"a": ["x"] * rows})), None, None, sample_rows=500)
    assert [(f.rule, f.severity) for f in findings] == [
        ("value.truncated_file", "note" if rows == 10_000 else "warning")
    ]
    assert rows in LIMITS
    assert find_traps(opened(pl.DataFrame({"a": ["x"] * (rows + 3)})), None, None, sample_rows=500) == []


@pytest.mark.parametrize("cell", ["#REF!", "#VALUE!", "#N/A", "########", "#DIV/0!"])
def test_errors_of_spreadsheets_are_told(cell: str) -> None:
    assert column("spend", [cell, *range(1, 40)])["value.spreadsheet_error"].lines == (2,)


@pytest.mark.parametrize(
    ("sign", "currency", "differs"),
    [("$", "USD", False), ("$", "CAD", False), ("€", "USD", True), ("zł", "PLN", False), ("£", "EUR", True)],
)
def test_a_sign_is_compared_with_the_card(sign: str, currency: str, differs: bool) -> None:
    told = column("spend", [f"{sign}{i}.50" for i in range(1, 40)], currency=currency)
    assert ("money.sign_differs" in told) is differs


def test_a_few_corrections_of_money_are_a_note_and_many_a_warning() -> None:
    few = [f"{'-' if i % 20 == 0 else ''}{i + 1}.00" for i in range(60)]
    many = [f"{'-' if i % 3 == 0 else ''}{i + 1}.00" for i in range(60)]
    assert column("sales", list(few))["value.negative"].severity == "note"
    assert column("sales", list(many))["value.negative"].severity == "warning"


# Identifiers and repeats.


@pytest.mark.parametrize("written", ["1.23457E+17", "1,23457E+17", "1E+15", "1.2e17"])
def test_an_id_in_powers_of_ten_is_spoiled(written: str) -> None:
    finding = column("campaign id", [written, *range(10**12, 10**12 + 20)])["id.spoiled"]
    assert (finding.rows, finding.lines) == (1, (2,))


def test_letters_that_look_like_powers_are_ids() -> None:
    assert "id.spoiled" not in column("campaign id", ["1E5A", "E+17", "12E", "A1.2E+1"] * 10)


def test_short_and_natural_ids_are_not_rounded() -> None:
    rng = random.Random(1)
    natural = [rng.randrange(10**17, 10**18) for _ in range(60)]
    short = [rng.randrange(10**6, 10**7) * 1000 for _ in range(60)]
    assert "id.rounded" not in column("campaign id", list(natural))
    assert "id.rounded" not in column("campaign id", list(short))
    assert "id.rounded" in column("campaign id", [each // 1000 * 1000 for each in natural])


def test_one_cell_at_the_end_of_32_bits_is_chance() -> None:
    assert "id.overflow" not in column("campaign id", [2147483647, *range(10**6, 10**6 + 40)])
    assert column("campaign id", [2147483647, 2147483647, *range(10**6, 10**6 + 40)])["id.overflow"].rows == 2


def test_repeats_with_other_numbers_are_corrections() -> None:
    file = event_stream()
    changed = file.frame.head(10).with_columns(media_cost=pl.lit("9.99"))
    finding = found(File(pl.concat([file.frame, changed]), file.rules, file.card))["value.repeated_event"]
    assert "in 10 the rows differ: corrections" in finding.sentence
    assert finding.lines == tuple(range(1502, 1512))


def test_blank_keys_are_never_repeats() -> None:
    file = event_stream().each("event_id", lambda v: "", where=lambda i: i % 2 == 0)
    assert "value.repeated_event" not in found(file)


def test_a_column_that_names_groups_is_no_key() -> None:
    file = event_stream().each("event_id", lambda v: f"batch {int(v, 16) % 9}")
    assert "value.repeated_event" not in found(file)


def test_equal_rows_of_a_few_codes_are_usual() -> None:
    rows = [{"a": "x", "b": i % 2, "c": i % 3} for i in range(100)]
    assert "value.repeated_row" not in found(File(texts(rows), [], SourceCard()), mapped=False)
