"""An adapter that adds nothing: the base itself under a name of its own.

vLLM's CPU kernels (0.32) give a row without an adapter the adapter of the last slot when it shares a batch with rows
that have one, so the base never goes without. Adding B·A = 0 changes no bit of its answer.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from core.engine.adapter_files import CONFIG, WEIGHTS
from core.engine.sites import Site
from core.storage.files import staged_directory


def write_nothing(sites: tuple[Site, ...], folder: Path) -> Path:
    """A PEFT adapter of rank 1 on one layer with A = B = 0, in `folder`; one that is there already stays."""
    if folder.exists():
        return folder
    site = next((site for site in sites if site.name.endswith(".q_proj")), sites[0])
    prefix = f"base_model.model.{site.name}"
    tensors = {
        f"{prefix}.lora_A.weight": np.zeros((1, site.in_features), np.float32),
        f"{prefix}.lora_B.weight": np.zeros((site.out_features, 1), np.float32),
    }
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "bias": "none"}
    with staged_directory(folder) as staging:
        save_file(tensors, staging / WEIGHTS)
        (staging / CONFIG).write_text(json.dumps(config | {"target_modules": [site.name]}), "utf-8")
    return folder
