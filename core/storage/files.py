"""Files that are either wholly there or not there at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write, fsync, rename, fsync the folder: after a power cut the old or the new file is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def staged_file(final: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary file beside `final` that is synced and renamed when the block ends well, and goes otherwise."""
    final.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: a writer that still opens its file after it has failed finds nothing to put it into.
    folder = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.", suffix=".part"))
    part = folder / final.name
    part.touch()
    try:
        yield part
        _sync_file(part)
        part.chmod(mode)
        part.replace(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sync_directory(final.parent)


@contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final` that becomes `final` in one rename when the block ends well.

    Files are synced before the rename. If `final` exists already the staged copy is thrown away: folders
    are named by content, so the one that is there holds the same bytes.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.", suffix=".part"))
    try:
        yield staging
        for file in sorted(staging.rglob("*")):
            if file.is_file():
                _sync_file(file)
        for folder in [*sorted((p for p in staging.rglob("*") if p.is_dir()), reverse=True), staging]:
            sync_directory(folder)
        if not final.exists():
            staging.rename(final)
            sync_directory(final.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sync_directory(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
