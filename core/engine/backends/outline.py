"""What has to be known of a base that runs elsewhere: its tokenizer, its layers, its embedding table on the disk.

No weights are loaded: the model is built without memory («meta»), and rows of the embedding are read when asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from core.engine.prompt import Prompter
from core.engine.records import Message
from core.engine.sites import Site, find_linears, number_sites
from core.engine.source import check_base_folder, find_base_folder
from core.errors import RefusedFileError
from core.storage.digests import digest_base_folder
from core.storage.safetensors_file import ALL_BYTES, FLOAT_BYTES, TensorInfo, float32_values, read_header


class BaseOutline:
    """A base by its folder. `end_tokens` end an answer, `context_length` is the config's."""

    def __init__(self, source: str | Path) -> None:
        folder = find_base_folder(source)
        check_base_folder(folder)
        self.folder = folder
        self.name = folder.name if Path(source).expanduser().is_dir() else str(source)
        self.digest = digest_base_folder(folder)
        config, tokenizer = self._read()
        self.context_length = int(getattr(config, "max_position_embeddings", 2048))
        self.sites, embedding = _outline(config)
        self.end_tokens = _end_tokens(folder, config, tokenizer)
        self._prompter = Prompter(tokenizer, config.vocab_size, self.context_length)
        self._embedding = _find_tensor(folder, f"{embedding}.weight")

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt, as the engine on this machine makes them. Raises InvalidInputError."""
        return self._prompter.encode(messages)

    def features(self, messages: Sequence[Message]) -> tuple[float, ...]:
        """Mean of the embedding table over the tokens of the prompt, in float32."""
        if self._embedding is None:
            raise RefusedFileError(
                "This base has no embedding table that can be read.",
                "A request router sees the mean of its rows.",
                "Serve a base that is stored in a plain number type, or use another gate.",
            )
        file, info = self._embedding
        tokens = self.encode(messages)
        table: NDArray[np.uint8] = np.memmap(
            file, np.uint8, "r", info.start, (info.shape[0], info.size // info.shape[0])
        )
        shape = TensorInfo(info.dtype, (len(tokens), info.shape[1]), 0, 0)
        rows = float32_values(table[tokens].tobytes(), shape)
        mean = torch.from_numpy(rows).mean(dim=0)
        return tuple(mean.tolist())

    def _read(self) -> tuple[Any, Any]:
        try:
            config = AutoConfig.from_pretrained(self.folder, trust_remote_code=False, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=False, local_files_only=True
            )
        except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
            raise RefusedFileError(
                f"The base model {self.name} cannot be read.",
                f"{str(error).splitlines()[0][:300]}.",
                "The model server runs it, but its config and tokenizer are needed here too.",
            ) from None
        return config, tokenizer


def _outline(config: Any) -> tuple[tuple[Site, ...], str]:
    """The linear layers, and the name of the embedding."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    table = model.get_input_embeddings()
    embedding = next(name for name, module in model.named_modules() if module is table)
    return number_sites(list(find_linears(model))), embedding


def _end_tokens(folder: Path, config: Any, tokenizer: Any) -> tuple[int, ...]:
    """As the engine on this machine: of generation_config.json, of config.json and of the tokenizer."""
    found: list[Any] = [config.eos_token_id, tokenizer.eos_token_id]
    if (folder / "generation_config.json").is_file():
        found.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
    flat = [token for entry in found for token in (entry if isinstance(entry, list) else [entry])]
    return tuple(sorted({token for token in flat if isinstance(token, int)}))


def _find_tensor(folder: Path, name: str) -> tuple[Path, TensorInfo] | None:
    for file in sorted(folder.glob("*.safetensors")):
        info = read_header(file, ALL_BYTES).get(name)
        if info is not None and info.dtype in FLOAT_BYTES and len(info.shape) == 2:
            return file, info
    return None
