"""Descriptions of columns in the forms in which people have them."""

import time
from pathlib import Path

import pytest

from core.errors import InvalidInputError
from core.harmonize.documents import parse_documents, read_documents

WANTED = {"spend": "Cost in micros, per day.", "clk": "Clicks"}


@pytest.mark.parametrize(
    "text",
    [
        '{"spend": "Cost in micros, per day.", "clk": {"description": "Clicks"}}',
        '[{"name": "spend", "description": "Cost in micros,  per day."}, {"field": "clk", "meaning": "Clicks"}]',
        "spend: Cost in micros, per day.\nclk: Clicks\n",
        "- `spend` – Cost in micros, per day.\n- `clk` – Clicks\n",
        'column,description\nspend,"Cost in micros, per day."\nclk,Clicks\n',
        "column\tdescription\nspend\tCost in micros, per day.\nclk\tClicks\n",
        "| Column | Description |\n|---|---|\n| spend | Cost in micros, per day. |\n| clk | Clicks |\n",
        "spend;Cost in micros, per day.\r\nclk;Clicks\r\n",
    ],
)
def test_every_usual_form_says_the_same(text: str) -> None:
    assert parse_documents(text) == WANTED


def test_the_first_description_counts_and_a_long_one_is_cut() -> None:
    found = parse_documents(f"a: first\na: second\nb: {'x' * 5000}")
    assert found["a"] == "first"
    assert len(found["b"]) == 1000


@pytest.mark.parametrize("text", ["", "just prose without a colon", "[1, 2]", "3", "{}", "[" * 100_000])
def test_text_that_describes_no_column_gives_nothing(text: str) -> None:
    assert parse_documents(text) == {}


def test_a_hostile_description_is_read_quickly() -> None:
    began = time.process_time()
    parse_documents("`" * 200_000 + "\n" + "a " * 500_000)
    parse_documents(("x" * 199 + " ") * 10_000)
    assert time.process_time() - began < 2


def test_a_file_is_read_with_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "columns.md"
    path.write_bytes(b"\xef\xbb\xbfspend: Cost\n\xff: ?\n")
    assert read_documents(path)["spend"] == "Cost"


@pytest.mark.parametrize(
    ("raw", "words"), [(b"", "nothing of any column"), (b"a: b\n" * 600_000, "too large")]
)
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "columns.txt"
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match=words):
        read_documents(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_documents(tmp_path / "none.txt")
