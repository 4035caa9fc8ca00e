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
from core.engine.sites import Site, block_of
from core.errors import IntegrityError, RefusedFileError
from core.storage.safetensors_file import float32_values, read_header, read_header_of

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


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The bytes of an adapter's folder; nothing is checked yet. `manifest`: None where there is none."""

    config: bytes
    weights: bytes
    manifest: bytes | None


def read_adapter(ref: AdapterRef, sites: Sequence[Site], base_digest: str) -> AdapterWeights:
    """Read and check an adapter.

    Raises IntegrityError when the bytes are not those that the digest names, RefusedFileError when they are
    but cannot be used with this base.
    """
    return check_files(read_files(ref), ref, sites, base_digest)


def read_files(ref: AdapterRef) -> AdapterFiles:
    """What waits for the disk. Raises IntegrityError when a file cannot be read."""
    manifest = ref.path / MANIFEST
    return AdapterFiles(
        _read(ref.path / CONFIG), _read(ref.path / WEIGHTS), _read(manifest) if manifest.is_file() else None
    )


def check_files(
    files: AdapterFiles, ref: AdapterRef, sites: Sequence[Site], base_digest: str
) -> AdapterWeights:
    """What needs a processor. Raises as `read_adapter` does."""
    found = _digest({CONFIG: files.config, WEIGHTS: files.weights})
    if found != ref.digest:
        raise IntegrityError(
            f"The adapter in {ref.path.name} is not the one that was registered.",
            f"Its content digest is {found[:12]}…, expected {ref.digest[:12]}….",
            "Import it again, or restore its files from a backup.",
        )
    if files.manifest is not None:
        _check_manifest(files.manifest, base_digest)
    return _match(_parse_weights(files.weights), _parse_config(files.config), sites)


def count_values(ref: AdapterRef) -> int:
    """How many values the adapter's file says it holds, from its header alone; 0 when that cannot be read.

    Only for setting room aside: nothing here is verified, and `read_adapter` says what is wrong with a bad file.
    """
    try:
        return sum(math.prod(info.shape) for info in read_header(ref.path / WEIGHTS).values())
    except (OSError, RefusedFileError):
        return 0


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


def _check_manifest(data: bytes, base_digest: str) -> None:
    try:
        made_for = json.loads(data).get("base_digest")
    except (ValueError, AttributeError):
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
    missing = [site.name for site in sites if site.index not in halves["A"] and _is_target(site.name, config)]
    if missing:
        raise _refuse(
            f"It is not complete: its config names {missing[0]}, and the file has nothing for it.",
            "Import the adapter again.",
        )
    ranks = [0] * len(sites)
    a, b = {}, {}
    for index in sorted(halves["A"]):
        a[index], b[index] = _check_pair(sites[index], halves["A"][index], halves["B"][index], config)
        ranks[index] = a[index].shape[0]
    return AdapterWeights(tuple(ranks), a, b)


def _is_target(name: str, config: dict[str, Any]) -> bool:
    """PEFT's rule, as far as names decide it: a listed name, or its end after a dot, in a listed block. False where the
    config selects layers in another way (by a regular expression), which says nothing about this one."""
    targets, excluded = config.get("target_modules"), config.get("exclude_modules") or []
    if isinstance(excluded, str) or config.get("layers_pattern"):
        return False
    if _is_named(name, excluded):
        return False
    if targets == "all-linear":
        return not _is_named(name, ["lm_head"])
    if not isinstance(targets, list) or not _is_named(name, targets):
        return False
    blocks = config.get("layers_to_transform")
    if blocks is None or blocks == [] or name in targets:
        return True
    return block_of(name) in (blocks if isinstance(blocks, list) else [blocks])


def _is_named(name: str, listed: Sequence[Any]) -> bool:
    return any(name == entry or name.endswith(f".{entry}") for entry in listed)


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
