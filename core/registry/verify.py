"""Whether a folder holds a LoRA adapter that may be loaded. No torch, no pickle, nothing is executed.

An adapter passes if its configuration asks for plain LoRA and nothing else, its file is sound safetensors,
every tensor is one half of a complete A/B pair of the right rank, every value is a finite number, and, where
the base is known, each pair fits a linear layer of that base and no layer that the configuration names is
missing.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import RefusedFileError
from core.registry.bases import BaseFacts
from core.registry.records import Manifest
from core.storage.digests import ADAPTER_FILES, digest_adapter_folder
from core.storage.safetensors_file import TensorInfo, check_finite, read_header, read_json

CONFIG_FILE, WEIGHTS_FILE = ADAPTER_FILES
MAX_RANK = 1024
MAX_PARENTS = 16
DIGEST = re.compile(r"[0-9a-f]{64}")
TENSOR_NAME = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]{1,300})\.lora_(?P<half>[AB])\.weight")
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]{1,300}")
LAYER_INDEX = re.compile(r".*?\.[^.]*\.(\d+)\.")
# Settings that have no part in the weights' meaning: any value is accepted, none is acted upon.
IGNORED_KEYS = frozenset(
    {"peft_version", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "loftq_config"}
    | {"megatron_core", "eva_config", "qalora_group_size", "ensure_weight_tying", "runtime_config"}
)
READ_KEYS = frozenset(
    {
        "peft_type",
        "task_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
    }
    | {
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "bias",
        "init_lora_weights",
        "auto_mapping",
    }
)
REASONS = {
    "use_dora": "DoRA adapters cannot be added up with others.",
    "modules_to_save": "It replaces whole layers of the base (modules_to_save).",
    "lora_bias": "It changes biases (lora_bias).",
    "auto_map": "It names code to run (auto_map).",
    "fan_in_fan_out": "Its weights are stored transposed (fan_in_fan_out).",
}


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """One adapted linear layer: ΔW = scale·B·A, A of shape (rank, inputs), B of shape (outputs, rank)."""

    inputs: int
    outputs: int
    rank: int
    scale: float
    a: TensorInfo
    b: TensorInfo


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What a verified folder holds. `modules` maps each layer's path in the base to its facts."""

    digest: str
    rank: int
    target_modules: tuple[str, ...]
    parameters: int
    size_bytes: int
    modules: Mapping[str, ModuleFacts]


def verify_folder(folder: Path, *, base: BaseFacts | None = None) -> AdapterFacts:
    """Read and check the adapter in `folder`, against `base` where it is given.

    Raises RefusedFileError with the reason.
    """
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if path.is_symlink() or not path.is_file():
            raise _refused(f"It has no regular file {path.name}.")
    config = read_json(config_path)
    check_config(config)
    tensors = read_header(weights_path)
    modules = _modules(config, tensors)
    _check_targets(config, modules, base)
    check_finite(weights_path, tensors)
    return AdapterFacts(
        digest=digest_adapter_folder(folder),
        rank=max(module.rank for module in modules.values()),
        target_modules=tuple(sorted({path.rpartition(".")[2] for path in modules})),
        parameters=sum(math.prod(info.shape) for info in tensors.values()),
        size_bytes=config_path.stat().st_size + weights_path.stat().st_size,
        modules=modules,
    )


def content_digest(folder: Path) -> str:
    """Hex SHA-256 of an adapter's configuration and weights; its name."""
    return digest_adapter_folder(folder)


def check_manifest(manifest: Manifest, facts: AdapterFacts, base: BaseFacts | None = None) -> None:
    """Raise RefusedFileError unless the manifest tells the truth about the files and names the same base."""
    if base is not None and manifest.base_digest != base.digest:
        raise RefusedFileError(
            f"The adapter «{manifest.name}» was made for another base model.",
            f"It names {manifest.base_name} ({manifest.base_digest[:12]}…); "
            f"this is {base.name} ({base.digest[:12]}…).",
            "Load it where that base runs, or train it again on this base.",
        )
    digests = [*manifest.parents, *([manifest.dataset_digest] if manifest.dataset_digest else [])]
    if len(manifest.parents) > MAX_PARENTS or not all(map(DIGEST.fullmatch, digests)):
        raise _refused("Its manifest names parents or a dataset by something that is not a digest.")
    told = (manifest.digest, manifest.rank, manifest.parameters, sorted(set(manifest.target_modules)))
    found = (facts.digest, facts.rank, facts.parameters, list(facts.target_modules))
    for what, one, other in zip(("digest", "rank", "parameters", "target modules"), told, found, strict=True):
        if one != other:
            raise _refused(f"Its manifest says {what} {str(one)[:80]}, its files say {str(other)[:80]}.")


def check_config(config: Mapping[str, Any]) -> None:
    """Raise RefusedFileError unless adapter_config.json asks for plain LoRA and nothing else."""
    if config.get("peft_type") != "LORA" or config.get("task_type") not in (None, "CAUSAL_LM"):
        raise _refused("adapter_config.json does not describe a LoRA of a causal language model.")
    if config.get("init_lora_weights", True) not in (True, False, "gaussian", "orthogonal", "eva"):
        raise _refused("Its way of starting (init_lora_weights) changes the base's own weights.")
    for key, value in config.items():
        if key not in IGNORED_KEYS | READ_KEYS and not (value is None or value is False or value in ({}, [])):
            raise _refused(REASONS.get(key, f"Its setting «{key[:60]}» is not plain LoRA."))
    for key, is_right, wanted in _RULES:
        if not is_right(config.get(key)):
            raise _refused(f"Its {key} must be {wanted}.")


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_RANK


def _is_strength(value: Any) -> bool:
    return type(value) in (int, float) and 0 < abs(value) <= 1e6


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(n, str) and PLAIN_NAME.fullmatch(n) for n in value)


def _is_pattern(value: Any, is_right: Callable[[Any], bool]) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and _is_names(list(value)) and all(map(is_right, value.values()))


def _is_indexes(value: Any) -> bool:
    return all(type(index) is int for index in (value if isinstance(value, list) else [value]))


def _is_model_class(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("parent_library")).startswith("transformers.models.")


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("bias", lambda v: v in (None, "none"), "«none»: biases cannot be composed"),
    ("r", _is_rank, f"a whole number from 1 to {MAX_RANK}"),
    ("lora_alpha", _is_strength, "a number other than zero"),
    ("use_rslora", lambda v: v is None or isinstance(v, bool), "true or false"),
    ("rank_pattern", lambda v: _is_pattern(v, _is_rank), "a map of layer names to ranks"),
    ("alpha_pattern", lambda v: _is_pattern(v, _is_strength), "a map of layer names to numbers"),
    ("target_modules", lambda v: v == "all-linear" or (_is_names(v) and v), "a list of plain layer names"),
    ("exclude_modules", lambda v: v is None or _is_names(v), "a list of plain layer names"),
    ("layers_pattern", lambda v: v in (None, "layers", [], ["layers"]), "«layers»"),
    ("layers_to_transform", lambda v: v is None or _is_indexes(v), "a list of layer numbers"),
    ("auto_mapping", lambda v: v is None or _is_model_class(v), "a class of transformers"),
)


def _modules(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, ModuleFacts]:
    halves: dict[str, dict[str, TensorInfo]] = {}
    for name, info in tensors.items():
        match = TENSOR_NAME.fullmatch(name)
        if match is None or len(info.shape) != 2:
            raise _refused(f"Tensor «{name[:80]}» is not half of a LoRA pair.")
        halves.setdefault(match["module"], {})[match["half"]] = info
    modules = {}
    for path, pair in sorted(halves.items()):
        if set(pair) != {"A", "B"}:
            raise _refused(f"Layer {path} has only one half of its pair.")
        rank, scale = _rank_and_scale(config, path)
        a, b = pair["A"], pair["B"]
        if a.shape[0] != rank or b.shape[1] != rank:
            raise _refused(f"Layer {path} has rank {a.shape[0]} and {b.shape[1]}, configured is {rank}.")
        modules[path] = ModuleFacts(a.shape[1], b.shape[0], rank, scale, a, b)
    return modules


def _rank_and_scale(config: Mapping[str, Any], path: str) -> tuple[int, float]:
    """Rank and alpha/r (rsLoRA: alpha/√r); the first pattern that ends the path wins, as in PEFT."""
    rank = int(_by_pattern(config.get("rank_pattern"), path, config["r"]))
    alpha = float(_by_pattern(config.get("alpha_pattern"), path, config["lora_alpha"]))
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(pattern: dict[str, Any] | None, path: str, otherwise: Any) -> Any:
    return next((value for name, value in (pattern or {}).items() if _ends(path, name)), otherwise)


def _check_targets(
    config: Mapping[str, Any], modules: Mapping[str, ModuleFacts], base: BaseFacts | None
) -> None:
    """Names in the configuration, pairs in the file and layers of the base must say the same."""
    for path, module in modules.items():
        if not _targeted(config, path):
            raise _refused(f"Layer {path} is in the file but not among the target_modules.")
        if base is None:
            continue
        if path not in base.linears:
            raise _refused(f"{path} is not a linear layer of {base.name}.")
        if (module.outputs, module.inputs) != base.linears[path]:
            outputs, inputs = base.linears[path]
            raise _refused(
                f"Layer {path} is {module.outputs}×{module.inputs}; in {base.name} it is {outputs}×{inputs}. "
                "It was made for another base."
            )
    for path in base.linears if base else ():
        if path not in modules and _targeted(config, path):
            raise _refused(f"Its target layer {path} is missing from the file.")


def _targeted(config: Mapping[str, Any], path: str) -> bool:
    if any(_ends(path, name) for name in config.get("exclude_modules") or ()):
        return False
    targets = config["target_modules"]
    if targets == "all-linear":
        return not _ends(path, "lm_head")
    if path not in targets and not any(_ends(path, name) for name in targets):
        return False
    indexes = config.get("layers_to_transform")
    if indexes is None or indexes == [] or path in targets:
        return True
    match = LAYER_INDEX.match(path)
    return match is not None and int(match[1]) in (indexes if isinstance(indexes, list) else [indexes])


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _refused(why: str) -> RefusedFileError:
    return RefusedFileError(
        "This adapter was refused.", why, "Give a plain LoRA adapter, saved by PEFT as safetensors."
    )
