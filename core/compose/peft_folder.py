"""Factors of every layer as an adapter folder in PEFT's format."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.compose.additive import Factors
from core.registry.verify import CONFIG_FILE, WEIGHTS_FILE


def write_adapter(folder: Path, layers: Mapping[str, Factors]) -> None:
    """Write layer path → factors into the existing `folder`, as float32.

    alpha = rank in every layer, so the scale is 1 even for a server that does not read the patterns.
    """
    from safetensors.numpy import save_file

    tensors = {}
    for path, layer in layers.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = np.ascontiguousarray(layer.a, np.float32)
        tensors[f"base_model.model.{path}.lora_B.weight"] = np.ascontiguousarray(layer.b, np.float32)
    ranks = {path: layer.a.shape[0] for path, layer in layers.items()}
    rank = max(ranks.values())
    others = {path: layer_rank for path, layer_rank in ranks.items() if layer_rank != rank}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": list(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
