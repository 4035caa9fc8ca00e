from pathlib import Path

import pytest

from core.errors import InvalidInputError, NotFoundError
from core.harmonize.lineage import explain_cell
from core.harmonize.mapping_files import mapping_digest
from tests.core.harmonize.apply_files import harmonized, lines_of, mapping_of, source_of

MAPPING = mapping_of(
    ("day", "ts", {"op": "to_utc", "format": "%d/%m/%y", "source_tz": "Europe/Berlin"}),
    ("who", "user_id", {"op": "pseudonymize"}),
    ("spend", "cost", {"op": "divide", "by": 100}),
    ("place", "placement_type", {"op": "enum_map", "map": {"x": "video"}}),
    retailer="Shop",
    version=4,
)
TEXT = "title\n\nday,who,spend,place\n02/03/26,ann,150,x\n03/03/26,bob,n/a,y\n"
KEY = b"k" * 32


def test_every_cell_leads_back_to_what_stands_in_the_file(tmp_path: Path) -> None:
    source = source_of(tmp_path, TEXT)
    rows, _ = harmonized(tmp_path, source, MAPPING, pseudonym_key=KEY)
    text = TEXT.splitlines()
    for row in rows.to_dicts():
        for rule in MAPPING.rules:
            cell = explain_cell(
                source, MAPPING, line=row["lineage.line"], target=rule.target or "", pseudonym_key=KEY
            )
            assert cell.value == row[rule.target or ""]
            assert cell.rule == rule
            if not cell.secret:
                assert cell.raw is not None
                assert cell.raw in text[cell.line - 1].split(",")
            assert (cell.file, cell.mapping_version, cell.mapping_digest) == (
                "report.csv",
                4,
                mapping_digest(MAPPING),
            )


def test_a_cell_tells_its_raw_value_and_rule(tmp_path: Path) -> None:
    cell = explain_cell(source_of(tmp_path, TEXT), MAPPING, line=4, target="cost", pseudonym_key=KEY)
    assert (cell.source_field, cell.raw, cell.value, cell.lines) == ("spend", "150", 1.5, (4,))
    unmapped = explain_cell(
        source_of(tmp_path, TEXT), MAPPING, line=5, target="placement_type", pseudonym_key=KEY
    )
    assert (unmapped.raw, unmapped.value) == ("y", "unknown")


def test_a_secret_is_not_told(tmp_path: Path) -> None:
    cell = explain_cell(source_of(tmp_path, TEXT), MAPPING, line=4, target="user_id", pseudonym_key=KEY)
    assert (cell.secret, cell.raw) == (True, None)
    assert "ann" not in repr(cell)


def test_what_the_mapping_says_of_the_whole_file_has_no_column(tmp_path: Path) -> None:
    cell = explain_cell(source_of(tmp_path, TEXT), MAPPING, line=4, target="retailer", pseudonym_key=KEY)
    assert (cell.source_field, cell.rule, cell.value) == (None, None, "Shop")


def test_rows_of_one_line_are_told_apart(tmp_path: Path) -> None:
    source = lines_of(tmp_path, [{"i": [{"s": "A"}, {"s": "B"}]}, {"i": [{"s": "C"}]}])
    mapping = mapping_of(("i.s", "sku", {"op": "explode", "path": "i"}))
    found = [explain_cell(source, mapping, line=1, target="sku", row=row).value for row in (0, 1)]
    assert found == ["A", "B"]


def test_a_sum_of_corrections_tells_all_its_lines(tmp_path: Path) -> None:
    source = source_of(tmp_path, "k,c\na,1\nb,2\na,-1\n,4\n")
    mapping = mapping_of(("k", "campaign_id"), ("c", "cost", {"op": "sum_delta", "key": "k"}))
    assert explain_cell(source, mapping, line=2, target="cost").lines == (2, 4)
    assert explain_cell(source, mapping, line=5, target="cost").lines == (5,)


def test_a_line_or_column_that_there_is_not_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, TEXT)
    with pytest.raises(NotFoundError):
        explain_cell(source, MAPPING, line=99, target="cost", pseudonym_key=KEY)
    with pytest.raises(NotFoundError):
        explain_cell(source, MAPPING, line=4, row=1, target="cost", pseudonym_key=KEY)
    with pytest.raises(InvalidInputError, match="clicks"):
        explain_cell(source, MAPPING, line=4, target="clicks", pseudonym_key=KEY)
