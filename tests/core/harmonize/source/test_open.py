import csv
import gzip
import hashlib
import json
import time
from pathlib import Path

import polars as pl
import pytest

from core.errors import NotFoundError, RefusedFileError, UnavailableError
from core.harmonize.source.open import LINE, SourceKind, SourceLimits, open_source, sample
from tests.core.harmonize.source_files import opened, peak_bytes, reset_peak, rows

TABLE = "day,clicks\n2026-03-01,7\n2026-03-02,\n"
ROWS = [("2026-03-01", "7", 2), ("2026-03-02", None, 3)]


def parquet(folder: Path) -> bytes:
    pl.DataFrame({"day": ["2026-03-01"], "clicks": [7]}).write_parquet(folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (TABLE, SourceKind.CSV),
        (TABLE.replace(",", ";"), SourceKind.CSV),
        (TABLE.replace(",", "|"), SourceKind.CSV),
        (TABLE.replace(",", "\t"), SourceKind.TSV),
        ('{"day": "2026-03-01", "clicks": 7}\n{"day": "2026-03-02"}\n', SourceKind.JSONL),
        ('[{"day": "2026-03-01", "clicks": 7},\n{"day": "2026-03-02"}]', SourceKind.JSON),
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_a_text_format_is_told_by_its_content_packed_or_not(
    tmp_path: Path, content: str, kind: SourceKind, pack: bool
) -> None:
    raw = gzip.compress(content.encode()) if pack else content.encode()
    source = opened(tmp_path, raw)
    assert (source.kind, source.compressed, source.rows, source.broken_count) == (kind, pack, 2, 0)
    assert source.columns == ("day", "clicks")
    assert [row[:2] for row in rows(source)] == [row[:2] for row in ROWS]
    assert source.digest == hashlib.sha256(raw).hexdigest()
    assert source.size_bytes == len(raw)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_of_any_usual_encoding_is_the_same_table(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    source = opened(tmp_path, (mark + "näme;clicks\r\ncafé;7\r\n€ 😀;\r\n").encode(encoding))
    assert source.columns == ("näme", "clicks")
    assert rows(source) == [("café", "7", 2), ("€ 😀", None, 3)]
    assert any("UTF-16" in note for note in source.notes) == encoding.startswith("utf-16")


def test_half_a_sign_in_utf_16_breaks_its_row_alone(tmp_path: Path) -> None:
    text = "\ufeffa,b\n1,".encode("utf-16-le") + b"\x00\xd8" + "\n2,x\n".encode("utf-16-le")
    source = opened(tmp_path, text)
    assert rows(source) == [("2", "x", 3)]
    assert (source.broken[0].line, source.broken[0].reason) == (2, "it is not UTF-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "holds no rows"),
        (gzip.compress(b"", mtime=0), "empty once unpacked"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n", mtime=0), mtime=0), "inside a gzip file"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-9], "damaged or cut off"),
        (b"\x1f\x8b\x08\x00junk that is no deflate", "damaged or cut off"),
        (b"%PDF-1.7\n...", "PDF"),
        (b"<!DOCTYPE html><html><table>", "HTML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><rows/>", "XML"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel"),
        (bytes(5000), "binary"),
        (b"\x89PNG\r\n\x1a\n" + bytes(3000), "binary"),
        (b"PK\x03\x04 no archive", "zip data is damaged"),
        (b"PAR1 no parquet", "damaged"),
        (b"{}", "no rows with named values"),
        (b"[]", "no rows with named values"),
    ],
)
def test_what_is_no_table_is_refused_with_its_reason(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(RefusedFileError) as caught:
        opened(tmp_path, content, name="march.csv")
    assert words in caught.value.why
    assert "march.csv" in caught.value.what
    assert caught.value.next_step


def test_a_gzip_file_that_holds_a_sheet_or_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="Unpack it first"):
        opened(tmp_path, gzip.compress(parquet(tmp_path)))


def test_no_file_and_no_room_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_source(tmp_path / "nothing.csv", work_dir=tmp_path)
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(UnavailableError):
        open_source(tmp_path / "a.csv", work_dir=tmp_path / "a.csv" / "below")


def test_a_sample_is_the_head_without_lines(tmp_path: Path) -> None:
    head = sample(opened(tmp_path, TABLE), 1)
    assert head.to_dicts() == [{"day": "2026-03-01", "clicks": "7"}]


def test_rows_and_broken_rows_are_all_rows_and_stand_in_the_file(tmp_path: Path) -> None:
    lines = [f"{i},x" if i % 3 else f"{i}" for i in range(6000)]
    source = opened(tmp_path, "a,b\n" + "\n".join(lines))
    assert (source.rows, source.broken_count, len(source.broken)) == (4000, 2000, 1000)
    assert source.broken_file is not None
    with source.broken_file.open(encoding="utf-8", newline="") as file:
        told = list(csv.reader(file))
    assert told[0] == ["line", "reason", "raw"]
    assert told[1] == ["2", "it has 1 value where the header names 2 columns", "0"]
    assert len(told) == 2001
    assert source.frame.select(pl.col(LINE).sum()).collect().item() == sum(
        i + 2 for i in range(6000) if i % 3
    )


def test_a_source_with_nothing_broken_has_no_list(tmp_path: Path) -> None:
    assert opened(tmp_path, TABLE).broken_file is None


def test_opening_the_same_file_twice_gives_the_same(tmp_path: Path) -> None:
    content = 'a,b\n1,"x\ny"\n2\n3,é\n'
    first, second = opened(tmp_path, content), opened(tmp_path, content)
    assert rows(first) == rows(second)
    assert (first.digest, first.columns, first.broken, first.notes) == (
        second.digest,
        second.columns,
        second.broken,
        second.notes,
    )


# Rows 16 and 17 of the list of threats, for raw files.
SMALL = SourceLimits(
    line_bytes=1 << 16, document_bytes=1 << 20, unpacked_bytes=96 << 20, rows=50_000, keys=500, columns=600
)


def bombs() -> dict[str, bytes]:
    deep = b"[" * 100_000 + b"]" * 100_000
    return {
        "a gigabyte of nothing": gzip.compress(bytes(32 << 20)) * 32,
        "gigabytes in members": gzip.compress(b"a,b\n" + b"1,2\n" * (1 << 20)) * 64,
        "too many rows": b"a,b\n" + b"1,2\n" * 50_001,
        "too many columns": b",".join(b"c%d" % i for i in range(601)) + b"\n",
        "too large a document": b"[" + b'{"a": 1},' * 200_000 + b'{"a": 1}]',
        "one long line": b"x" * (4 << 20),
        "deep document": b'{"a": ' + deep + b"}",
        "many keys": ("{" + ",".join(f'"k{i}": 0' for i in range(9000)) + "}").encode(),
    }


def test_bombs_are_refused_quickly_and_in_little_memory(tmp_path: Path) -> None:
    made = bombs()
    reset_peak()
    before = peak_bytes()
    for name, content in made.items():
        began = time.process_time()
        with pytest.raises(RefusedFileError) as caught:
            opened(tmp_path, content, SMALL)
        assert len(str(caught.value)) < 1000, name
        assert time.process_time() - began < 5, name
        assert list((tmp_path / "work").iterdir()) == [], name
    assert peak_bytes() - before < 150 << 20


def test_bombs_among_good_rows_break_their_row_alone(tmp_path: Path) -> None:
    good = {"id": 1, "cost": "2"}
    evil = [
        '{"id": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "{" + ",".join(f'"k{i}": 0' for i in range(501)) + "}",
        '{"id": NaN}',
        '{"id": Infinity}',
        '{"id": 1, "id": 2}',
        '{"id": "\\ud800"}',
        '{"id": "\\u0000"}',
        '{"id": "' + "x" * (1 << 16) + '"}',
        '{"id": "' + "x" * (9 << 20) + '"}',
        '{"' + "k" * 600 + '": 1}',
    ]
    lines = [json.dumps(good)]
    for line in evil:
        lines += [line, json.dumps(good)]
    content = ("\ufeff" + "\r\n".join(lines)).encode() + b'\r\n{"id": "\xff"}'
    source = opened(tmp_path, content, SMALL)
    assert (source.kind, source.rows) == (SourceKind.JSONL, len(evil) + 1)
    assert [row.line for row in source.broken] == [2 * i + 2 for i in range(len(evil) + 1)]
    assert all(row.reason and len(row.raw) <= 2000 for row in source.broken)
    assert set(source.columns) == {"id", "cost"}


def test_huge_numbers_keep_every_digit(tmp_path: Path) -> None:
    digits = "9" * 5000
    source = opened(tmp_path, f'{{"a": {digits}}}\n{{"a": 1e400}}\n')
    assert [row[0] for row in rows(source)] == [digits, "1e400"]


def test_a_line_of_hundreds_of_megabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.write(b"a,b\n" + b"1,2\n" * 100_000)
        file.truncate(200 << 20)  # one line of NUL that takes no room on the disk
        file.seek(0, 2)
        file.write(b"\n3,4\n")
    reset_peak()
    before = peak_bytes()
    source = open_source(path, work_dir=tmp_path / "work")
    assert source.rows == 100_001
    assert [row.line for row in source.broken] == [100_002]
    assert source.frame.tail(1).collect().rows() == [("3", "4", 100_003)]
    assert peak_bytes() - before < 150 << 20
