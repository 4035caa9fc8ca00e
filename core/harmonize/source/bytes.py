"""The bytes of a source before they are rows: unpacked, told apart by content, brought to UTF-8."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from core.harmonize.source.records import RAW_SHOWN, SourceKind, SourceLimits, refused
from core.storage.files import CHUNK_BYTES

GZIP, ZIP, PARQUET, OLE, PDF = b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0", b"%PDF"
#: Bytes at the beginning of a text by which its format is told.
HEAD_BYTES = 256 << 10
#: Text that is turned into rows at once where no plain scan can.
BLOCK_BYTES = 4 << 20
#: No honest table packs better than this once it is large.
_MOST_PACKED, _LARGE = 400, 64 << 20

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml|[a-z]+[ >])", re.IGNORECASE)
_OPEN_LIST = re.compile(rb'\s*\[\s*[\[\]{"\d\-tfn]')
_OPEN_OBJECT = re.compile(rb'\s*\{\s*["}]')
# High bytes that windows-1252 text hardly ever holds: undefined ones, and thorn and y with diaeresis.
_HIGH = bytes(range(128, 256))
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d\xde\xfe\xff]")
# A well-formed sequence of UTF-8 beyond ASCII.
_MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)


def unpack_gzip(path: Path, target: Path, name: str, limits: SourceLimits) -> Path:
    """The unpacked bytes in `target`, streamed. Raises RefusedFileError for bombs and damaged data."""
    packed, unpacked = path.stat().st_size, 0
    try:
        with gzip.open(path, "rb") as file, target.open("wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                unpacked += len(chunk)
                if unpacked > limits.unpacked_bytes:
                    raise refused(
                        name,
                        f"It holds more than {limits.unpacked_bytes >> 20:,} MB unpacked.",
                        "Split it up.",
                    )
                if unpacked > max(_LARGE, _MOST_PACKED * packed):
                    raise refused(
                        name,
                        f"It unpacks to more than {_MOST_PACKED} times its size, which no table of real rows does.",
                        "Unpack it yourself and look at what it holds.",
                    )
                out.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise refused(name, "Its gzip data is damaged or cut off.", "Pack or copy it again.") from None
    return target


def head_of(path: Path, count: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def kind_of(head: bytes, name: str) -> SourceKind | None:
    """Parquet or XLSX by its first bytes, None for text. Raises RefusedFileError for what is neither."""
    if head.startswith(PARQUET):
        return SourceKind.PARQUET
    if head.startswith(ZIP):
        return SourceKind.XLSX
    if head.startswith(GZIP):
        raise refused(name, "It is a gzip file inside a gzip file.", "Unpack it once.")
    if head.startswith(OLE):
        raise refused(
            name, "It is an old Excel file (.xls) or is locked with a password.", "Save it as .xlsx."
        )
    if head.startswith(PDF) or _MARKUP.match(head[:200].removeprefix(codecs.BOM_UTF8)):
        raise refused(name, "It is a document (PDF, HTML or XML), not a table.")
    if head[:2] not in _UTF16 and head.count(b"\0") > 16 + len(head) // 50:
        raise refused(name, "It holds binary data, not text.")
    return None


def line_blocks(
    path: Path, newline: bytes, start: int, size: int, limits: SourceLimits
) -> Iterator[tuple[bytes, bool]]:
    """(whole lines, True), the last with a line end; (the beginning of a line that is too long, False)."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while chunk := file.read(size):
            cut = chunk.rfind(newline) + 1
            if cut:
                yield b"".join((rest, memoryview(chunk)[:cut])), True
                rest = chunk[cut:]
                continue
            rest += chunk
            if len(rest) > limits.line_bytes:
                beginning, rest = rest[: 4 * RAW_SHOWN], b""
                _leave_line(file, newline, size)
                yield beginning, False
        if rest:
            yield rest + newline, True


def _leave_line(file: io.FileIO, newline: bytes, size: int) -> None:
    while chunk := file.read(size):
        cut = chunk.find(newline) + 1
        if cut:
            file.seek(cut - len(chunk), io.SEEK_CUR)
            return


def from_utf16(path: Path, target: Path) -> bool:
    """Whether a text is UTF-16 by its byte order mark; then `target` holds it in UTF-8 with such a mark."""
    encoding = _UTF16.get(head_of(path, 2))
    if encoding:
        _transcode(path, target, encoding, skip=2)
    return bool(encoding)


def from_windows_1252(path: Path, target: Path) -> bool:
    """Whether a text that is not valid UTF-8 is windows-1252; then `target` holds it in UTF-8.

    It is UTF-8 with broken rows where it has a byte order mark, where most signs beyond ASCII are well formed,
    or where a sign would be none that windows-1252 text has.
    """
    if head_of(path, 3) == codecs.BOM_UTF8:
        return False
    formed = stray = 0
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(CHUNK_BYTES), b""):
            if line.isascii():
                continue
            rest, found = _MULTIBYTE.subn(b"", line)
            if _NOT_1252.search(rest):
                return False
            formed += found
            stray += len(rest) - len(rest.translate(None, _HIGH))
    if stray <= formed:
        return False
    _transcode(path, target, "cp1252", skip=0)
    return True


def looks_like_json(head: bytes) -> SourceKind | None:
    """JSON or JSONL by the first lines of a text in UTF-8, None where they are no JSON."""
    head = head.removeprefix(codecs.BOM_UTF8)
    whole = len(head) < HEAD_BYTES - 3
    lines = [line for line in head.splitlines()[: None if whole else -1] if line.strip()][:50]
    objects = [_is_object(line) for line in lines]
    if len(lines) > 1 and sum(objects) * 2 > len(lines):
        return SourceKind.JSONL
    if _OPEN_OBJECT.match(head):
        # One object and nothing else, or an object that stays open over lines, is a document.
        return SourceKind.JSONL if len(lines) > 1 and objects[0] else SourceKind.JSON
    return SourceKind.JSON if _OPEN_LIST.match(head) else None


def _is_object(line: bytes) -> bool:
    line = line.strip()
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _transcode(path: Path, target: Path, encoding: str, skip: int) -> None:
    # Half a surrogate pair of UTF-16 becomes bytes that are no UTF-8, so its row is broken and not the file.
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if skip else "strict")
    with path.open("rb") as file, target.open("wb") as out:
        file.seek(skip)
        out.write(codecs.BOM_UTF8)
        while chunk := file.read(CHUNK_BYTES):
            out.write(decoder.decode(chunk).encode("utf-8", "surrogatepass"))
        out.write(decoder.decode(b"", final=False).encode("utf-8", "surrogatepass"))
