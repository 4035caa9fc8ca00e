"""All that is known about a trained adapter: its manifest, which travels with the weights."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.datasets.records import Dataset
from core.registry.records import Manifest
from core.storage.digests import digest_adapter_folder
from core.training.records import TrainingSpec

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "tokenizers",
    "safetensors",
    "bitsandbytes",
)


def library_versions() -> dict[str, str]:
    """Versions of what makes an adapter, without importing any of it."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def make_manifest(
    trained: Path,
    spec: TrainingSpec,
    dataset: Dataset,
    *,
    base_name: str,
    base_digest: str,
    parameters: int,
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
) -> Manifest:
    """All that is known about the adapter in `trained`. The same run gives the same manifest."""
    return Manifest(
        name=spec.name,
        type=spec.adapter_type,
        digest=digest_adapter_folder(trained),
        base_name=base_name,
        base_digest=base_digest,
        rank=spec.lora.rank,
        target_modules=sorted(spec.lora.target_modules),
        parameters=parameters,
        simulated=dataset.simulated,
        created_at=training["finished_at"],
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        training_spec=spec.model_dump(mode="json"),
        evaluation=json.loads(json.dumps(evaluation)) if evaluation else None,
        training=dict(training),
        versions=library_versions(),
    )
