import pytest

from core.harmonize.source.delimited import MOST_LINES, Record, read_record


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["1,2\n"], Record(["1", "2"], 1)),
        (["1,2"], Record(["1", "2"], 1)),
        (["1, 2 \r\n"], Record(["1", " 2 "], 1)),
        (['1,"2,""3"""\n'], Record(["1", '2,"3"'], 1)),
        (['1,5" pipe\n'], Record(["1", '5" pipe'], 1)),
        (['1,"a\r\n', 'b"\r\n'], Record(["1", "a\r\nb"], 2)),
        (['1,"a\n', "\n", ',"\n', "x,y\n"], Record(["1", "a\n\n,"], 3)),
        (["1\n"], Record([], 1, "it has 1 value where the header names 2 columns")),
        (["1,2,3\n"], Record([], 1, "it has 3 values where the header names 2 columns")),
        (['1,"a"b\n'], Record([], 1, "a quote stands inside a quoted value")),
        (['1,"a\n', '2,"b\n', "3,4\n"], Record([], 1, "a quote stands inside a quoted value")),
        (['1,"a\n', 'b",2\n'], Record([], 1, "a quote is not closed")),
        (['1,"a\n', "3,4\n"], None),
    ],
)
def test_one_record_is_read_from_its_first_line(lines: list[str], expected: Record | None) -> None:
    assert read_record(lines, 0, ",", 2) == expected


def test_any_number_of_cells_is_right_before_the_header_is_known() -> None:
    assert read_record(["1,2,3\n"], 0, ",") == Record(["1", "2", "3"], 1)


def test_the_delimiter_is_what_was_found() -> None:
    assert read_record(['1,0;"2;3"\n'], 0, ";", 2) == Record(["1,0", "2;3"], 1)


def test_a_quote_is_not_looked_for_without_end() -> None:
    lines = ['1,"a\n', *["x\n"] * (MOST_LINES * 2), 'b"\n']
    assert read_record(lines, 0, ",", 2) == Record([], 1, "a quote is not closed")


def test_a_value_that_no_reader_takes_is_broken() -> None:
    record = read_record(['1,"' + "x" * 200_000 + '"\n'], 0, ",", 2)
    assert record is not None
    assert "more than 131,072 characters" in record.reason
