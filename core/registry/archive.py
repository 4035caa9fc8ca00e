"""Zip files from strangers: looked at whole before a byte is unpacked, then unpacked under our own names."""

import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from core.errors import RefusedFileError
from core.storage.safetensors_file import looks_like_archive, looks_like_pickle

MAX_ENTRIES = 64
MAX_DIRECTORY_BYTES = 64 << 10
MAX_RATIO = 100
MAX_DEPTH = 4
CHUNK_BYTES = 1 << 20
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".zst", ".rar"})
END_RECORD = b"PK\x05\x06"
END_RECORD_BYTES, LOCATOR_BYTES, LOCAL_HEADER_BYTES = 22, 20, 30


def unpack(file: BinaryIO, into: Path, wanted: Iterable[str], marker: str, limit_bytes: int) -> None:
    """Write those files of `wanted` that lie beside `marker` in the zip to `into`, under exactly these names.

    Refused: traversal, absolute or doubled names, links and devices, encryption, zip64, more than 64 entries,
    more than `limit_bytes` unpacked, a ratio over 100, entries that overlap, pickles and archives by name and
    by content. Raises RefusedFileError with the reason; then nothing outside `into` was written.
    """
    _check_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive.infolist(), limit_bytes)
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in entries:
                with archive.open(entry) as content:
                    _check_content(entry.filename, content.read(512))
            folder = _folder_of(entries, marker)
            for entry in entries:
                path = PurePosixPath(entry.filename)
                if path.parent == folder and path.name in wanted:
                    _write(archive, entry, into / path.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise refused(f"It is damaged ({str(error)[:100]}).") from None


def refused(why: str) -> RefusedFileError:
    """The error of a package that may not come in."""
    return RefusedFileError(
        "This package was refused.",
        why,
        "Give a zip with adapter_model.safetensors and adapter_config.json, as the export makes it.",
    )


def _check_end(file: BinaryIO) -> None:
    """The size of the directory is checked before the library reads it, because each entry costs memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END_RECORD_BYTES - LOCATOR_BYTES))
    tail = file.read()
    file.seek(0)
    end = tail[-END_RECORD_BYTES:]
    if len(end) < END_RECORD_BYTES or not end.startswith(END_RECORD) or end[20:22] != b"\0\0":
        raise refused("It does not end as a zip without a comment ends.")
    if tail[:-END_RECORD_BYTES].startswith(b"PK\x06\x07"):
        raise refused("It is a zip64 archive; adapters are far smaller.")
    if int.from_bytes(end[12:16], "little") > MAX_DIRECTORY_BYTES:
        raise refused(f"It holds far more than {MAX_ENTRIES} entries.")


def _check_entries(entries: list[zipfile.ZipInfo], limit_bytes: int) -> None:
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise refused(f"It holds {len(entries)} entries; 1 to {MAX_ENTRIES} are allowed.")
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry.orig_filename)
        folded = unicodedata.normalize("NFKC", entry.filename).casefold().rstrip("/")
        if folded in seen:
            raise refused(f"The name «{entry.filename[:80]}» is in it twice.")
        seen.add(folded)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refused(f"«{entry.filename[:80]}» is a link or a device.")
        if entry.flag_bits & 0x1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused(f"«{entry.filename[:80]}» is encrypted or packed in an unusual way.")
        if entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise refused(f"«{entry.filename[:80]}» would grow more than {MAX_RATIO} times.")
    if sum(entry.file_size for entry in entries) > limit_bytes:
        raise refused(f"Unpacked it would be larger than {limit_bytes >> 20} MB.")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for one, following in pairwise(ordered):
        if one.header_offset + LOCAL_HEADER_BYTES + one.compress_size > following.header_offset:
            raise refused("Its entries overlap.")


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if (
        not name
        or not name.isprintable()
        or any(sign in name for sign in "\\:%")
        or path.is_absolute()
        or any(part in ("", ".", "..") for part in name.removesuffix("/").split("/"))
        or len(path.parts) > MAX_DEPTH
        or len(name) > 255
    ):
        raise refused(f"The name «{name[:80]!r}» could lead out of the package's folder.")
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & PICKLE_SUFFIXES:
        raise refused(f"«{name[:80]}» is a pickle by its name, which can run code. Leave it out.")
    if suffixes & ARCHIVE_SUFFIXES:
        raise refused(f"«{name[:80]}» is an archive inside the archive. Leave it out.")


def _check_content(name: str, head: bytes) -> None:
    if looks_like_pickle(head):
        raise refused(f"«{name[:80]}» is a Python pickle, which can run code. Leave it out.")
    if looks_like_archive(head):
        raise refused(f"«{name[:80]}» is an archive inside the archive. Leave it out.")


def _folder_of(entries: list[zipfile.ZipInfo], marker: str) -> PurePosixPath:
    found = [PurePosixPath(e.filename) for e in entries if PurePosixPath(e.filename).name == marker]
    if len(found) != 1:
        raise refused(f"It holds {len(found)} files {marker}; it must hold one.")
    return found[0].parent


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    left = entry.file_size
    with archive.open(entry) as content, target.open("xb") as out:
        while chunk := content.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise refused(f"«{entry.filename[:80]}» is longer than it says.")
            out.write(chunk)
    if left:
        raise refused(f"«{entry.filename[:80]}» is shorter than it says.")
