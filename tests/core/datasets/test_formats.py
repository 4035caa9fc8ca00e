"""What a file is follows from its bytes, and no row is dropped without its line."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from core.datasets.formats import FileFormat, detect_format, read_rows
from core.datasets.rows import Fault, FileLimits, Row
from core.errors import RefusedFileError


def written(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "file.any"
    path.write_bytes(raw)
    return path


def rows_of(tmp_path: Path, raw: bytes, limits: FileLimits = FileLimits()) -> list[Row | Fault]:
    return list(read_rows(written(tmp_path, raw), limits))


@pytest.mark.parametrize(
    ("raw", "format", "delimiter"),
    [
        (b'{"a": 1}\n{"a": 2}\n', FileFormat.JSONL, ""),
        (b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n', FileFormat.JSONL, ""),
        (b'\n\n [{"a": 1}, {"a": 2}]', FileFormat.JSON, ""),
        (b"a\n1\n2\n", FileFormat.CSV, ","),
        (b"a,b\n1,2\n3,4\n", FileFormat.CSV, ","),
        (b"a;b\n1,5;2\n3;4\n", FileFormat.CSV, ";"),
        (b"a\tb\n1\t2\n3\t4\n", FileFormat.CSV, "\t"),
        (b'"a,x";b\n1;2\n3;4\n', FileFormat.CSV, ";"),
        (b"a|b\r\n1|2\r\n3|4\r\n", FileFormat.CSV, "|"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_format_and_delimiter_are_found_by_content(tmp_path, raw, format, delimiter, packed) -> None:
    path = written(tmp_path, gzip.compress(raw) if packed else raw)
    shape = detect_format(path)
    assert (shape.format, shape.delimiter, shape.compressed) == (format, delimiter, packed)
    assert [type(row) for row in read_rows(path)] == [Row, Row]


def test_values_come_as_the_file_says_them(tmp_path) -> None:
    assert rows_of(tmp_path, b'{"id": "000123456789012345", "n": 1.50, "x": null, "t": "\\u00e9"}\n') == [
        Row(1, {"id": "000123456789012345", "n": 1.5, "x": None, "t": "é"})
    ]
    assert rows_of(tmp_path, b'id,n\n0001,"1,5"\n') == [Row(2, {"id": "0001", "n": "1,5"})]


def test_lines_of_a_csv_record_over_several_lines_are_counted(tmp_path) -> None:
    rows = rows_of(tmp_path, b'a,b\n"one\ntwo",2\n3,4\n\n5\n6,7\n')
    assert rows == [
        Row(2, {"a": "one\ntwo", "b": "2"}),
        Row(4, {"a": "3", "b": "4"}),
        Fault(6, "it has 1 values where the header names 2 columns"),
        Row(7, {"a": "6", "b": "7"}),
    ]


def test_lines_of_a_json_document_are_counted(tmp_path) -> None:
    raw = b'[\n{"a": 1},\n\n{"a":\n 2}\n, 3,\n{"a": [1, {"b": 2}]}\n]\n'
    rows = rows_of(tmp_path, raw)
    assert [row.line for row in rows] == [2, 4, 6, 7]
    assert isinstance(rows[2], Fault)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "a number is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b'{"a": 1, "a": 2}', "a key appears twice"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1} {"a": 2}', "not valid JSON"),
        (b"[1, 2]", "not an object"),
        (b'"text"', "not an object"),
        (b'{"a": "\xff"}', "byte 8 of the line is not UTF-8"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": "\\u0000"}', "NUL character"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b'{"a": ' + b"[" * 100000 + b"]" * 100000 + b"}", "nested too deep"),
        (json.dumps({str(n): n for n in range(1001)}).encode(), "more than 1000 keys"),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', "longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_json_line_is_listed_and_the_others_are_read(tmp_path, line, reason) -> None:
    good, fault, last = rows_of(tmp_path, b'{"a": 0}\n' + line + b"\r\n" + b'{"a": 2}')
    assert (good, last) == (Row(1, {"a": 0}), Row(3, {"a": 2}))
    assert isinstance(fault, Fault)
    assert fault.line == 2
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("raw", "line", "reason"),
    [
        (b"a,b\n1,2\n1,2,3\n", 3, "3 values"),
        (b'a,b\n1,2\n"x,2\n3,4\n', 3, "quote is not closed"),
        (b'a,b\n1,2\n"x"y,2\n', 3, "not valid CSV"),
        (b"a,b\n1,2\n\xff,2\n", 3, "not UTF-8"),
        (b"a,a\n1,2\n", 1, "appears twice"),
        (b"a,\n1,2\n", 1, "column 2 has no name"),
        (b"a,b\n1,2\n" + b'"' + b"x" * 200_000 + b'",1\n', 3, "closing quote missing"),
    ],
)
def test_a_bad_csv_row_is_listed(tmp_path, raw, line, reason) -> None:
    fault = rows_of(tmp_path, raw)[-1]
    assert isinstance(fault, Fault)
    assert fault.line == line
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"PK\x03\x04abc", "zip archive or an Excel workbook"),
        (b"PAR1abc", "Parquet"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,\x00\n", "NUL bytes"),
        (b"a,b;c\n1,2\n", "what separates the columns"),
        (b'{\n"a": 1\n}\n', "one JSON object, not a list"),
        (b'[{"a": 1}', "comma or the end of the list"),
        (b'[{"a": 1},]', "Line 1"),
        (b'[{"a": 1}]\nmore', "text after the end"),
        (b'[\n{"a": 1},\n{"a": }\n]', "Line 3"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n", mtime=0), mtime=0), "gzip file inside"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0)[:-9], "damaged or cut off"),
        (b"\x1f\x8b\x08\x00 this is no gzip", "damaged or cut off"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path, raw, why) -> None:
    with pytest.raises(RefusedFileError) as caught:
        rows_of(tmp_path, raw)
    assert why in str(caught.value)
    assert caught.value.next_step


def test_an_empty_list_has_no_rows(tmp_path) -> None:
    assert rows_of(tmp_path, b" [ ] ") == []


def test_more_rows_or_bytes_than_allowed_are_refused(tmp_path) -> None:
    with pytest.raises(RefusedFileError, match="more than 3 rows"):
        rows_of(tmp_path, b'{"a": 1}\n' * 4, FileLimits(rows=3))
    with pytest.raises(RefusedFileError, match="unpacked"):
        rows_of(tmp_path, gzip.compress(b'{"a": 1}\n' * 300_000), FileLimits(unpacked_bytes=1 << 20))
    with pytest.raises(RefusedFileError, match="0 MB"):
        rows_of(tmp_path, b"[" + b'{"a": 1},' * 100 + b"{}]", FileLimits(document_bytes=500))


def test_a_small_file_that_unpacks_to_one_huge_line_takes_little_memory(tmp_path) -> None:
    path = written(tmp_path, gzip.compress(b'{"a": "' + b"x" * (60 << 20) + b'"}\n{"a": 1}\n', 1))
    tracemalloc.start()
    fault, row = read_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(fault, Fault)
    assert row == Row(2, {"a": 1})
    assert peak < 12 << 20
