"""Small random models and adapters on disk, and an engine that serves them."""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch: spinning threads of two processes starve each other

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn

from core.engine.bank import AdapterBank
from core.engine.base import LoadedBase, load_base
from core.engine.local import LocalEngine
from core.engine.lora import Lane, wrap_linears
from core.engine.plan import plan_batch
from core.engine.records import (
    AdapterRef,
    Composition,
    Generation,
    GenerationRequest,
    Message,
    WeightedAdapter,
)
from core.storage.digests import digest_adapter_folder

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SMALL = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3}  # fmt: skip


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token per byte and five markers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[2:],
    )
    fast.chat_template = TEMPLATE
    return fast


def save_base(folder: Path, kind: str = "Llama", seed: int = 0, **changes: Any) -> Path:
    """A random model of an architecture, with a tokenizer, as safetensors."""
    tokenizer = make_tokenizer()
    config_class = getattr(transformers, f"{kind}Config")
    settings = {
        **SMALL,
        "vocab_size": len(tokenizer),
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    config = config_class(**{**settings, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """(in, out) of every linear layer of the decoder, by name."""
    return {
        name.replace(".base", ""): (layer.in_features, layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and "lm_head" not in name
    }


def save_adapter(
    folder: Path,
    shapes: dict[str, tuple[int, int]],
    *,
    rank: int = 4,
    alpha: float = 8.0,
    seed: int = 0,
    scale: float = 0.3,
    ranks: Callable[[str], int] | None = None,
    config: dict[str, Any] | None = None,
    edit: Callable[[dict[str, Tensor]], None] | None = None,
) -> AdapterRef:
    """A random adapter in PEFT's format. `ranks` overrides the rank per layer (say so in `config` too)."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (size_in, size_out) in shapes.items():
        r = ranks(name) if ranks else rank
        prefix = f"base_model.model.{name}"
        tensors[f"{prefix}.lora_A.weight"] = torch.randn(r, size_in, generator=generator) * scale
        tensors[f"{prefix}.lora_B.weight"] = torch.randn(size_out, r, generator=generator) * scale
    if edit:
        edit(tensors)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in shapes})
    content = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "bias": "none",
               "target_modules": targets, "base_model_name_or_path": "", **(config or {})}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return AdapterRef(digest_adapter_folder(folder), folder)


def compose(base: LoadedBase, *terms: tuple[AdapterRef, float]) -> Composition:
    """A composition of adapters with weights."""
    return Composition(base.digest, tuple(WeightedAdapter(ref, weight) for ref, weight in terms))


def ask(prompt: str, tokens: int = 12, **options: Any) -> GenerationRequest:
    """A request with one user message."""
    return GenerationRequest((Message("user", prompt),), max_new_tokens=tokens, **options)


class Bench:
    """A base on disk, its engine, and adapters made on demand."""

    def __init__(
        self, folder: Path, kind: str = "Llama", engine_options: dict[str, Any] | None = None, **changes: Any
    ):
        self.folder = folder
        self.base_folder = save_base(folder / "base", kind, **changes)
        self.base = load_base(self.base_folder)
        self.shapes = linear_shapes(self.base.model)
        self.engine = LocalEngine(self.base, **(engine_options or {}))

    def adapter(self, name: str, **options: Any) -> AdapterRef:
        """A random adapter on every linear layer unless `only` names some."""
        only = options.pop("only", None)
        shapes = {n: s for n, s in self.shapes.items() if only is None or n.rpartition(".")[2] in only}
        options.setdefault("seed", zlib.crc32(name.encode()))
        return save_adapter(self.folder / name, shapes, **options)

    def compose(self, *terms: tuple[AdapterRef, float]) -> Composition:
        return compose(self.base, *terms)

    def request(self, prompt: str = "hello", **options: Any) -> GenerationRequest:
        return ask(prompt, **options)

    def answer(self, composition: Composition, prompt: str = "hello", **options: Any) -> Generation:
        return self.engine.generate(composition, ask(prompt, **options))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A tiny random Llama (grouped queries, tied head) and its engine, shared by the tests of a module."""
    made = Bench(tmp_path_factory.mktemp("bench"), tie_word_embeddings=True)
    yield made
    made.engine.close()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Benches of other kinds, closed at the end of the test."""
    made: list[Bench] = []

    def make(kind: str = "Llama", **options: Any) -> Bench:
        made.append(Bench(tmp_path / f"bench{len(made)}", kind, **options))
        return made[-1]

    yield make
    for one in made:
        one.engine.close()


class Kernel:
    """A base with wrapped linears and a bank, run directly: logits without the engine around them."""

    def __init__(self, base: LoadedBase, slots: int = 16):
        self.base, self.lane = base, Lane()
        self.sites = wrap_linears(base.model, self.lane, torch.float32)
        self.bank = AdapterBank(
            self.sites, base.digest, slots=slots, dtype=torch.float32, device=torch.device("cpu")
        )

    def logits(self, compositions: Sequence[Composition], ids: Tensor) -> Tensor:
        """[rows, length, vocabulary] for rows of [rows, length] token ids, one composition each."""
        leases = [self.bank.lease(composition) for composition in compositions]
        self.lane.plan = plan_batch(
            [lease.terms for lease in leases],
            gates=[lease.gate for lease in leases],
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        try:
            with torch.inference_mode():
                return self.base.model(input_ids=ids).logits.clone()
        finally:
            self.lane.plan = None
            self.lane.forget()
            for lease in leases:
                lease.release()


class KernelBench:
    """A kernel over a random base, and adapters made on demand."""

    def __init__(self, folder: Path, kind: str = "Llama", **changes: Any):
        self.folder = folder
        self.base_folder = save_base(folder / "base", kind, **changes)
        self.base = load_base(self.base_folder)
        self.shapes = linear_shapes(self.base.model)
        self.kernel = Kernel(self.base)

    adapter = Bench.adapter
    compose = Bench.compose

    def ids(self, rows: int, length: int = 9, seed: int = 0) -> Tensor:
        return torch.randint(
            5, self.base.vocabulary_size, (rows, length), generator=torch.Generator().manual_seed(seed)
        )


@pytest.fixture(scope="module")
def kernel_bench(tmp_path_factory: pytest.TempPathFactory) -> KernelBench:
    """A tiny random Llama (grouped queries, tied head) without an engine, shared by the tests of a module."""
    return KernelBench(tmp_path_factory.mktemp("kernel"), tie_word_embeddings=True, initializer_range=0.15)


@pytest.fixture
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token per byte, five markers, and a chat template."""
    return make_tokenizer()


@pytest.fixture
def make_base(tmp_path: Path) -> Callable[..., Path]:
    """A function: architecture and changes → folder of a random base."""
    count = 0

    def make(kind: str = "Llama", **changes: Any) -> Path:
        nonlocal count
        count += 1
        return save_base(tmp_path / f"base{count}", kind, **changes)

    return make


@pytest.fixture
def make_kernel() -> Callable[[LoadedBase], Kernel]:
    """A function: loaded base → kernel over it."""
    return Kernel
