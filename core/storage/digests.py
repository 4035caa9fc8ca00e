"""Digests that name a base model or an adapter by its content."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from core.errors import RefusedFileError
from core.storage.files import sha256_of

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def digest_base_folder(folder: Path) -> str:
    """Hex SHA-256 of a base: config.json, tokenizer.json where there is one, and every *.safetensors.

    Raises RefusedFileError when there is no config.json or no safetensors file.
    """
    config, weights = folder / "config.json", sorted(folder.glob("*.safetensors"))
    if not config.is_file() or not weights:
        raise RefusedFileError(
            f"{folder.name} is not a base model folder.",
            "It needs config.json and at least one *.safetensors file.",
            "Point to a folder that holds both.",
        )
    tokenizer = folder / "tokenizer.json"
    return digest_of_files([config, *([tokenizer] if tokenizer.is_file() else []), *weights])


def digest_adapter_folder(folder: Path) -> str:
    """Hex SHA-256 of an adapter: adapter_config.json and adapter_model.safetensors, nothing else.

    Raises RefusedFileError when one of the two is missing.
    """
    files = [folder / name for name in ADAPTER_FILES]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise RefusedFileError(
            f"{folder.name} is not an adapter folder.",
            f"Missing: {', '.join(missing)}.",
            "Give a LoRA adapter in PEFT's safetensors format.",
        )
    return digest_of_files(files)


def digest_of_files(files: Iterable[Path]) -> str:
    """Hex SHA-256 over one line `name sha256` per file, sorted by name."""
    lines = sorted(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
