"""A base with a composition merged into it: dense W' = W + ΔW in float32, as a whole model folder.

For servers that know no LoRA. The base is read, never written; one tensor is in memory at a time.
"""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.compose.additive import Matrix
from core.errors import RefusedFileError
from core.storage.safetensors_file import (
    ALL_BYTES,
    FLOAT_BYTES,
    TensorInfo,
    read_float32,
    read_header,
    read_json,
)

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
# What a server reads beside config and weights. Nothing else is taken along, above all no code.
COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
    "NOTICE",
)


def merge_base(base: Path, paths: Collection[str], delta: Callable[[str], Matrix], out: Path) -> None:
    """Write the base in `base` with ΔW added at the layers `paths` into the existing folder `out`.

    `delta` gives a layer's (outputs, inputs) matrix. Raises RefusedFileError for a base that is stored quantized,
    that lacks a layer, or whose sum is beyond what float32 can hold.
    """
    config = read_json(base / "config.json")
    if config.get("quantization_config"):
        raise _refused("Its weights are stored quantized.")
    shards = _shards(base)
    headers = {shard: read_header(base / shard, ALL_BYTES) for shard in shards}
    names = {name for header in headers.values() for name in header}
    if missing := sorted(path for path in paths if f"{path}.weight" not in names):
        raise _refused(
            f"It has no weights of its own for {missing[0]}; a tied layer cannot be changed alone."
        )
    for shard, header in headers.items():
        _merge_shard(base / shard, header, set(paths), delta, out / shard)
    if len(shards) > 1 or (base / INDEX_FILE).is_file():
        _write_index(headers, out)
    _write_config(config, out)
    for name in COPIED:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)


def _shards(base: Path) -> list[str]:
    """The files that hold the model: those of the index, else the single one, else all there are."""
    if (base / INDEX_FILE).is_file():
        places = read_json(base / INDEX_FILE, limit_bytes=16 << 20).get("weight_map")
        named = sorted({str(shard) for shard in places.values()}) if isinstance(places, dict) else []
        if not named or any(Path(shard).name != shard or not (base / shard).is_file() for shard in named):
            raise _refused(f"Its {INDEX_FILE} names files that are not there.")
        return named
    if (base / SINGLE_FILE).is_file():
        return [SINGLE_FILE]
    return sorted(file.name for file in base.glob("*.safetensors"))


def _merge_shard(
    source: Path,
    header: dict[str, TensorInfo],
    paths: set[str],
    delta: Callable[[str], Matrix],
    target: Path,
) -> None:
    if others := sorted({info.dtype for info in header.values()} - set(FLOAT_BYTES)):
        raise _refused(f"It holds values of the type {others[0]}, which are no plain weights.")
    with target.open("wb") as file:
        _write_header(file, header)
        for name, info in header.items():
            values = read_float32(source, info)
            path = name.removesuffix(".weight")
            if path in paths and name != path:
                values = _add(values, delta(path), path)
            file.write(np.ascontiguousarray(values, "<f4").data)


def _add(weights: NDArray[np.float32], change: Matrix, path: str) -> NDArray[np.float32]:
    """In float64, rounded once."""
    if weights.shape != change.shape:
        raise _refused(f"Layer {path} is {weights.shape} there and {change.shape} in the adapters.")
    with np.errstate(over="ignore"):
        merged: NDArray[np.float32] = (weights.astype(np.float64) + change).astype(np.float32)
    if not np.isfinite(merged).all():
        raise _refused(f"At layer {path} the sum is too large for float32.")
    return merged


def _write_header(file: BinaryIO, header: dict[str, TensorInfo]) -> None:
    """All tensors as float32, one behind the other; padded so that the data begins at a multiple of 8."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, info in header.items():
        size = int(np.prod(info.shape, dtype=np.int64)) * 4
        entries[name] = {"dtype": "F32", "shape": list(info.shape), "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(len(raw).to_bytes(8, "little") + raw)


def _write_index(headers: dict[str, dict[str, TensorInfo]], out: Path) -> None:
    sizes = (
        int(np.prod(info.shape, dtype=np.int64)) * 4
        for header in headers.values()
        for info in header.values()
    )
    places = {name: shard for shard, header in headers.items() for name in header}
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": places}
    (out / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _write_config(config: dict[str, Any], out: Path) -> None:
    """The number type under the name that the base uses; older files say torch_dtype."""
    names = [name for name in ("dtype", "torch_dtype") if name in config] or ["torch_dtype"]
    content = config | dict.fromkeys(names, "float32")
    (out / "config.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _refused(why: str) -> RefusedFileError:
    return RefusedFileError("This base cannot be merged.", why, "Export an adapter instead: cat or compress.")
