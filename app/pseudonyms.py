"""The key with which this installation hashes what identifies a person: made once, readable by its owner alone.

Whoever has the key can test a guess against a pseudonym, so it is stored apart from the data and shown nowhere. A new
key gives new pseudonyms: rows that were harmonized before no longer join with rows that come after.
"""

import os
import secrets
from pathlib import Path

from core.errors import IntegrityError, UnavailableError
from core.harmonize.records import Mapping
from core.rmis.vocabularies import TransformOp
from core.storage.files import sync_directory

KEY_FILE = "pseudonym.key"
KEY_BYTES = 32


def key_for(mapping: Mapping, home: Path) -> bytes | None:
    """The key, made if there is none, for a mapping that hashes something; None for one that does not."""
    hashes = any(rule.transform.op is TransformOp.PSEUDONYMIZE for rule in mapping.rules)
    return pseudonym_key(home) if hashes else None


def pseudonym_key(home: Path) -> bytes:
    """32 random bytes, the same ones every time. Raises UnavailableError, IntegrityError when the file is damaged."""
    path = home / KEY_FILE
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            "The key for pseudonyms cannot be kept.",
            f"{path}: {error.strerror or error}.",
            "Correct the permissions of the home folder, or free some disk space.",
        ) from None
    if len(key) != KEY_BYTES:
        raise IntegrityError(
            "The key for pseudonyms is damaged.",
            f"{path} has {len(key)} bytes instead of {KEY_BYTES}.",
            "Put a copy of it back. Without one, move it away: later rows then get other pseudonyms.",
        )
    return key


def _make(path: Path) -> None:
    """Whoever comes first makes the key; everybody else uses that one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    handle = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(staging, path)  # unlike a rename it never replaces a key that is there
        except FileExistsError:
            return
        sync_directory(path.parent)
    finally:
        staging.unlink(missing_ok=True)
