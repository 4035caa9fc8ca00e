"""How fast a batch with many different adapters is, against the base alone and against PEFT, in one run.

    python benchmarks/serve_batch.py [--quick]

The model is a random 22 M-parameter Llama (d 512, 6 layers, grouped queries, vocabulary 8,192), adapters of rank 16
on all linear layers, float32, one thread, greedy; short prompts, so that what counts is decoding. Tokens are compared
before anything is timed; status 1 where they differ. Every way is timed in turn, and the best of the repeats is taken,
by the wall clock and by the processor time of this process (steadier on a busy machine). Prints JSON.
`byte_limit` is the share of the base's speed that is left when every step reads the base and each adapter once.
PEFT is good at training and at holding every LoRA variant; serving mixed batches is not what it is built for.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from core.engine.base import load_base
from core.engine.local import LocalEngine
from core.engine.records import AdapterRef, Composition, GenerationRequest, Message, WeightedAdapter
from core.storage.digests import digest_adapter_folder

RANK, ALPHA = 16, 32
GOALS = {
    "share_of_base_8": 0.80,
    "share_of_base_32": 0.85,
    "times_peft_mixed_8": 2.5,
    "times_peft_one_by_one_8": 6.0,
    "mixtures_over_base": 1.35,
    "cold_load_ms": 10.0,
    "share_when_4x_more_adapters_than_slots": 0.5,
}
PRECONDITIONS = ("base_equals_transformers", "batch_equals_alone", "batch_equals_peft_one_by_one")


def build_base(folder: Path) -> Path:
    """A random base with a tokenizer of one token per byte."""
    vocabulary = {token: n for n, token in enumerate(["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(
        folder
    )
    config = transformers.LlamaConfig(
        hidden_size=512, intermediate_size=1408, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4,
        vocab_size=8192, tie_word_embeddings=True, max_position_embeddings=1024, initializer_range=0.05,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def build_adapters(folder: Path, base: Path, count: int) -> list[AdapterRef]:
    """Random adapters in PEFT's format, different enough that no two answer alike."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    refs = []
    for number in range(count):
        random = torch.Generator().manual_seed(number + 1)
        tensors = {}
        for name, linear in linears.items():
            prefix = f"base_model.model.{name}"
            tensors[f"{prefix}.lora_A.weight"] = (
                torch.randn(RANK, linear.in_features, generator=random) * 0.05
            )
            tensors[f"{prefix}.lora_B.weight"] = (
                torch.randn(linear.out_features, RANK, generator=random) * 0.05
            )
        path = folder / f"adapter{number}"
        path.mkdir()
        save_file(tensors, path / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
                  "target_modules": sorted({n.rpartition(".")[2] for n in linears})}  # fmt: skip
        (path / "adapter_config.json").write_text(json.dumps(config))
        refs.append(AdapterRef(digest_adapter_folder(path), path))
    return refs


class Ours:
    """The engine, asked by one thread per row."""

    def __init__(self, base_folder: Path, rows: int, slots: int, tokens: int) -> None:
        self.base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self.engine = LocalEngine(self.base, adapter_slots=slots, max_batch_rows=rows)
        self.tokens = tokens

    def compose(self, *terms: tuple[AdapterRef, float]) -> Composition:
        return Composition(self.base.digest, tuple(WeightedAdapter(ref, weight) for ref, weight in terms))

    def answer(self, composition: Composition, prompt: str) -> tuple[int, ...]:
        request = GenerationRequest((Message("user", prompt),), max_new_tokens=self.tokens)
        return self.engine.generate(composition, request).token_ids

    def together(self, compositions: Sequence[Composition], prompts: Sequence[str]) -> list[tuple[int, ...]]:
        start = threading.Barrier(len(compositions))

        def ask(pair: tuple[Composition, str]) -> tuple[int, ...]:
            start.wait()
            return self.answer(*pair)

        with ThreadPoolExecutor(len(compositions)) as threads:
            return list(threads.map(ask, zip(compositions, prompts, strict=True)))


class Peft:
    """PEFT on the same files: one mixed batch, or one adapter after the other."""

    def __init__(
        self, base_folder: Path, adapters: Sequence[AdapterRef], tokenizer: Any, tokens: int
    ) -> None:
        self.plain = transformers.AutoModelForCausalLM.from_pretrained(
            base_folder, dtype=torch.float32
        ).eval()
        model = transformers.AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
        self.model = peft.PeftModel.from_pretrained(model, adapters[0].path, adapter_name="a0")
        for number, ref in enumerate(adapters[1:], start=1):
            self.model.load_adapter(ref.path, adapter_name=f"a{number}")
        self.model.eval()
        self.tokenizer, self.tokens = tokenizer, tokens

    def base(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._generate(prompts, model=self.plain)

    def _generate(self, prompts: Sequence[str], model: Any = None, **options: Any) -> list[tuple[int, ...]]:
        encoded = [self.tokenizer.encode(prompt) for prompt in prompts]
        width = max(map(len, encoded))
        ids = torch.tensor([[0] * (width - len(e)) + e for e in encoded])
        mask = torch.tensor([[0] * (width - len(e)) + [1] * len(e) for e in encoded])
        with torch.inference_mode():
            out = (model or self.model).generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=self.tokens, do_sample=False, **options
            )
        return [tuple(row[width:].tolist()) for row in out]

    def mixed(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._generate(prompts, adapter_names=[f"a{n}" for n in range(len(prompts))])

    def one_by_one(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        answers = []
        for number, prompt in enumerate(prompts):
            self.model.set_adapter(f"a{number}", inference_mode=True)
            answers += self._generate([prompt])
        return answers


def time_in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Best (wall, processor) seconds of each way, taken in turn so that a busy moment hits all of them."""
    best = {name: (float("inf"), float("inf")) for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            best[name] = (min(best[name][0], wall), min(best[name][1], processor))
    return best


def agreement(left: Sequence[tuple[int, ...]], right: Sequence[tuple[int, ...]]) -> float:
    """Share of rows whose tokens are identical."""
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def measure_batch(base: Path, adapters: list[AdapterRef], tokens: int, repeats: int) -> dict[str, Any]:
    """`rows` rows with an adapter each, against the base alone and PEFT."""
    rows = len(adapters)
    ours = Ours(base, rows, rows, tokens)
    peers = Peft(base, adapters, ours.base.tokenizer, tokens)
    prompts = [f"record {n:03d}" for n in range(rows)]
    singles = [ours.compose((ref, 1.0)) for ref in adapters]
    plain = [ours.compose()] * rows
    mixtures = [
        ours.compose((adapters[n], 0.5), (adapters[(n + 1) % rows], 0.3), (adapters[(n + 2) % rows], 0.2))
        for n in range(rows)
    ]
    alone = [ours.answer(c, p) for c, p in zip(singles, prompts, strict=True)]
    together, peft_alone = ours.together(singles, prompts), peers.one_by_one(prompts)
    same: dict[str, float] = {
        "base_equals_transformers": agreement(ours.together(plain, prompts), peers.base(prompts)),
        "batch_equals_alone": agreement(together, alone),
        "batch_equals_peft_one_by_one": agreement(together, peft_alone),
        "peft_mixed_equals_peft_one_by_one": agreement(peers.mixed(prompts), peft_alone),
        "different_answers": len(set(alone)),
    }
    if min(same[name] for name in PRECONDITIONS) < 1 or same["different_answers"] < rows:
        raise SystemExit(f"tokens are not those of one request at a time, so nothing was timed: {same}")
    best = time_in_turn(
        {
            "base": lambda: ours.together(plain, prompts),
            "base_by_transformers": lambda: peers.base(prompts),
            "adapters": lambda: ours.together(singles, prompts),
            "mixtures": lambda: ours.together(mixtures, prompts),
            "peft_mixed": lambda: peers.mixed(prompts),
            "peft_one_by_one": lambda: peers.one_by_one(prompts),
        },
        repeats,
    )
    ours.engine.close()
    base_bytes, adapter_bytes = (
        ours.base.bytes,
        adapters[0].path.joinpath("adapter_model.safetensors").stat().st_size,
    )

    def compare(clock: int) -> dict[str, Any]:
        seconds = {name: pair[clock] for name, pair in best.items()}
        return {
            "tokens_per_s": {name: round(rows * tokens / value, 1) for name, value in seconds.items()},
            "share_of_base": round(seconds["base"] / seconds["adapters"], 3),
            "times_peft_mixed": round(seconds["peft_mixed"] / seconds["adapters"], 2),
            "times_peft_one_by_one": round(seconds["peft_one_by_one"] / seconds["adapters"], 2),
            "mixtures_of_3_over_base": round(seconds["mixtures"] / seconds["base"], 3),
        }

    return {
        "rows": rows,
        "tokens_identical": same,
        "byte_limit": round(base_bytes / (base_bytes + rows * adapter_bytes), 3),
        "wall": compare(0),
        "processor": compare(1),
    }


def measure_loading(
    base: Path, adapters: list[AdapterRef], tokens: int, requests: int, repeats: int
) -> dict[str, Any]:
    """Milliseconds from files to servable, and the pace when four times more adapters are asked for than fit."""
    slots = len(adapters) // 4
    ours = Ours(base, slots, slots, tokens)
    compositions = [ours.compose((ref, 1.0)) for ref in adapters]
    loads, lookups = [], []
    for composition in compositions:
        began = time.perf_counter()
        ours.engine.prepare(composition)
        loads.append(time.perf_counter() - began)
        began = time.perf_counter()
        ours.engine.prepare(composition)
        lookups.append(time.perf_counter() - began)
    prompts = [f"record {n:03d}" for n in range(requests)]
    resident = [compositions[n % slots] for n in range(requests)]
    spread = [compositions[n % len(compositions)] for n in range(requests)]
    best = time_in_turn(
        {
            "resident": lambda: ours.together(resident, prompts),
            "spread": lambda: ours.together(spread, prompts),
        },
        repeats,
    )
    status = ours.engine.status()
    ours.engine.close()
    file_bytes = (adapters[0].path / "adapter_model.safetensors").stat().st_size
    return {
        "file_mb": round(file_bytes / 1e6, 2),
        "memory_per_adapter_over_file": round(
            status.adapter_bytes / status.adapters_resident / file_bytes, 3
        ),
        "cold_load_ms_median": round(statistics.median(loads) * 1e3, 2),
        "cold_load_ms_worst": round(max(loads) * 1e3, 2),
        "lookup_us_median": round(statistics.median(lookups) * 1e6, 1),
        "slots": slots,
        "adapters": len(adapters),
        "share_when_4x_more_adapters_than_slots": round(best["resident"][0] / best["spread"][0], 3),
    }


def measure_torn_answers(
    base: Path, adapters: list[AdapterRef], tokens: int, requests: int
) -> dict[str, Any]:
    """Two threads that ask for two adapters: how many answers are not the one each gets alone."""
    ours = Ours(base, 8, 8, tokens)
    peers = Peft(base, adapters[:2], ours.base.tokenizer, tokens)
    prompt = "record 000 of retailer alpha"
    peft_alone = peers.one_by_one([prompt, prompt])
    ours_alone = [ours.answer(ours.compose((ref, 1.0)), prompt) for ref in adapters[:2]]

    def ask_peft(number: int) -> bool:
        peers.model.set_adapter(f"a{number}", inference_mode=True)
        return peers._generate([prompt])[0] == peft_alone[number]

    def ask_ours(number: int) -> bool:
        return ours.answer(ours.compose((adapters[number], 1.0)), prompt) == ours_alone[number]

    wrong = {}
    for name, ask in (("peft", ask_peft), ("engine", ask_ours)):
        with ThreadPoolExecutor(2) as threads:
            wrong[name] = list(threads.map(ask, [n % 2 for n in range(requests)])).count(False)
    ours.engine.close()
    return {"requests": requests, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 tokens, once, 8 rows only")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokens, repeats, load = *((2, 1) if quick else (32, 3)), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        adapters = build_adapters(folder, base, 8 if quick else 32)
        result = {
            "benchmark": "serve_batch",
            "quick": quick,
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "peft": peft.__version__,
            },
            "threads": 1,
            "new_tokens": tokens,
            "goals": GOALS,
            "batch_of_8": measure_batch(base, adapters[:8], tokens, repeats),
            **({} if quick else {"batch_of_32": measure_batch(base, adapters, tokens, repeats)}),
            "loading": measure_loading(base, adapters, tokens, *((16, 1) if quick else (64, 3))),
            "two_threads": measure_torn_answers(base, adapters, *((4, 2) if quick else (16, 50))),
        }
    result["load_average"] = [round(load, 1), round(os.getloadavg()[0], 1)]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
