"""What a run has to know about a base before it is loaded: sizes from config.json and file headers. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.engine.memory import ITEM_BYTES, Quantization, WeightCount, count_weights
from core.engine.memory import estimate as estimate_loading
from core.engine.source import check_base_folder
from core.registry.bases import linear_shapes


@dataclass(frozen=True, slots=True)
class BaseShape:
    """`linears` maps each linear layer's path to its (outputs, inputs)."""

    name: str
    folder: Path
    weights: WeightCount
    hidden: int
    inner: int
    layers: int
    vocabulary: int
    context: int
    linears: Mapping[str, tuple[int, int]]

    @property
    def parameters(self) -> int:
        """Weights of the base, all of them."""
        return self.weights.linear + self.weights.other

    @property
    def linear_parameters(self) -> int:
        """Weights of the adapted kind of layers: what a token is multiplied with on its way."""
        return sum(outputs * inputs for outputs, inputs in self.linears.values())

    def targeted(self, modules: tuple[str, ...]) -> dict[str, tuple[int, int]]:
        """The linear layers whose last name is among `modules`."""
        return {path: shape for path, shape in self.linears.items() if path.rpartition(".")[2] in modules}

    def loaded_bytes(self, dtype: str, quantization: Quantization) -> int:
        """Bytes of the weights once loaded."""
        return estimate_loading(self.weights, dtype=dtype, quantization=quantization).weights


def read_base_shape(folder: Path, name: str) -> BaseShape:
    """Read from disk; no weight is loaded. Raises RefusedFileError when the folder is no base that can be trained."""
    config = check_base_folder(folder)
    linears = linear_shapes(config)
    return BaseShape(
        name=name,
        folder=folder,
        weights=count_weights(folder),
        hidden=int(config["hidden_size"]),
        inner=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        vocabulary=int(config["vocab_size"]),
        context=int(config.get("max_position_embeddings", 2048)),
        linears=linears,
    )


def training_dtype(base_dtype: str, *, on_gpu: bool, quantization: Quantization) -> str:
    """Name of the number type that the base is held in; the same choice as when it is loaded."""
    if base_dtype in ITEM_BYTES:
        return base_dtype
    return "bfloat16" if on_gpu or quantization != "none" else "float32"
