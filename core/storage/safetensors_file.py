"""Safetensors files read without torch and without trust: header first, with strict limits, then values.

Format: 8 bytes little-endian length of the header, the header (JSON: name → dtype, shape, place), data.
Source: https://github.com/huggingface/safetensors, «Format».
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import RefusedFileError

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
CHUNK_VALUES = 1 << 20
FLOAT_BYTES = MappingProxyType({"F32": 4, "F16": 2, "BF16": 2})
# A base may be stored quantized; its header is only counted, its values are never read here.
ALL_BYTES = MappingProxyType(
    {
        **FLOAT_BYTES,
        **{"F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
        **{"F8_E4M3": 1, "F8_E5M2": 1},
    }
)
PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
ARCHIVE_STARTS = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: `start` is the absolute position of its first byte, `size` its bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def looks_like_pickle(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a Python pickle (protocol 2 and later)."""
    return head.startswith(PICKLE_STARTS)


def looks_like_archive(head: bytes) -> bool:
    """Whether the first bytes (512 for tar) are those of a zip, gzip, bzip2, xz, 7z, zstd or tar file."""
    return head.startswith(ARCHIVE_STARTS) or head[257:262] == b"ustar"


def read_header(path: Path, dtypes: Mapping[str, int] = FLOAT_BYTES) -> dict[str, TensorInfo]:
    """Names, types, shapes and places of all tensors; no value is read. `dtypes`: allowed types, their bytes.

    The data must be covered exactly: no overlap, no hole, nothing behind. Raises RefusedFileError.
    """
    with path.open("rb") as file:
        return _header(path.name, file, path.stat().st_size, dtypes)


def read_header_of(data: bytes, name: str, dtypes: Mapping[str, int] = FLOAT_BYTES) -> dict[str, TensorInfo]:
    """As `read_header`, of a whole file in memory; `name` is what refusals call it."""
    return _header(name, BytesIO(data), len(data), dtypes)


def _header(file_name: str, file: BinaryIO, size: int, dtypes: Mapping[str, int]) -> dict[str, TensorInfo]:
    head = file.read(512)
    if looks_like_pickle(head):
        raise _refused(file_name, "It is a Python pickle, which can run code when it is read.")
    if looks_like_archive(head):
        raise _refused(file_name, "It is an archive (older PyTorch files are), not safetensors.")
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or length > min(MAX_HEADER_BYTES, size - 8):
        raise _refused(file_name, "Its header is cut off or longer than 8 MB.")
    file.seek(8)
    raw = file.read(length)
    entries = _parse(file_name, raw)
    entries.pop("__metadata__", None)
    if not 1 <= len(entries) <= MAX_TENSORS:
        raise _refused(file_name, f"It holds {len(entries)} tensors; 1 to {MAX_TENSORS} are allowed.")
    tensors = {name: _tensor(file_name, name, entry, 8 + length, dtypes) for name, entry in entries.items()}
    position = 8 + length
    for name, info in sorted(tensors.items(), key=lambda item: item[1].start):
        if info.start != position:
            raise _refused(
                file_name, f"Tensor «{name[:80]}» overlaps another one or leaves a hole before it."
            )
        position += info.size
    if position != size:
        raise _refused(file_name, f"Its tensors end at byte {position}, the file at byte {size}.")
    return tensors


def check_finite(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise RefusedFileError if any value is NaN or infinite. Reads in chunks of about a million values."""
    with path.open("rb") as file:
        for name, info in tensors.items():
            file.seek(info.start)
            width, left = FLOAT_BYTES[info.dtype], info.size
            while left:
                raw = _read_exactly(path.name, file, min(left, CHUNK_VALUES * width))
                left -= len(raw)
                if not _all_finite(raw, info.dtype):
                    raise _refused(path.name, f"Tensor «{name[:80]}» holds NaN or infinite values.")


def read_float32(path: Path, info: TensorInfo) -> NDArray[np.float32]:
    """The values of one tensor, in its shape, as float32 (exact for F32, F16 and BF16)."""
    with path.open("rb") as file:
        file.seek(info.start)
        return float32_values(_read_exactly(path.name, file, info.size), info)


def float32_values(raw: bytes, info: TensorInfo) -> NDArray[np.float32]:
    """The bytes of one tensor as float32, in its shape; a copy."""
    if info.dtype == "BF16":
        values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, "<f4" if info.dtype == "F32" else "<f2").astype(np.float32)
    return values.reshape(info.shape)


def read_json(path: Path, limit_bytes: int = 1 << 20) -> dict[str, Any]:
    """A JSON object from a file, strictly: no duplicate keys, no NaN. Raises RefusedFileError."""
    with path.open("rb") as file:
        raw = file.read(limit_bytes + 1)
    if len(raw) > limit_bytes:
        raise _refused(path.name, f"It is larger than {limit_bytes >> 20} MB.")
    return _parse(path.name, raw)


def _parse(file_name: str, raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _refused(file_name, "It (or its header) is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _refused(file_name, "It (or its header) is not a JSON object.")
    return value


def _tensor(file_name: str, name: str, entry: Any, data_start: int, dtypes: Mapping[str, int]) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _refused(file_name, f"The entry of tensor «{name[:80]}» is malformed.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise _refused(
            file_name, f"Tensor «{name[:80]}» has type {str(dtype)[:20]}, not one of {', '.join(dtypes)}."
        )
    if not (_is_counts(shape) and len(shape) <= 8 and _is_counts(offsets) and len(offsets) == 2):
        raise _refused(file_name, f"Shape or place of tensor «{name[:80]}» is malformed.")
    size = math.prod(shape) * dtypes[dtype]
    if size == 0 or offsets[1] - offsets[0] != size:
        raise _refused(file_name, f"Tensor «{name[:80]}» is empty or has not the {size} bytes of its shape.")
    return TensorInfo(dtype, tuple(shape), data_start + offsets[0], size)


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _all_finite(raw: bytes, dtype: str) -> bool:
    if dtype == "BF16":
        return bool(((np.frombuffer(raw, "<u2") & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2")).all())


def _read_exactly(file_name: str, file: BinaryIO, count: int) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        raise _refused(file_name, "It is cut off.")
    return raw


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key appears twice")
    return entries


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _refused(file_name: str, why: str) -> RefusedFileError:
    return RefusedFileError(
        f"The file {file_name} was refused.", why, "Give a LoRA adapter that PEFT saved as safetensors."
    )
