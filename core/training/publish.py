"""A trained adapter becomes a folder that anybody can verify, load and read about."""

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.datasets.records import Dataset
from core.registry.records import Manifest
from core.storage.digests import ADAPTER_FILES, digest_adapter_folder
from core.storage.files import staged_directory
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


def publish_adapter(trained: Path, manifest: Manifest, adapters_dir: Path) -> Path:
    """Put the files of `trained`, the manifest and a card into <adapters_dir>/<digest>, in one rename.

    A folder that is there already has the same content by its name, and stays.
    """
    final = adapters_dir / manifest.digest
    if not final.is_dir():
        with staged_directory(final) as folder:
            for name in ADAPTER_FILES:
                shutil.copyfile(trained / name, folder / name)
            (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
            (folder / "README.md").write_text(adapter_card(manifest), "utf-8")
    return final


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


def adapter_card(manifest: Manifest) -> str:
    """README.md of an adapter: what it is, from what, how good, how to use it."""
    lines = [
        f"# {manifest.name}",
        "",
        f"A LoRA adapter of type «{manifest.type}» for the base {manifest.base_name}.",
        *(["", "Trained on simulated data."] if manifest.simulated else []),
        "",
        "| | |",
        "|---|---|",
        f"| digest | `{manifest.digest}` |",
        f"| base | {manifest.base_name} `{manifest.base_digest}` |",
        f"| rank, layers | {manifest.rank}, {', '.join(manifest.target_modules)} |",
        f"| parameters | {manifest.parameters:,} |",
        f"| dataset | {manifest.dataset_name} `{manifest.dataset_digest}` |",
    ]
    if manifest.training:
        figures = manifest.training
        lines.append(
            f"| training | {figures['steps']} steps, {figures['seconds']:.0f} s, "
            f"final loss {figures['final_loss']:.3f} |"
        )
    if manifest.evaluation:
        lines += ["", *_evaluation_lines(manifest.evaluation)]
    lines += [
        "",
        "Load it with PEFT (`PeftModel.from_pretrained`) on exactly this base, or import it as it is.",
    ]
    return "\n".join(lines) + "\n"


def _evaluation_lines(evaluation: Mapping[str, Any]) -> list[str]:
    where = evaluation["headline_slice"] or "all test rows"
    lines = [
        "## Held-out rows",
        "",
        "Greedy answers, share of rows (exact match, valid JSON) or of expected fields, with 95 % intervals.",
        "",
        "| rows | figure | base | adapter |\n|---|---|---|---|",
    ]
    scores = {where: evaluation["headline"]} | {
        name: score for name, score in evaluation["slices"].items() if name != where
    }
    for name, score in scores.items():
        for figure in ("exact_match", "json_validity", "field_accuracy"):
            base, adapter = score[f"base_{figure}"], score[f"adapter_{figure}"]
            if base and adapter:
                lines.append(
                    f"| {name}, n={score['n']} | {figure.replace('_', ' ')} | {_share(base)} | {_share(adapter)} |"
                )
    return lines


def _share(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"
