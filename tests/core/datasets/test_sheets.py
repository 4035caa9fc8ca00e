"""Parquet files and Excel workbooks give the same rows as text files do, or are refused with the reason."""

import datetime as dt
import zipfile
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl
import pytest

from core.datasets.examples import open_examples
from core.datasets.formats import FileFormat, detect_format, read_rows
from core.datasets.records import Example
from core.datasets.rows import Fault, FileLimits, Row
from core.errors import RefusedFileError

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook(path: Path, rows: list[list[str]]) -> Path:
    """A workbook of one sheet, by the parts that ECMA-376 asks for."""

    def cells(number: int, row: list[str]) -> str:
        return "".join(
            f'<c r="{chr(65 + at)}{number}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'
            for at, text in enumerate(row)
            if text
        )

    body = "".join(f'<row r="{n}">{cells(n, row)}</row>' for n, row in enumerate(rows, start=1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        'ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{TYPE}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Rows" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{body}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return path


def test_a_workbook_gives_its_cells_as_text_with_their_rows(tmp_path) -> None:
    path = workbook(tmp_path / "a.bin", [["prompt", "completion"], ["a <1>", "00012"], ["", ""], ["c", ""]])
    assert detect_format(path).format is FileFormat.XLSX
    assert list(read_rows(path)) == [
        Row(2, {"prompt": "a <1>", "completion": "00012"}),
        Row(4, {"prompt": "c", "completion": ""}),
    ]
    examples = list(open_examples(path)[1])
    assert [(e.prompt, e.completion, e.line) for e in examples if isinstance(e, Example)] == [
        ("a <1>", "00012", 2),
        ("c", "", 4),
    ]


def test_messages_in_a_cell_are_read_as_json(tmp_path) -> None:
    cell = '[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]'
    path = workbook(tmp_path / "a.xlsx", [["messages", "split"], [cell, "train"], ["[{", "train"]])
    first, second = open_examples(path)[1]
    assert isinstance(first, Example)
    assert (first.prompt, first.completion) == ("a", "b")
    assert isinstance(second, Fault)
    assert (second.line, second.rule) == (3, "wrong_type")


def test_parquet_values_come_as_json_would_hold_them(tmp_path) -> None:
    path = tmp_path / "a.bin"
    pl.DataFrame(
        {
            "messages": [[{"role": "user", "content": "a"}]],
            "n": [1.5],
            "day": [dt.date(2026, 1, 2)],
            "price": [Decimal("1.10")],
            "raw": [b"\xff\x41"],
            "none": [None],
            "ok": [True],
        }
    ).write_parquet(path)
    assert detect_format(path).format is FileFormat.PARQUET
    assert list(read_rows(path)) == [
        Row(
            1,
            {
                "messages": [{"role": "user", "content": "a"}],
                "n": 1.5,
                "day": "2026-01-02",
                "price": "1.10",
                "raw": "\ufffdA",
                "none": None,
                "ok": True,
            },
        )
    ]


def test_parquet_rows_that_cannot_be_used_are_listed(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"prompt": ["a", "b\0"], "x": [float("nan"), 1.0]}).write_parquet(path)
    assert [type(row) for row in read_rows(path)] == [Fault, Fault]
    pl.DataFrame({"prompt": [str(n) for n in range(12_000)]}).write_parquet(path)
    rows = list(read_rows(path))
    assert [row.line for row in rows] == list(range(1, 12_001))


def damaged(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: damaged(p, b"PAR1 and nothing else PAR1"), "damaged"),
        (lambda p: damaged(p, b"PK\x03\x04 and nothing else"), "zip archive or an Excel workbook"),
        (
            lambda p: damaged(p, workbook(p / "w", [["a"], ["b"]]).read_bytes()[:-40]),
            "zip archive or an Excel",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, make, why) -> None:
    with pytest.raises(RefusedFileError, match=why) as caught:
        list(read_rows(make(tmp_path)))
    assert caught.value.next_step


def test_an_archive_that_is_no_workbook_is_refused(tmp_path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set.jsonl", "{}")
    with pytest.raises(RefusedFileError, match="not an Excel workbook"):
        list(read_rows(path))


def test_more_rows_columns_or_bytes_than_allowed_are_refused(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(20), "b": range(20), "c": range(20)}).write_parquet(path)
    with pytest.raises(RefusedFileError, match="more than 10 rows"):
        list(read_rows(path, FileLimits(rows=10)))
    with pytest.raises(RefusedFileError, match="more than 2 columns"):
        list(read_rows(path, FileLimits(keys=2)))
    book = workbook(tmp_path / "b.xlsx", [["a"], *[["x" * 1000]] * 3000])
    with pytest.raises(RefusedFileError):
        list(read_rows(book, FileLimits(unpacked_bytes=1 << 20)))
