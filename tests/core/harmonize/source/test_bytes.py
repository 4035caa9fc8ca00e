import gzip
from pathlib import Path

import pytest

from core.errors import RefusedFileError
from core.harmonize.source.bytes import (
    from_windows_1252,
    kind_of,
    line_blocks,
    looks_like_json,
    unpack_gzip,
)
from core.harmonize.source.records import SourceKind, SourceLimits


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"a": 1}\n{"a": 2}\n', SourceKind.JSONL),
        (b'{"a": 1}\nbroken\n{"a": 2}\n', SourceKind.JSONL),
        (b'broken\n{"a": 1}\n{"a": 2}\n', SourceKind.JSONL),
        (b'{"a": 1}\n', SourceKind.JSON),
        (b'\xef\xbb\xbf {"data": [\n{"a": 1}\n]}', SourceKind.JSON),
        (b'[\n  {"a": 1},\n  {"a": 2}\n]', SourceKind.JSON),
        (b'[{"a": 1}, {"a": 2}]', SourceKind.JSON),
        (b"[]", SourceKind.JSON),
        (b"{}", SourceKind.JSON),
        (b'{"a": "' + b"x" * (300 << 10), SourceKind.JSON),
        (b"[Date],[Clicks]\n1,2\n", None),
        (b"{date},clicks\n1,2\n", None),
        (b"a,b\n1,2\n", None),
        (b'a,b\n"{""x"": 1}",2\n', None),
    ],
)
def test_json_is_told_from_tables_and_lines_from_documents(head: bytes, kind: SourceKind | None) -> None:
    assert looks_like_json(head) == kind


def test_text_is_no_kind_of_file_with_a_mark() -> None:
    assert kind_of(b"day,clicks\n", "x") is None
    assert kind_of(b"\xff\xfea\0,\0b\0", "x") is None
    assert kind_of(b"PAR1....", "x") is SourceKind.PARQUET
    assert kind_of(b"PK\x03\x04....", "x") is SourceKind.XLSX


@pytest.mark.parametrize(
    ("raw", "western"),
    [
        (b"caf\xe9\n", True),
        ("NESCAFÉ® 3 €\nThé\n".encode("cp1252"), True),
        (b"plain\n", False),
        ("café\n".encode(), False),
        ("café thé\n".encode() + b"\xe9\n", False),
        (b"\xff\xfe\n", False),
        (b"\x81\n", False),
        (b"\xef\xbb\xbfcaf\xe9\n", False),
    ],
)
def test_windows_1252_is_what_is_no_utf_8_and_could_be_text(
    tmp_path: Path, raw: bytes, western: bool
) -> None:
    (tmp_path / "in").write_bytes(raw)
    assert from_windows_1252(tmp_path / "in", tmp_path / "out") is western
    if western:
        assert (tmp_path / "out").read_text("utf-8-sig") == raw.decode("cp1252")


def test_gzip_is_unpacked_within_its_bounds(tmp_path: Path) -> None:
    path, out = tmp_path / "in.gz", tmp_path / "out"
    path.write_bytes(gzip.compress(b"abc") + gzip.compress(b"def"))
    assert unpack_gzip(path, out, "x", SourceLimits()).read_bytes() == b"abcdef"
    with pytest.raises(RefusedFileError, match="unpacked"):
        unpack_gzip(path, out, "x", SourceLimits(unpacked_bytes=5))


def test_a_file_that_unpacks_to_hundreds_of_times_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(bytes(80 << 20)))
    with pytest.raises(RefusedFileError, match="400 times"):
        unpack_gzip(path, tmp_path / "out", "x", SourceLimits())


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_blocks_are_whole_lines_and_together_the_file(tmp_path: Path, size: int) -> None:
    content = b"one\ntwo\n\nthree\nfour"
    (tmp_path / "in").write_bytes(content)
    blocks = list(line_blocks(tmp_path / "in", b"\n", 4, size, SourceLimits()))
    assert all(whole and block.endswith(b"\n") for block, whole in blocks)
    assert b"".join(block for block, _ in blocks) == content[4:] + b"\n"


def test_a_line_that_is_too_long_is_left_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a\n" + b"x" * 100_000 + b"\nb\n" + b"y" * 100_000)
    found = list(line_blocks(tmp_path / "in", b"\n", 0, 64, SourceLimits(line_bytes=1000)))
    assert [whole for _, whole in found] == [True, False, True, False]
    assert found[1][0].startswith(b"xxx")
    assert len(found[1][0]) <= 8000
    assert found[2][0].startswith(b"b\n")
