import pytest

from core.harmonize.source.header import ONE_COLUMN, column_names, find_delimiter, find_header, head_rows
from core.harmonize.source.records import LINE


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb, c\n1\tx, y\n2\tz\n", "\t"),
        ("a|b|c\n1|x,y|3\n", "|"),
        ('"a;b","c;d"\n"1;2","3;4"\n', ","),
        ("Report, all campaigns\nFrom, to\n\na;b;c\n1;2;3\n4;5;6\n", ";"),
        ("name\nDoe, Jane\nRoe\nPoe\nLoe; x\n", ONE_COLUMN),
        ("name\nx\n", ONE_COLUMN),
    ],
)
def test_the_delimiter_is_the_sign_that_makes_an_even_table(text: str, delimiter: str) -> None:
    assert find_delimiter(lines_of(text)) == delimiter


def header(text: str, delimiter: str = ",") -> tuple[tuple[str, ...], int]:
    found = find_header(head_rows(lines_of(text), delimiter))
    return found.columns, found.data_line


@pytest.mark.parametrize(
    ("text", "columns", "data_line"),
    [
        ("a,b\n1,2\n", ("a", "b"), 2),
        ("\n\na,b\n\n1,2\n", ("a", "b"), 5),
        ("Title\nFrom,To,\n\na,b,c\n1,2,3\n1,2,3\n", ("a", "b", "c"), 5),
        ("Title,,,\nZone,UTC,,\na,b,c,d\n1,2,3,4\n", ("a", "b", "c", "d"), 4),
        ("a,,c\n1,2,3\n", ("a", "column 2", "c"), 2),
        ("a,b\n1,2,\n3,4,\n", ("a", "b", "column 3"), 2),
        ("a,b,\n1,2\n3,4\n", ("a", "b"), 2),
        ('"a\nb",c\n1,2\n', ("a b", "c"), 3),
        ("sku,2026-01,2026-02\nx,1,2\ny,3,4\n", ("sku", "2026-01", "2026-02"), 2),
        ("sku,7,14\nx,low,high\n", ("sku", "7", "14"), 2),
        ("2026-03-01,5,x\n2026-03-02,6,y\n", ("column 1", "column 2", "column 3"), 1),
        ("1\n2\n3\n", ("column 1",), 1),
        ("a,b\n", ("a", "b"), 2),
        ("x\n", ("x",), 2),
        ("", ("column 1",), 1),
    ],
)
def test_the_header_is_found_wherever_it_stands(text: str, columns: tuple[str, ...], data_line: int) -> None:
    assert header(text) == (columns, data_line)


def test_what_stands_above_is_told_line_by_line() -> None:
    text = "Report: Sponsored\nAttribution window,14 days\nRange,2026-03-01,2026-03-31,x\n\na,b,c,d,e\n1,2,3,4,5\n"
    found = find_header(head_rows(lines_of(text), ","))
    assert found.notes == (
        "Above the header, line 1: Report: Sponsored",
        "Above the header, line 2: Attribution window: 14 days",
        "Above the header, line 3: Range; 2026-03-01; 2026-03-31; x",
    )


def test_names_are_trimmed_made_different_and_never_the_line_column() -> None:
    names, notes = column_names(["\ufeffa", " b ", "b", "b", "", "\n", LINE, "b (2)", "x\0y", "n" * 900])
    assert names[:8] == ("a", "b", "b (2)", "b (3)", "column 5", "column 6", "__line (2)", "b (2) (2)")
    assert names[8:] == ("x\ufffdy", "n" * 480)
    assert "The header of column 2 is ' b '; it is called «b»." in notes
    assert "Column 5 has no name; it is called «column 5»." in notes
    assert "The name «b» is taken; column 3 is called «b (2)»." in notes
    assert len(set(names)) == len(names)


def test_a_name_that_is_fine_needs_no_note() -> None:
    assert column_names(["Ad Group", "Größe €", "14 Day Total Sales "[:-1]])[1] == []
