"""An upload on its way to the disk: streamed, bounded, checked, and only then given its final name."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from core.errors import InvalidInputError, QuotaExceededError, UnavailableError
from core.storage.files import CHUNK_BYTES, sync_directory

Checked = TypeVar("Checked")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in its final place."""

    path: Path
    digest: str
    size_bytes: int


def store_upload(
    file: BinaryIO,
    folder: Path,
    limit_bytes: int,
    check: Callable[[Path], tuple[str, Checked]],
    *,
    room_bytes: int | None = None,
) -> tuple[StoredFile, Checked]:
    """Stream `file` into `folder` as `<sha256><suffix>`; `check` reads it and gives suffix and findings.

    The same bytes have the same name, so a second upload replaces a file by itself. Nothing is left behind
    when the file is too large, the check raises, or the disk is full. `room_bytes` is what the quota leaves:
    a file that is larger raises QuotaExceededError.
    """
    with _staged(folder) as staging:
        try:
            digest, size = _copy(file, staging, limit_bytes, room_bytes)
        except OSError as error:
            raise _not_stored(error) from None
        suffix, checked = check(staging)
        final = folder / f"{digest}{suffix}"
        staging.replace(final)
        sync_directory(folder)
    return StoredFile(final, digest, size), checked


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".upload.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise _not_stored(error) from None
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def quota_exceeded() -> QuotaExceededError:
    """Why a file is refused that would take more room than its tenant has."""
    return QuotaExceededError(
        "The uploads of this workspace have no room for this file.",
        "Together they may take as much as RMN_UPLOAD_QUOTA_MB says.",
        "Upload a smaller file, or ask your administrator to raise RMN_UPLOAD_QUOTA_MB.",
    )


def _copy(file: BinaryIO, target: Path, limit_bytes: int, room_bytes: int | None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            size += len(chunk)
            if size > limit_bytes:
                raise InvalidInputError(
                    "The file is too large.",
                    f"It has more than {limit_bytes / 2**20:,.1f} MB.",
                    "Split it, pack it with gzip, or raise RMN_UPLOAD_LIMIT_MB.",
                )
            if room_bytes is not None and size > room_bytes:
                raise quota_exceeded()
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if not size:
        raise InvalidInputError("The file is empty.", "", "Choose another file.")
    return digest.hexdigest(), size


def _not_stored(error: OSError) -> UnavailableError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return UnavailableError(
        "The file could not be stored.",
        f"{error.strerror or error}.",
        "Free some disk space and try again."
        if full
        else "Check the home folder's permissions, then try again.",
    )
