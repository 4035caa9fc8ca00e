"""ΔW straight from the files: an oracle that shares no code with the product."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from core.engine.records import AdapterRef, Composition, WeightedAdapter
from core.storage.digests import digest_adapter_folder

Terms = Sequence[WeightedAdapter]
BASE = "b" * 64


def term(folder: Path, weight: float, **where: Any) -> WeightedAdapter:
    return WeightedAdapter(AdapterRef(digest_adapter_folder(folder), folder), weight, **where)


def composition(*terms: WeightedAdapter, base_digest: str = BASE) -> Composition:
    return Composition(base_digest, terms)


def delta_of(folder: Path) -> dict[str, Any]:
    """ΔW of a folder, straight from its files: an oracle that shares no code with the product."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = {k: v.astype(np.float64) for k, v in load_file(folder / "adapter_model.safetensors").items()}
    deltas = {}
    for name, a in tensors.items():
        if name.endswith("lora_A.weight"):
            path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = next(
                (v for k, v in config.get("alpha_pattern", {}).items() if path.endswith(k)),
                config["lora_alpha"],
            )
            r = a.shape[0]
            scale = alpha / (r**0.5 if config.get("use_rslora") else r)
            deltas[path] = scale * tensors[name.replace("lora_A", "lora_B")] @ a
    return deltas


def weighted_sum(terms: Terms) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for one in terms:
        for path, delta in delta_of(one.adapter.path).items():
            block = int(path.split(".")[2])
            if one.layers is None or one.layers[0] <= block <= one.layers[1]:
                total[path] = total.get(path, 0) + one.weight * dict(one.gains).get(path, 1.0) * delta
    return total


def frobenius(deltas: dict[str, Any]) -> float:
    return float(np.sqrt(sum(np.sum(d**2) for d in deltas.values())))


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {p: one.get(p, 0) - other.get(p, np.zeros(1)) for p in one.keys() | other.keys()}
