"""A base model, loaded: safetensors only, no code from the model, memory checked first."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.utils import logging as library_logging

from core.engine.memory import (
    ITEM_BYTES,
    Quantization,
    check_fits,
    count_weights,
    free_bytes,
    kv_bytes_per_token,
)
from core.engine.source import check_base_folder, find_base_folder
from core.errors import InvalidInputError, RefusedFileError, UnavailableError
from core.storage.digests import digest_base_folder

CONTEXT_FOR_ESTIMATE = 2048
# Rotary embeddings that look at the longest row of a batch: beyond the trained length a row's answer would
# depend on its neighbours, so the context ends there.
_BATCH_DEPENDENT_ROPE = ("dynamic", "longrope")
_SUPPORTED_LAYERS = frozenset({"full_attention", "sliding_attention"})


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A causal model in memory with all that is needed to run it. `bytes` are those of its tensors."""

    model: nn.Module
    tokenizer: Any
    config: Any
    folder: Path
    name: str
    digest: str
    device: torch.device
    dtype: torch.dtype
    quantization: Quantization
    threads: int
    bytes: int
    layers: int
    context_length: int
    vocabulary_size: int
    end_tokens: frozenset[int]
    kv_bytes_per_token: int

    @property
    def dtype_name(self) -> str:
        """The number type as people say it: float32, bfloat16, 8bit, 4bit."""
        return str(self.dtype).removeprefix("torch.") if self.quantization == "none" else self.quantization


def load_base(
    source: str | Path,
    *,
    quantization: Quantization = "none",
    dtype: str = "auto",
    device: str = "auto",
    threads: int = 1,
) -> LoadedBase:
    """Load a base from a folder or a Hugging Face id.

    `dtype` auto is float32 on a CPU and bfloat16 on a GPU or under quantization. `device`: auto, cpu, cuda or
    cuda:N.
    Raises InvalidInputError, RefusedFileError, InsufficientMemoryError or UnavailableError, before anything
    is loaded where that can be known.
    """
    target = choose_device(device)
    dtype_name = choose_dtype(dtype, target, quantization)
    folder = find_base_folder(source)
    check_base_folder(folder)
    name = folder.name if Path(source).expanduser().is_dir() else str(source)
    config = _read_config(folder, name)
    kv_bytes = kv_bytes_per_token(config, ITEM_BYTES[dtype_name])
    context = _context_length(config)
    check_fits(
        name,
        count_weights(folder),
        dtype=dtype_name,
        quantization=quantization,
        free=free_bytes(target),
        where="the memory of the GPU" if target.type == "cuda" else "the memory of this machine",
        kv_bytes=kv_bytes * min(context, CONTEXT_FOR_ESTIMATE),
    )
    torch.set_num_threads(threads)
    model = _load_model(
        folder, config, name=name, device=target, dtype=getattr(torch, dtype_name), quantization=quantization
    )
    tokenizer = _load_tokenizer(folder, name)
    return LoadedBase(
        model=model,
        tokenizer=tokenizer,
        config=config,
        folder=folder,
        name=name,
        digest=digest_base_folder(folder),
        device=target,
        dtype=getattr(torch, dtype_name),
        quantization=quantization,
        threads=threads,
        bytes=_tensor_bytes(model),
        layers=config.num_hidden_layers,
        context_length=context,
        vocabulary_size=config.vocab_size,
        end_tokens=_end_tokens(folder, config, tokenizer),
        kv_bytes_per_token=kv_bytes,
    )


def choose_device(device: str) -> torch.device:
    """The device to load on. Raises InvalidInputError or, for a GPU that is not there, UnavailableError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise InvalidInputError(f"{device} is not a device.", "", "Use auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "This machine has no GPU that torch can use.",
            f"The device setting is {device}.",
            "Set device to auto or cpu, or install a torch build for your GPU.",
        )
    return torch.device(device)


def choose_dtype(dtype: str, device: torch.device, quantization: Quantization) -> str:
    """Name of the number type of what is not quantized."""
    if dtype == "auto":
        return "float32" if device.type == "cpu" and quantization == "none" else "bfloat16"
    if dtype not in ITEM_BYTES:
        raise InvalidInputError(f"{dtype} is not a number type.", "", f"Use auto, {', '.join(ITEM_BYTES)}.")
    return dtype


def _read_config(folder: Path, name: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise RefusedFileError(
            f"The base model {name} is not of a kind that can be loaded.",
            f"{str(error).splitlines()[0][:300]}.",
            "Choose a causal language model that transformers knows.",
        ) from None
    layers = set(getattr(config, "layer_types", None) or ()) - _SUPPORTED_LAYERS
    if layers or not hasattr(config, "num_hidden_layers") or not hasattr(config, "vocab_size"):
        raise RefusedFileError(
            f"The base model {name} is not of a kind that can be served.",
            f"Its layers are {', '.join(sorted(layers))}."
            if layers
            else "It is not a plain causal language model.",
            "Choose a model with full or sliding-window attention, such as Llama, Mistral, Qwen or Gemma.",
        )
    return config


def _context_length(config: Any) -> int:
    rope = getattr(config, "rope_parameters", None) or {}
    tables = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    length = int(getattr(config, "max_position_embeddings", 2048))
    for table in tables:
        if table.get("rope_type") in _BATCH_DEPENDENT_ROPE:
            trained = table.get("original_max_position_embeddings") or length
            length = min(length, int(trained))
    return length


def _load_model(
    folder: Path,
    config: Any,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization,
) -> nn.Module:
    try:
        with _without_progress_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                device_map={"": str(device)} if device.type == "cuda" or quantization != "none" else None,
                quantization_config=_quantization_config(quantization, dtype),
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, ValueError, OSError, KeyError, RuntimeError, ImportError) as error:
        raise RefusedFileError(
            f"The base model {name} could not be loaded.",
            f"{type(error).__name__}: {str(error)[:300]}.",
            "Fetch it again, or choose another model.",
        ) from error
    missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        raise RefusedFileError(
            f"The base model {name} is not complete.",
            f"{len(missing)} tensors are missing or have another shape, among them {missing[0]}.",
            "Fetch it again.",
        )
    model.eval().requires_grad_(False)
    loaded: nn.Module = model
    return loaded


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Bars of a library in the middle of the console's log help nobody."""
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # it advises to fetch kernels that are never fetched
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library_logging.enable_progress_bar()


def _quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    if quantization == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "8bit" else None


def _load_tokenizer(folder: Path, name: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise RefusedFileError(
            f"The tokenizer of {name} could not be loaded.",
            f"{str(error).splitlines()[0][:300]}.",
            "Fetch the model again with its tokenizer files.",
        ) from None


def _end_tokens(folder: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: of generation_config.json, of config.json and of the tokenizer."""
    found: list[Any] = [config.eos_token_id, tokenizer.eos_token_id]
    if (folder / "generation_config.json").is_file():
        found.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
    flat = [token for entry in found for token in (entry if isinstance(entry, list) else [entry])]
    return frozenset(token for token in flat if isinstance(token, int))


def _tensor_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers; tied ones count once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
