"""Base models: which there are, and the facts of one that an adapter is checked against."""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInputError, NotFoundError, RefusedFileError
from core.registry.records import BaseModelCard
from core.storage.digests import digest_base_folder
from core.storage.safetensors_file import ALL_BYTES, read_header, read_json

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3")


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What an adapter must fit: `linears` maps each linear layer's path to its (outputs, inputs)."""

    name: str
    digest: str
    linears: Mapping[str, tuple[int, int]]


def list_bases(models_dir: Path) -> list[BaseModelCard]:
    """The shipped bases (folders of `models_dir`/base), by name. Damaged folders are left out."""
    cards = []
    for folder in sorted((models_dir / "base").glob("*")):
        with suppress(RefusedFileError):
            cards.append(_folder_card(folder, folder.name, shipped=True))
    return cards


def describe_base(source: str, models_dir: Path) -> BaseModelCard:
    """A base by shipped name, local folder or Hugging Face id.

    An id that is not on this disk has no digest, size or parameters yet. Raises NotFoundError.
    """
    place = base_folder(source, models_dir)
    if isinstance(place, Path):
        return _folder_card(place, source, shipped=place.parent == models_dir / "base")
    description = f"{source} from the Hugging Face Hub; fetched when it is first loaded."
    return BaseModelCard(source, source, None, None, None, False, description)


def base_folder(source: str, models_dir: Path) -> Path | str:
    """Where a base lies: a folder (shipped, local, or already in the Hugging Face cache), else the id itself.

    Raises NotFoundError when `source` is none of these.
    """
    if not source or "\0" in source or len(source) > 1000:
        raise InvalidInputError("The base model has no usable name.", "", "Correct RMN_BASE_MODEL.")
    shipped = models_dir / "base" / source
    if Path(source).name == source and source not in (".", "..") and shipped.is_dir():
        return shipped
    local = Path(source).expanduser()
    if (local / "config.json").is_file():
        return local.resolve()
    if HUB_ID.fullmatch(source) and ".." not in source:
        return _cached_snapshot(source) or source
    raise NotFoundError(
        f"There is no base model «{source[:200]}».",
        "It is no folder under models/base, no folder with a config.json, no Hugging Face id (owner/name).",
        "Correct RMN_BASE_MODEL; `python -m app doctor` lists what there is.",
    )


def base_digest(folder: Path) -> str:
    """Hex SHA-256 of a base folder. Reads all weights: compute it once per process."""
    return digest_base_folder(folder)


def read_base_facts(folder: Path, *, name: str = "", digest: str = "") -> BaseFacts:
    """Facts of the base in `folder`. `digest` is computed unless given. Raises RefusedFileError."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    return BaseFacts(name or folder.name, digest or base_digest(folder), linear_shapes(config))


def linear_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Each linear layer's path → (outputs, inputs), from the config.json of a Llama-like model.

    Raises RefusedFileError for other architectures and for configs without the needed numbers.
    """
    if config.get("model_type") not in LLAMA_LIKE:
        raise RefusedFileError(
            f"Bases of the kind «{str(config.get('model_type'))[:40]}» are not supported.",
            f"Supported: {', '.join(LLAMA_LIKE)}.",
            "Choose a base of one of these kinds.",
        )
    hidden, inner, layers = (
        _count(config, key) for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads = _count(config, "num_attention_heads")
    groups = _count(config, "num_key_value_heads") if config.get("num_key_value_heads") is not None else heads
    width = _count(config, "head_dim") if config.get("head_dim") is not None else hidden // heads
    layer = {
        "self_attn.q_proj": (heads * width, hidden),
        "self_attn.k_proj": (groups * width, hidden),
        "self_attn.v_proj": (groups * width, hidden),
        "self_attn.o_proj": (hidden, heads * width),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{i}.{name}": shape for i in range(layers) for name, shape in layer.items()}


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= 1 << 24:
        raise RefusedFileError(
            "The base's config.json cannot be used.", f"«{key}» is missing or not a count.", "Check the base."
        )
    return value


def _folder_card(folder: Path, name: str, *, shipped: bool) -> BaseModelCard:
    digest, weights = base_digest(folder), sorted(folder.glob("*.safetensors"))
    shapes = [info.shape for file in weights for info in read_header(file, ALL_BYTES).values()]
    parameters = sum(math.prod(shape) for shape in shapes)
    size = sum(file.stat().st_size for file in weights)
    kind = str(read_json(folder / "config.json").get("model_type", "unknown"))
    description = _first_paragraph(folder / "README.md") or f"A {kind} model with {parameters:,} parameters."
    return BaseModelCard(name, str(folder), digest, parameters, size, shipped, description)


def _first_paragraph(card: Path) -> str:
    """The first plain paragraph of a model card: no front matter, no heading, 400 characters at most."""
    if not card.is_file():
        return ""
    text = card.read_text("utf-8", errors="replace")[:20_000]
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(paragraph.split())
        if plain and not plain.startswith(("#", "|", "<", "!", "```", "---")):
            return plain[:400]
    return ""


def _cached_snapshot(hub_id: str) -> Path | None:
    """The folder of an id that is already in the Hugging Face cache, or None. Never asks the network."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(hub_id, "config.json")
    return Path(config).parent if isinstance(config, str) else None
