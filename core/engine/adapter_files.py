"""An adapter folder read into tensors, with every reason to refuse it checked first.

The bytes that are hashed are the bytes that are parsed: the files are read once.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.engine.records import AdapterRef
from core.engine.sites import Site
from core.errors import IntegrityError, RefusedFileError
from core.storage.safetensors_file import float32_values, read_header_of

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_TENSOR = re.compile(r"^base_model\.model\.(?P<site>.+)\.lora_(?P<half>[AB])\.weight$")
# Fields of PEFT's LoRA that the engine reads, or that do not change what trained weights mean. Any other
# field that is set (DoRA, modules_to_save, …) makes something else than a plain sum of low-rank matrices.
_UNDERSTOOD = frozenset({
    "peft_type", "auto_mapping", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "bias", "use_rslora",
    "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "megatron_core", "loftq_config", "runtime_config", "qalora_group_size", "eva_config",
})  # fmt: skip
# Other starts (PiSSA, OLoRA, LoftQ, …) also change the base's weights, which the engine never does.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """A [rank, in] and B [out, rank] by site index, with the scale already in B. float32."""

    ranks: tuple[int, ...]
    a: Mapping[int, Tensor]
    b: Mapping[int, Tensor]


def read_adapter(ref: AdapterRef, sites: Sequence[Site], base_digest: str) -> AdapterWeights:
    """Read and check an adapter.

    Raises IntegrityError when the bytes are not those that the digest names, RefusedFileError when they are
    but cannot be used with this base.
    """
    config_bytes, weight_bytes = _read(ref.path / CONFIG), _read(ref.path / WEIGHTS)
    found = _digest({CONFIG: config_bytes, WEIGHTS: weight_bytes})
    if found != ref.digest:
        raise IntegrityError(
            f"The adapter in {ref.path.name} is not the one that was registered.",
            f"Its content digest is {found[:12]}…, expected {ref.digest[:12]}….",
            "Import it again, or restore its files from a backup.",
        )
    _check_manifest(ref.path / MANIFEST, base_digest)
    config = _parse_config(config_bytes)
    return _match(_parse_weights(weight_bytes), config, sites)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"The adapter file {path.name} cannot be read.",
            f"{error.strerror or error}.",
            "Import the adapter again, or restore its files from a backup.",
        ) from None


def _digest(files: Mapping[str, bytes]) -> str:
    """The rule of core.storage.digests, on bytes in memory."""
    lines = sorted(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _refuse(why: str, next_step: str = "Train a plain LoRA adapter for this base.") -> RefusedFileError:
    return RefusedFileError("The adapter cannot be used.", why, next_step)


def _check_manifest(path: Path, base_digest: str) -> None:
    if not path.is_file():
        return
    try:
        made_for = json.loads(path.read_bytes()).get("base_digest")
    except (ValueError, AttributeError, OSError):
        raise _refuse("Its manifest.json is not readable JSON.", "Import the adapter again.") from None
    if made_for is not None and made_for != base_digest:
        raise _refuse(
            f"It was trained for base {str(made_for)[:12]}…, and {base_digest[:12]}… is loaded.",
            "Load that base, or train the adapter again for this one.",
        )


def _parse_config(data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except ValueError:
        raise _refuse("Its adapter_config.json is not JSON.", "Import the adapter again.") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _refuse("It is not a LoRA adapter in PEFT's format.")
    if config.get("bias", "none") != "none":
        raise _refuse("It changes biases of the base (bias is not none).")
    for field in sorted(config.keys() - _UNDERSTOOD):
        if config[field]:
            raise _refuse(f"It uses {field[:80]}, which is not a plain sum of low-rank matrices.")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        raise _refuse(
            f"It was started with {config['init_lora_weights']!r}, which changes the base as well.",
            "Save it with PEFT's conversion to a plain LoRA first.",
        )
    for name in ("rank_pattern", "alpha_pattern"):
        _check_pattern(name, config.get(name) or {})
    return config


def _check_pattern(name: str, pattern: Any) -> None:
    """Patterns are regular expressions from a file: only ones that cannot take long are matched."""
    if not isinstance(pattern, dict):
        raise _refuse(f"{name} in its adapter_config.json is not a table.")
    for key in pattern:
        slow = len(key) > 200 or re.search(r"\)[*+?{]", key) or len(re.findall(r"[*+{]", key)) > 2
        try:
            re.compile(key)
        except (re.error, RecursionError):
            slow = True
        if slow:
            raise _refuse(f"The pattern {key[:80]!r} in its adapter_config.json is not supported.")


def _parse_weights(data: bytes) -> dict[str, Tensor]:
    """All tensors as float32, by the parser that also checks adapters when they come in."""
    return {
        name: torch.from_numpy(float32_values(data[info.start : info.start + info.size], info))
        for name, info in read_header_of(data, WEIGHTS).items()
    }


def _match(tensors: Mapping[str, Tensor], config: dict[str, Any], sites: Sequence[Site]) -> AdapterWeights:
    """Give every tensor its site; each site that is named needs both halves, in the right shape."""
    by_name = {site.name: site for site in sites}
    halves: dict[str, dict[int, Tensor]] = {"A": {}, "B": {}}
    for name, tensor in tensors.items():
        match = _TENSOR.match(name)
        site = by_name.get(match["site"]) if match else None
        if match is None or site is None:
            raise _refuse(f"The base has no layer for its tensor {name[:120]!r}.")
        if tensor.dim() != 2:
            raise _refuse(f"Its tensor {name} has the shape {tuple(tensor.shape)}.")
        halves[match["half"]][site.index] = tensor
    if not tensors or halves["A"].keys() != halves["B"].keys():
        raise _refuse("It is not complete: A and B matrices do not pair up.", "Import the adapter again.")
    ranks = [0] * len(sites)
    a, b = {}, {}
    for index in sorted(halves["A"]):
        a[index], b[index] = _check_pair(sites[index], halves["A"][index], halves["B"][index], config)
        ranks[index] = a[index].shape[0]
    return AdapterWeights(tuple(ranks), a, b)


def _check_pair(site: Site, a: Tensor, b: Tensor, config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    rank = _of_site(config.get("rank_pattern"), site.name, config.get("r"))
    alpha = _of_site(config.get("alpha_pattern"), site.name, config.get("lora_alpha"))
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise _refuse(f"The rank of {site.name} in its adapter_config.json is {rank!r}.")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _refuse(f"The alpha of {site.name} in its adapter_config.json is {alpha!r}.")
    if tuple(a.shape) != (rank, site.in_features) or tuple(b.shape) != (site.out_features, rank):
        raise _refuse(
            f"At {site.name} its matrices are {tuple(a.shape)} and {tuple(b.shape)}, "
            f"the base needs {(rank, site.in_features)} and {(site.out_features, rank)}."
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    b = b * scale
    if not (_is_finite(a) and _is_finite(b)):
        raise _refuse(f"At {site.name} it holds values that are not numbers.", "Train the adapter again.")
    return a, b


def _is_finite(values: Tensor) -> bool:
    """True when no value is NaN or infinite. One pass: NaN comes through minimum and maximum."""
    least, most = torch.aminmax(values)
    return math.isfinite(least) and math.isfinite(most)


def _of_site(pattern: dict[str, Any] | None, name: str, default: Any) -> Any:
    """PEFT's rule (get_pattern_key): the first pattern that matches the name, or its end after a dot."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return default
