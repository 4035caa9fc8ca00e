"""How much memory a base needs, how much there is, and what would fit instead."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from core.errors import InsufficientMemoryError, RefusedFileError

Quantization = Literal["none", "8bit", "4bit"]
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# bitsandbytes keeps one byte per weight and a float32 per row (8-bit), or half a byte and a scale per 64
# weights (4-bit; the scales are quantized once more). Embeddings, the output head and norms stay as they are.
QUANTIZED_BYTES = {"8bit": 1.01, "4bit": 0.52}
WORKING_SHARE = 0.10
WORKING_BYTES = 64 << 20
HEADER_LIMIT = 100 << 20
_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class WeightCount:
    """Numbers of weights: in linear layers that can be quantized, and all others."""

    linear: int
    other: int


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of the weights once loaded, and of everything at the worst moment up to the first answer."""

    weights: int
    peak: int


def count_weights(folder: Path) -> WeightCount:
    """Read from the headers of the safetensors files; no weight is loaded."""
    linear = other = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _read_header(file).items():
            if name == "__metadata__":
                continue
            size = 1
            for length in entry["shape"]:
                size *= length
            is_linear = len(entry["shape"]) == 2 and "embed" not in name and "lm_head" not in name
            linear, other = (linear + size, other) if is_linear else (linear, other + size)
    return WeightCount(linear, other)


def _read_header(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > HEADER_LIMIT:
                raise ValueError("its header is too long")
            header = json.loads(stream.read(length))
        if not isinstance(header, dict) or not all(
            "shape" in e for n, e in header.items() if n != "__metadata__"
        ):
            raise ValueError("its header is not a table of tensors")
    except (OSError, ValueError, struct.error, TypeError) as error:
        raise RefusedFileError(
            f"{file.name} is not a safetensors file.", f"{error}.", "Fetch it again."
        ) from None
    return header


def estimate(
    count: WeightCount, *, dtype: str, quantization: Quantization, kv_bytes: int = 0
) -> MemoryEstimate:
    """Bytes for a base with `count` weights; `kv_bytes` is what one long answer's keys and values take."""
    item = ITEM_BYTES[dtype]
    linear = count.linear * (item if quantization == "none" else QUANTIZED_BYTES[quantization])
    weights = int(linear + count.other * item)
    # A layer that is being quantized is in memory twice; a tenth covers that, activations and the allocator.
    return MemoryEstimate(weights, int(weights * (1 + WORKING_SHARE)) + kv_bytes + WORKING_BYTES)


def kv_bytes_per_token(config: Any, item_bytes: int) -> int:
    """Bytes of keys and values of one token in all layers. `config` is a transformers configuration."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * item_bytes)


def free_bytes(device: Any) -> int:
    """Bytes that can be taken now: of the GPU, or of the machine within the limit of its container."""
    if getattr(device, "type", "cpu") == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    room = _container_room(_CGROUP)
    return available if room is None else min(available, room)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's own error, that of a GPU, or that of the allocator on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _container_room(cgroup: Path) -> int | None:
    """Bytes left below the memory limit of this container (control groups 2, then 1); None: no limit."""
    for limit_file, used_file in _CGROUP_FILES:
        try:
            limit = (cgroup / limit_file).read_text().strip()
            used = (cgroup / used_file).read_text().strip()
        except OSError:
            continue
        if limit.isdigit() and int(limit) < 1 << 60:
            return max(0, int(limit) - int(used) + _reclaimable(cgroup / used_file))
    return None


def _reclaimable(used_file: Path) -> int:
    """File cache that counts as used but gives way."""
    try:
        lines = (used_file.parent / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(values.get("inactive_file", values.get("total_inactive_file", "0")))


def check_fits(
    name: str,
    count: WeightCount,
    *,
    dtype: str,
    quantization: Quantization,
    free: int,
    where: str,
    kv_bytes: int = 0,
) -> MemoryEstimate:
    """The estimate, if it fits into `free` bytes. Raises InsufficientMemoryError that says what would fit."""
    wanted = estimate(count, dtype=dtype, quantization=quantization, kv_bytes=kv_bytes)
    if wanted.peak <= free:
        return wanted
    smaller: list[tuple[str, Quantization]] = [
        ("bfloat16", "none"),
        ("bfloat16", "8bit"),
        ("bfloat16", "4bit"),
    ]
    fitting = []
    for other_dtype, other in smaller:
        peak = estimate(count, dtype=other_dtype, quantization=other, kv_bytes=kv_bytes).peak
        if peak <= free and peak < wanted.peak:
            label = other_dtype if other == "none" else other
            fitting.append(f"{label} would need {_gigabytes(peak)}")
    raise InsufficientMemoryError(
        f"The base model {name} does not fit into {where}.",
        f"As {dtype if quantization == 'none' else quantization} it needs about {_gigabytes(wanted.peak)}, "
        f"and {_gigabytes(free)} are free.",
        f"It would fit differently: {', '.join(fitting)}. Set base_quantization or base_dtype."
        if fitting
        else "Not even 4bit would fit: choose a smaller model, or a machine with more memory.",
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
