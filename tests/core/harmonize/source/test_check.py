"""The fast proof against an independent one: each line alone through the standard library's reader."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harmonize.source.check import Grid, check_block, is_utf8, regular_lines

GRID = Grid(b",", b"\n", 3, 1 << 20)


@pytest.mark.parametrize(
    ("block", "rows"),
    [
        (b"1,2,3\n", 1),
        (b"1,2,3\r\n4,5,\r\n", 2),
        (b'"1","2,5","3"\n,,\n', 2),
        (b'"a""b","",""""\n', 1),
        ("é,ü,€\n".encode(), 1),
        (b"1,2\n", None),
        (b"1,2\n1,2,3,4\n", None),
        (b"1,2,3\n\n", None),
        (b"\n1,2,3\n", None),
        (b"1,2,\0\n", None),
        (b"1,2,\xff\n", None),
        (b"1,2,3\r4,5,6\n", None),
        (b'1,"2\n",3\n', None),
        (b'1,2"x,3\n', None),
        (b'1,"2"x,3\n', None),
        (b'1,x"2",3\n', None),
        (b'1,"2,3\n', None),
        (b'1,2,"\n4,5,"\n', None),
        (b'"1,2",3\n', None),
    ],
)
def test_a_block_is_regular_only_if_each_line_is_a_record(block: bytes, rows: int | None) -> None:
    assert check_block(block, GRID) == rows


def test_blank_lines_of_a_single_column_are_seen() -> None:
    one = Grid(b",", b"\n", 1, 1 << 20)
    assert check_block(b"a\nb\n", one) == 2
    assert check_block(b"a\n\nb\n", one) is None
    assert check_block(b"a\r\n\r\nb\r\n", one) is None
    assert check_block(b"\na\n", one) is None


def test_a_line_may_not_be_longer_than_allowed() -> None:
    short = Grid(b",", b"\n", 3, 10)
    assert check_block(b"1,2,3\n" * 9, short) == 9
    assert check_block(b"1,2,3\n" + b"1,2,33333333\n", short) is None
    assert regular_lines(b"1,2,3\n1,2,33333333\n", short).tolist() == [True, False]


def test_lone_carriage_returns_end_lines_where_the_file_has_nothing_else() -> None:
    assert check_block(b"1,2,3\r4,5,6\r", Grid(b",", b"\r", 3, 1 << 20)) == 2


CELL = st.sampled_from(
    ["", "x", '"a"', '"a,b"', '""', '"a""b"', 'a"b', '"a"b', '"', '"a\nb"', "\r", "é", " "]
)
ROW = st.lists(CELL, min_size=1, max_size=5).map(",".join)


def read_alone(line: str) -> list[str] | None:
    try:
        found = list(csv.reader([line], strict=True))
    except csv.Error:
        return None
    return found[0] if found else None


@settings(max_examples=400, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=40), ends=st.sampled_from(["\n", "\r\n"]))
def test_what_is_called_regular_is_read_alike_line_by_line(rows: list[str], ends: str) -> None:
    text = ends.join(rows) + ends
    found = check_block(text.encode(), GRID)
    lines = text.split("\n")[:-1]
    alone = [read_alone(line.removesuffix("\r")) for line in lines]
    if found is not None:
        assert found == len(lines)
        assert all(cells is not None and len(cells) == 3 for cells in alone)
    # And what is plainly regular is called so.
    if '"' not in text and text.count("\r") == text.count("\r\n"):
        assert (found is not None) == all(line.count(",") == 2 for line in lines)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(st.sampled_from(["", "x", "yy"]), max_size=5).map(",".join), min_size=1))
def test_regular_lines_are_those_with_the_right_number_of_separators(rows: list[str]) -> None:
    block = ("\n".join(rows) + "\n").encode()
    assert regular_lines(block, GRID).tolist() == [row.count(",") == 2 for row in rows]


def test_text_is_utf_8_or_it_is_not() -> None:
    assert is_utf8(b"abc")
    assert is_utf8("é€😀".encode())
    assert not is_utf8(b"\xed\xa0\x80")
    assert not is_utf8(b"\xc3")
