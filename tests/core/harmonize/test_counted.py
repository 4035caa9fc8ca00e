"""One and many."""

import re
from pathlib import Path

import pytest

from core.harmonize.counted import agree, counted
from tests.core.harmonize.apply_files import harmonized, mapping_of, source_of

PACKAGE = Path(__file__).parents[3] / "core" / "harmonize"


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12_345, "12,345 rows")]
)
def test_a_noun_goes_with_its_number(count: int, told: str) -> None:
    assert counted(count, "row") == told


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert (counted(1, "currency", "currencies"), counted(2, "currency", "currencies")) == (
        "1 currency",
        "2 currencies",
    )


@pytest.mark.parametrize(("verb", "one"), [("are", "is"), ("have", "has"), ("were", "was"), ("lie", "lies")])
def test_a_verb_goes_with_its_number(verb: str, one: str) -> None:
    assert (agree(1, verb), agree(2, verb), agree(0, verb)) == (one, verb, verb)


def test_one_broken_row_and_one_lost_value_are_told_as_one(tmp_path: Path) -> None:
    source = source_of(tmp_path, 'clicks,cost\n1,2\n"3,4\nx,5\n')
    _, report = harmonized(tmp_path, source, mapping_of(("clicks", "clicks"), ("cost", "cost")))
    told = " ".join(each.sentence for each in report.findings)
    assert not re.search(
        r"\b1 (?:rows|values|columns|lines|days)\b|\b1 (?:row|value)\b[^.]*? (?:are|mean|stay) ", told
    )
    assert "1 row cannot be read and is missing" in told


def test_no_plural_is_made_by_hand() -> None:
    by_hand = re.compile(r'"1 \w+" if|== 1 else f"\{')
    assert [
        path.name
        for path in PACKAGE.rglob("*.py")
        if path.name != "counted.py" and by_hand.search(path.read_text("utf-8"))
    ] == []
