"""Delimited text: what is proven regular is scanned as it stands, anything else is read with care; same rows."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import core.harmonize.source.careful as source_careful
import core.harmonize.source.text as source_text
from core.harmonize.source.open import LINE, Source, SourceKind, SourceLimits
from tests.core.harmonize.source_files import opened, rows


def is_plain(source: Source) -> bool:
    return "Csv SCAN" in source.frame.explain()


def in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let files be looked at in blocks of a few bytes, so that small ones have many."""
    monkeypatch.setattr(source_text, "_BLOCK_BYTES", size)
    monkeypatch.setattr(source_careful, "_LARGE_PIECE", size)
    monkeypatch.setattr(source_careful, "_SMALL_PIECE", max(1, size // 2))


def reasons(source: Source) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in source.broken]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", [("1", "2", 2)]),
        ("a,b\n1,2", [("1", "2", 2)]),
        ("a,b\r\n1,2\r\n,\r\n", [("1", "2", 2), (None, None, 3)]),
        ("a,b\r1,2\r3,4", [("1", "2", 2), ("3", "4", 3)]),
        ("\ufeffa,b\n1,2\n\n\n", [("1", "2", 2)]),
        ("a,b\n1,2\r\n\r\n\r\n", [("1", "2", 2)]),
        ('a,b\n"1","x,""y"""\n"",2\n', [("1", 'x,"y"', 2), (None, "2", 3)]),
        ('"a","b"\r\n"1"," 2 "\r\n', [("1", " 2 ", 2)]),
        ("Report: x\n\na,b,c\n007,0, \n", [("007", "0", " ", 4)]),
        ("a\n1\n2\n", [("1", 2), ("2", 3)]),
        ("names\nx\ny\nDoe, J\n", [("x", 2), ("y", 3), ("Doe, J", 4)]),
        ("a;b\n1,5;é\n", [("1,5", "é", 2)]),
    ],
)
def test_a_regular_file_is_scanned_as_it_stands(
    tmp_path: Path, content: str, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(tmp_path, content)
    assert is_plain(source)
    assert (rows(source), source.rows, source.broken_count) == (expected, len(expected), 0)
    monkeypatch.setattr(source_text, "_probe", lambda *_: None)
    careful = opened(tmp_path, content)
    assert not is_plain(careful)
    assert rows(careful) == expected


@pytest.mark.parametrize(
    ("content", "expected", "broken"),
    [
        ("a,b\n1\n2,3\n4,5,6\n", [("2", "3", 3)], [2, 4]),
        ("a,b\n1,2\n\n3,4\n", [("1", "2", 2), ("3", "4", 4)], []),
        ('a,b\n"x\ny",2\n3,4\n', [("x\ny", "2", 2), ("3", "4", 4)], []),
        ('a,b\n"x\r\n\r\ny",2\r\n3,4\r\n', [("x\r\n\r\ny", "2", 2), ("3", "4", 5)], []),
        ('a,b\n5" pipe,2\n', [('5" pipe', "2", 2)], []),
        ('a,b\n1,"2\n3,4\n5,6\n', [("3", "4", 3), ("5", "6", 4)], [2]),
        ('a,b\n"1"x,2\n3,4\n', [("3", "4", 3)], [2]),
        ('a,b\n1,"2\n"3,4\n5,6\n', [("5", "6", 4)], [2, 3]),
        ("a,b\n1,\0\n3,4\n", [("3", "4", 3)], [2]),
        ("a,b\n1,2\r3,4\n5\r6,7\n", [("1", "2", 2), ("3", "4", 3), ("6", "7", 5)], [4]),
        ("a,b\n\ufeff,2\n", [("\ufeff", "2", 2)], []),
        ("a\n1\n\n2\n", [("1", 2), ("2", 4)], []),
    ],
)
def test_an_irregular_file_keeps_its_good_rows_and_lists_the_others(
    tmp_path: Path, content: str, expected: list[Any], broken: list[int]
) -> None:
    source = opened(tmp_path, content)
    assert rows(source) == expected
    assert [row.line for row in source.broken] == broken
    assert not is_plain(source)


def test_a_short_and_a_long_row_that_cancel_out_are_both_found(tmp_path: Path) -> None:
    lines = ["1,2,3"] * 5000
    lines[100], lines[4000] = "1,2", "1,2,3,4"
    source = opened(tmp_path, "\n".join(["a,b,c", *lines]))
    assert source.rows == 4998
    assert reasons(source) == [
        (102, "it has 2 values where the header names 3 columns"),
        (4002, "it has 4 values where the header names 3 columns"),
    ]
    assert source.broken[1].raw == "1,2,3,4"


def test_bytes_that_are_no_utf_8_break_their_row_where_the_file_is_utf_8(tmp_path: Path) -> None:
    source = opened(tmp_path, "a,b\ncafé,1\nthé,2\n".encode() + b"\xe9,3\n4,5\n")
    assert [row[0] for row in rows(source)] == ["café", "thé", "4"]
    assert reasons(source) == [(4, "it is not UTF-8")]
    assert source.broken[0].raw == "\\xe9,3"


@pytest.mark.parametrize("early", [True, False])
def test_windows_1252_is_read_as_such_and_said_so(tmp_path: Path, early: bool) -> None:
    name = "name" if not early else "größe"
    filler = "x,1\n" * (0 if early else 200_000)
    source = opened(tmp_path, f"{name},n\n{filler}NESCAFÉ® 5 €,2\nMüller’s,3\n".encode("cp1252"))
    assert source.columns == (name, "n")
    assert [row[0] for row in source.frame.tail(2).collect().rows()] == ["NESCAFÉ® 5 €", "Müller’s"]
    assert any("windows-1252" in note for note in source.notes)
    assert source.broken_count == 0


def test_bytes_that_are_no_text_in_any_encoding_break_their_row(tmp_path: Path) -> None:
    source = opened(tmp_path, b"a,b\n\xff\xfe,1\n2,3\n")
    assert rows(source) == [("2", "3", 3)]
    assert reasons(source) == [(2, "it is not UTF-8")]


def test_what_stands_above_the_header_is_kept_as_notes(tmp_path: Path) -> None:
    source = opened(
        tmp_path,
        "sep=;\nCampaign report\nTime zone:;America/New_York\nCurrency;USD;;\n\n"
        "day;campaign;clicks;cost\n2026-03-01;A;1;2,50\n2026-03-02;B;;3,50\n",
    )
    assert source.columns == ("day", "campaign", "clicks", "cost")
    assert [row[-1] for row in rows(source)] == [7, 8]
    assert source.notes == (
        "Columns are separated by semicolons.",
        "Above the header, line 2: Campaign report",
        "Above the header, line 3: Time zone: America/New_York",
        "Above the header, line 4: Currency: USD",
    )


def test_a_total_row_stays_and_a_footer_is_a_broken_row_with_a_note(tmp_path: Path) -> None:
    source = opened(tmp_path, "day,clicks,cost\n2026-03-01,1,2\nTotal,1,2\n\nGenerated by X\nPage 1\n")
    assert [row[0] for row in rows(source)] == ["2026-03-01", "Total"]
    assert [row.line for row in source.broken] == [5, 6]
    assert any("from line 5 on, look like a footer" in note for note in source.notes)


def test_a_line_that_is_too_long_breaks_alone(tmp_path: Path) -> None:
    limits = SourceLimits(line_bytes=1 << 16)
    long = "x" * (5 << 20)
    source = opened(tmp_path, f'a,b\n1,2\n{long},2\n3,4\n"{"y" * 70_000}",5\n5,6\n', limits)
    assert rows(source) == [("1", "2", 2), ("3", "4", 4), ("5", "6", 6)]
    assert [row.line for row in source.broken] == [3, 5]
    assert len(source.broken[0].raw) == 2000


def test_a_quote_that_is_never_closed_costs_one_row_however_far_the_file_goes(tmp_path: Path) -> None:
    lines = ["1,2"] * 300_000
    lines[1000] = '1,"2'
    source = opened(tmp_path, "\n".join(["a,b", *lines]))
    assert source.rows == 299_999
    assert reasons(source) == [(1002, "a quote is not closed")]


def test_a_quoted_record_may_cross_any_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_careful, "BLOCK_BYTES", 50)
    in_pieces(monkeypatch, 30)
    long = "line\n" * 40
    source = opened(tmp_path, f'a,b\n1,2\n"{long}",3\n4,5\nx\n6,7\n')
    assert rows(source) == [("1", "2", 2), (long, "3", 3), ("4", "5", 44), ("6", "7", 46)]
    assert [row.line for row in source.broken] == [45]


def test_the_kind_is_tsv_only_for_tabs(tmp_path: Path) -> None:
    assert opened(tmp_path, "a\tb\n1,0\t2\n").kind is SourceKind.TSV
    assert opened(tmp_path, "a|b\n1\t0|2\n").kind is SourceKind.CSV


CELLS = st.sampled_from(["", "a", "1.50", 'x"y', '"', "é", " b ", "a,b", "a;b", "x\ny", "x\r\ny", "0", "=1"])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=12)
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([16, 60, 1 << 18]),
)
def test_every_row_that_a_writer_writes_is_read_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: list[list[str]],
    quoting: Any,
    delimiter: str,
    newline: str,
    block: int,
) -> None:
    in_pieces(monkeypatch, block)
    width = len(table[0])
    out = io.StringIO(newline="")
    # A second header keeps the delimiter known where all cells are blank.
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    begins = []
    for row in [[f"name{i}" for i in range(width)], *[["text"] * width] * 3, *table]:
        begins.append(1 + len(out.getvalue().splitlines()))
        writer.writerow(row)
    source = opened(tmp_path, out.getvalue())
    expected = [tuple(cell or None for cell in row) for row in table]
    assert source.broken_count == 0
    assert source.frame.drop(LINE).collect().rows()[3:] == expected
    assert source.frame.collect()[LINE].to_list()[3:] == begins[4:]


LINES = st.lists(
    st.one_of(
        st.lists(CELLS, min_size=0, max_size=4).map(",".join),
        st.text(alphabet='a",\n\r;\0é\ufeff', max_size=12),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, foreign=st.booleans(), newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_the_scan_and_the_careful_reading_agree_on_any_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], foreign: bool, newline: str
) -> None:
    content = newline.join(["a,b,c", "x,y,z", *lines]).encode() + (b"\xff\xfe" if foreign else b"")
    found = []
    probe = source_text._probe
    for reader, size in ((probe, 1 << 18), (lambda *_: None, 1 << 18), (lambda *_: None, 12)):
        monkeypatch.setattr(source_text, "_probe", reader)
        in_pieces(monkeypatch, size)
        source = opened(tmp_path, content)
        found.append((source.columns, rows(source), reasons(source), source.rows, source.broken_count))
    monkeypatch.setattr(source_text, "_probe", probe)
    assert found[0] == found[1] == found[2]
