"""Different adapters in one batch on a GPU, over a base of the shape of Llama 3.1 8 B with random weights.

    python benchmarks/gpu_serving.py [--quick] [--adapters 1 8 32 64] [--tokens 64] [--repeats 3] [--peft-most 8]

bf16, adapters of rank 16 on all linear layers, as many rows as adapters, short prompts, greedy. Timed in turn, best of
the repeats: the base alone in a batch of as many rows, a different adapter in every row, and PEFT's mixed batch (up to
--peft-most adapters: its memory is a second base). Where Triton is installed, all but PEFT is done twice: first with one
torch bmm per run of adapters, then with the grouped kernel (`by_way`); the figures on top are those of the engine as it
opens by itself. The share of the limit is the share of the base's speed divided by
base / (base + adapters) in bytes of bf16; above that, what keys and values cost is in both. Before anything is timed a
row in the batch is compared with the same row alone; how many rows agree is told, because in bf16 sums in another
order may turn a token over, and below half the script ends with status 1. --quick is the same with a tiny shape, 1 and
4 adapters; with --device cpu it runs without a GPU, to see that the script works, and with TRITON_INTERPRET=1 the kernel
too, in an interpreter whose speed says nothing. Without CUDA it says so and ends.
PEFT is good at training on a GPU; serving mixed batches is not what it is for. Prints JSON.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from core.engine.base import load_base
from core.engine.kernels import GroupedLora, open_kernel
from core.engine.local import LocalEngine
from core.engine.records import (
    AdapterRef,
    Composition,
    Generation,
    GenerationRequest,
    Message,
    WeightedAdapter,
)
from core.storage.digests import digest_adapter_folder

RANK, ALPHA = 16, 32
GOALS = {"share_of_the_limit_8": 0.9}
SHAPE_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 4096,
}  # fmt: skip
SHAPE_TINY = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1024, "max_position_embeddings": 512,
}  # fmt: skip


def build_base(folder: Path, shape: dict[str, int], device: str) -> Path:
    """Random weights in bf16, made on the device, with a tokenizer of one token per byte."""
    vocabulary = {token: n for n, token in enumerate(["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(
        folder
    )
    config = transformers.LlamaConfig(
        **shape,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def build_adapters(
    folder: Path, linears: dict[str, tuple[int, int]], count: int, device: str
) -> list[AdapterRef]:
    """Random ones in bf16. `linears`: name → (inputs, outputs)."""
    refs = []
    for number in range(count):
        random = torch.Generator(device).manual_seed(number + 1)

        def draw(*shape: int, random: torch.Generator = random) -> torch.Tensor:
            return (torch.randn(*shape, generator=random, device=device) * 0.02).to(torch.bfloat16).cpu()

        tensors = {}
        for name, (inputs, outputs) in linears.items():
            tensors[f"base_model.model.{name}.lora_A.weight"] = draw(RANK, inputs)
            tensors[f"base_model.model.{name}.lora_B.weight"] = draw(outputs, RANK)
        path = folder / f"adapter{number}"
        path.mkdir()
        save_file(tensors, path / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
                  "target_modules": sorted({name.rpartition(".")[2] for name in linears})}  # fmt: skip
        (path / "adapter_config.json").write_text(json.dumps(config))
        refs.append(AdapterRef(digest_adapter_folder(path), path))
    return refs


def linears_of(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Every linear layer but the head."""
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


class Batch:
    """The engine, asked by one thread per row."""

    def __init__(self, engine: LocalEngine, base_digest: str, tokens: int) -> None:
        self._engine, self._digest, self._tokens = engine, base_digest, tokens

    def composition(self, ref: AdapterRef | None) -> Composition:
        return Composition(self._digest, () if ref is None else (WeightedAdapter(ref, 1.0),))

    def answer(self, ref: AdapterRef | None, row: int) -> Generation:
        request = GenerationRequest((Message("user", f"record {row:03d}"),), max_new_tokens=self._tokens)
        return self._engine.generate(self.composition(ref), request)

    def together(self, refs: Sequence[AdapterRef | None]) -> list[Generation]:
        start = threading.Barrier(len(refs))

        def ask(pair: tuple[int, AdapterRef | None]) -> Generation:
            start.wait()
            return self.answer(pair[1], pair[0])

        with ThreadPoolExecutor(len(refs)) as threads:
            return list(threads.map(ask, enumerate(refs)))


class PeftBatch:
    """PEFT's mixed batch over a base of its own."""

    def __init__(self, base: Path, refs: Sequence[AdapterRef], device: str, tokens: int) -> None:
        plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).to(device)
        self._model: Any = peft.PeftModel.from_pretrained(plain, refs[0].path, adapter_name="a0")
        for number, ref in enumerate(refs[1:], start=1):
            self._model.load_adapter(ref.path, adapter_name=f"a{number}")
        self._model.eval()
        self._tokens, self._device = tokens, device

    def mixed(self, rows: int) -> None:
        ids = torch.arange(20, 30, device=self._device).repeat(rows, 1)
        with torch.inference_mode():
            self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._tokens,
                min_new_tokens=self._tokens,
                do_sample=False,
                adapter_names=[f"a{n}" for n in range(rows)],
            )


def best_seconds(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Of each way, in turn."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def memory(device: str) -> int:
    """Bytes held on the GPU; 0 on a CPU."""
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def measure(
    base_folder: Path, refs: Sequence[AdapterRef], options: argparse.Namespace, peft_too: bool
) -> dict[str, Any]:
    """As many rows as adapters: by torch, and where there is one by the kernel, which the engine then takes by itself."""
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    kernel = open_kernel(torch.device(options.device), dtype)
    by_torch, torch_tokens = serve(base_folder, refs, options, peft_too, None)
    if kernel is None:
        return {**by_torch, "way": "torch", "by_way": None}
    by_kernel, kernel_tokens = serve(base_folder, refs, options, False, kernel)
    equal = [ours == theirs for ours, theirs in zip(kernel_tokens, torch_tokens, strict=True)]
    peft_speed = by_torch["tokens_per_s"].get("peft_mixed")
    if peft_speed:
        by_kernel["tokens_per_s"]["peft_mixed"] = peft_speed
        by_kernel["times_peft_mixed"] = round(by_kernel["tokens_per_s"]["adapters"] / peft_speed, 2)
    shown = ("tokens_per_s", "first_token_ms", "share_of_base", "share_of_the_limit")
    ways = {"torch": by_torch, "kernel": by_kernel}
    return {
        **by_kernel,
        "way": "kernel",
        "by_way": {way: {name: found[name] for name in shown} for way, found in ways.items()},
        "kernel_times_torch": round(
            by_kernel["tokens_per_s"]["adapters"] / by_torch["tokens_per_s"]["adapters"], 3
        ),
        "rows_with_the_tokens_of_torch": round(sum(equal) / len(equal), 3),
    }


def serve(
    base_folder: Path,
    refs: Sequence[AdapterRef],
    options: argparse.Namespace,
    peft_too: bool,
    kernel: GroupedLora | None,
) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    """Figures of one way to add the adapters, and the tokens of every row alone."""
    gc.collect()  # the base of the round before
    rows = len(refs)
    base = load_base(base_folder, dtype="bfloat16", device=options.device)
    engine = LocalEngine(base, adapter_slots=rows, max_batch_rows=rows, kernel=kernel or False)
    batch = Batch(engine, base.digest, options.tokens)
    before = memory(options.device)
    for ref in refs:
        engine.prepare(batch.composition(ref))
    adapter_memory = memory(options.device) - before
    alone = [batch.answer(ref, row).token_ids for row, ref in enumerate(refs)]
    mixed = batch.together(refs)
    same = sum(made.token_ids == tokens for made, tokens in zip(mixed, alone, strict=True)) / rows
    if same < 0.5:
        raise SystemExit(f"only {same:.0%} of the rows have the tokens that they have alone")
    first = statistics.median(made.first_token_ms for made in batch.together(refs))
    ways: dict[str, Callable[[], object]] = {
        "base": lambda: batch.together([None] * rows),
        "adapters": lambda: batch.together(refs),
    }
    if peft_too:
        peers = PeftBatch(base_folder, refs, options.device, options.tokens)
        peers.mixed(rows)
        ways["peft_mixed"] = lambda: peers.mixed(rows)
    best = best_seconds(ways, options.repeats)
    engine.close()
    file_bytes = refs[0].path.joinpath("adapter_model.safetensors").stat().st_size
    limit = base.bytes / (base.bytes + rows * file_bytes)
    share = best["base"] / best["adapters"]
    figures = {
        "rows": rows,
        "rows_with_the_tokens_of_alone": round(same, 3),
        "tokens_per_s": {name: round(rows * options.tokens / value, 1) for name, value in best.items()},
        "first_token_ms": round(first, 1),
        "share_of_base": round(share, 3),
        "limit": round(limit, 3),
        "share_of_the_limit": round(share / limit, 3),
        "times_peft_mixed": round(best["peft_mixed"] / best["adapters"], 2) if peft_too else None,
        "adapter_memory_over_file": round(adapter_memory / (rows * file_bytes), 3)
        if adapter_memory
        else None,
    }
    return figures, alone


def parse() -> argparse.Namespace:
    """The command line; ends where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny shape, 1 and 4 adapters, 8 tokens")
    parser.add_argument("--adapters", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peft-most", type=int, default=8)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.quick:
        options.adapters, options.tokens, options.repeats = [1, 4], 8, 1
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "There is no CUDA here: this benchmark needs an NVIDIA GPU. Nothing was measured.",
            file=sys.stderr,
        )
        raise SystemExit(0)
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    shape = SHAPE_TINY if options.quick else SHAPE_8B
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base", shape, options.device)
        with torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(base)
            linears = linears_of(transformers.AutoModelForCausalLM.from_config(config))
        refs = build_adapters(folder, linears, max(options.adapters), options.device)
        by_adapters = {
            str(count): measure(base, refs[:count], options, count <= options.peft_most)
            for count in options.adapters
        }
    result = {
        "benchmark": "gpu_serving",
        "quick": options.quick,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "by_adapters": by_adapters,
        "new_tokens": options.tokens,
        "goals": GOALS,
        "load_average": os.getloadavg()[0],
        "versions": {
            "torch": torch.__version__,
            "peft": peft.__version__,
            "triton": version("triton") if find_spec("triton") else None,
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
