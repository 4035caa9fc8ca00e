"""Adapters come in and go out: verified, published under their digest, exported as a zip."""

import errno
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from core.errors import InvalidInputError, NotFoundError, RefusedFileError, UnavailableError
from core.registry.archive import CHUNK_BYTES, refused, unpack
from core.registry.bases import BaseFacts
from core.registry.card import adapter_card
from core.registry.records import Adapter, AdapterType, Manifest
from core.registry.service import check_bytes, check_name
from core.registry.verify import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts, check_manifest, verify_folder
from core.storage.digests import digest_adapter_folder
from core.storage.files import staged_directory, write_atomically
from core.storage.safetensors_file import looks_like_archive, looks_like_pickle, read_json

MANIFEST_FILE, CARD_FILE = "manifest.json", "README.md"
DEFAULT_LIMIT_BYTES = 512 << 20
OLD_ENOUGH = (1980, 1, 1, 0, 0, 0)


@contextmanager
def _disk_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "Free some disk space" if full else "Check the home folder's permissions"
        why = f"{error.strerror or type(error).__name__}."
        raise UnavailableError(
            "The adapter could not be stored.", why, f"{advice}, then try again."
        ) from None


@_disk_explained()
def import_package(
    source: BinaryIO | Path,
    *,
    adapters_dir: Path,
    base: BaseFacts,
    name: str | None = None,
    type: AdapterType | None = None,
    config: BinaryIO | Path | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
    now: datetime,
) -> tuple[Path, Manifest]:
    """Take in an adapter and publish it as `adapters_dir`/<digest>. Answers the folder and the manifest.

    `source`: a zip, a folder, or a .safetensors file with its adapter_config.json in `config` (or beside it).
    An adapter without our manifest needs `name` and `type`; given with a manifest, they replace its own.
    Raises RefusedFileError (unsafe, or not an adapter of `base`), InvalidInputError, NotFoundError.
    """
    if name is not None:
        check_name(name)
    adapters_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=adapters_dir, prefix=".import.") as staging_name:
        staging = Path(staging_name)
        _collect(source, config, staging, limit_bytes)
        facts = verify_folder(staging, base=base)
        if (staging / MANIFEST_FILE).exists():
            manifest = read_manifest(staging)
            check_manifest(manifest, facts, base)
            chosen = {"name": name or manifest.name, "type": type or manifest.type, "base_name": base.name}
            manifest = manifest.model_copy(update=chosen)
            check_name(manifest.name)
        elif name is None or type is None:
            raise InvalidInputError(
                "This adapter has no manifest, so it needs a name and a type.",
                "It was not made by this product.",
                "Give it a name, and a type: retailer, task, brand or domain.",
            )
        else:
            manifest = build_manifest(facts, name=name, type=type, base=base, now=now)
        return publish(staging, manifest, adapters_dir), manifest


def publish(folder: Path, manifest: Manifest, adapters_dir: Path) -> Path:
    """Copy weights and configuration to `adapters_dir`/<digest> with manifest and card, wholly or not at all.

    Weights that are there already stay and get this manifest; damaged ones are replaced.
    """
    final = adapters_dir / manifest.digest
    words = {MANIFEST_FILE: manifest.model_dump_json(indent=2) + "\n", CARD_FILE: adapter_card(manifest)}
    if final.exists():  # looked at once: whoever appears a moment later is whole, and must not be put away
        if _holds(final, manifest.digest):
            for name, text in words.items():
                write_atomically(final / name, text.encode())
            return final
        doomed = Path(tempfile.mkdtemp(dir=adapters_dir, prefix=".damaged."))
        final.rename(doomed / final.name)
        shutil.rmtree(doomed, ignore_errors=True)
    try:
        with staged_directory(final) as staging:
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copyfile(folder / name, staging / name)
            for name, text in words.items():
                (staging / name).write_text(text, "utf-8")
    except OSError:
        if not _holds(final, manifest.digest):  # otherwise somebody else published the same a moment earlier
            raise
    return final


def build_manifest(
    facts: AdapterFacts, *, name: str, type: AdapterType, base: BaseFacts, now: datetime, **more: Any
) -> Manifest:
    """A manifest that tells what the files hold. `more`: further fields of Manifest (dataset_name…)."""
    return Manifest(
        name=name,
        type=type,
        digest=facts.digest,
        base_name=base.name,
        base_digest=base.digest,
        rank=facts.rank,
        target_modules=list(facts.target_modules),
        parameters=facts.parameters,
        created_at=now,
        **more,
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder. Raises RefusedFileError when there is none or it is not one."""
    path = folder / MANIFEST_FILE
    if path.is_symlink() or not path.is_file():
        raise refused("It has no manifest.json.")
    try:
        return Manifest.model_validate_json(json.dumps(read_json(path)))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise refused(f"Its manifest.json is not one ({wrong[:300]}).") from None


@_disk_explained()
def export_package(adapter: Adapter, folder: Path) -> Path:
    """Write `folder`/<name>-v<version>.zip: weights, configuration, manifest, card; always the same bytes.

    Raises IntegrityError when the stored files are no longer what was registered.
    """
    check_bytes(adapter)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', adapter.name)}-v{adapter.version}.zip"
    handle, partial = tempfile.mkstemp(dir=folder, prefix=".export.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                with (
                    (Path(adapter.path) / name).open("rb") as content,
                    archive.open(_entry(name), "w") as out,
                ):
                    shutil.copyfileobj(content, out, CHUNK_BYTES)
            archive.writestr(_entry(MANIFEST_FILE), adapter.manifest.model_dump_json(indent=2) + "\n")
            archive.writestr(_entry(CARD_FILE), adapter_card(adapter.manifest))
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


def _collect(source: BinaryIO | Path, config: BinaryIO | Path | None, into: Path, limit_bytes: int) -> None:
    """Bring weights, configuration and, where there is one, the manifest into the folder `into`."""
    if isinstance(source, Path):
        if source.is_dir():
            for name in (WEIGHTS_FILE, CONFIG_FILE, MANIFEST_FILE):
                if (source / name).is_file() or (source / name).is_symlink():
                    _copy_path(source / name, into / name, limit_bytes)
            return
        if source.is_symlink() or not source.is_file():
            raise NotFoundError(f"There is no file {source.name}.", "", "Check the path.")
        if config is None and (source.parent / CONFIG_FILE).is_file():
            config = source.parent / CONFIG_FILE
        with source.open("rb") as file:
            _collect(file, config, into, limit_bytes)
        return
    head = source.read(512)
    source.seek(0)
    if head.startswith(b"PK"):
        unpack(source, into, (WEIGHTS_FILE, CONFIG_FILE, MANIFEST_FILE), CONFIG_FILE, limit_bytes)
        return
    if looks_like_pickle(head) or looks_like_archive(head):
        raise refused("It is a Python pickle or an archive of another kind than zip.")
    if config is None:
        raise refused("A single .safetensors file needs its adapter_config.json beside it.")
    _copy_stream(source, into / WEIGHTS_FILE, limit_bytes)
    if isinstance(config, Path):
        _copy_path(config, into / CONFIG_FILE, limit_bytes)
    else:
        _copy_stream(config, into / CONFIG_FILE, limit_bytes)


def _copy_path(source: Path, target: Path, limit_bytes: int) -> None:
    if source.is_symlink() or not source.is_file():
        raise refused(f"{source.name} is not a regular file.")
    with source.open("rb") as file:
        _copy_stream(file, target, limit_bytes)


def _copy_stream(source: BinaryIO, target: Path, limit_bytes: int) -> None:
    left = limit_bytes
    with target.open("xb") as out:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise refused(f"It is larger than {limit_bytes >> 20} MB.")
            out.write(chunk)


def _holds(folder: Path, digest: str) -> bool:
    try:
        return digest_adapter_folder(folder) == digest
    except (RefusedFileError, OSError):
        return False


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, OLD_ENOUGH)
    entry.compress_type = zipfile.ZIP_STORED if name == WEIGHTS_FILE else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
