"""What a request gate (G1) costs beside one adapter asked outright, and PEFT's X-LoRA beside its own one adapter.

    python benchmarks/request_gate.py [--quick] [--tokens 32] [--repeats 25]

The model is the random 22 M-parameter Llama of serve_batch.py with four adapters (rank 16, all linear layers, float32,
one thread, greedy). The router is trained here, by the product's own training, on prompts of four kinds. Timed in pairs
in turn: the answer of the adapter asked outright, and features of the prompt, choice, then the answer of what was
chosen. The ratio is the median over the pairs, by the wall clock; `gate_ms` is features and choice alone. Before that,
tokens by the gate are compared with those of the chosen adapter, and choices with the kinds; status 1 where they differ.
X-LoRA mixes its adapters anew for every prompt and token, with a pass of the base first: a finer choice, which a router
that picks one adapter per request does not make. It has to run without a cache of keys and values, as PEFT asks.
Prints JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import peft
import torch
import transformers

from benchmarks.serve_batch import Ours, build_adapters, build_base
from core.compose.router import Router
from core.engine.records import AdapterRef, Composition, Message
from core.training.gate_router import LabelledFeatures, train_router

GOALS = {"gate_over_one_adapter": 1.05}
KINDS = ("PRODUCT,SKU {n}", "campaign budget in USD: {n}", "zzqy {n} xxkw", "HARMONIZE|{n}|ROAS|CTR")
PER_KIND, PEFT_TOKENS = 12, 4


class Gated:
    """The engine, four adapters and a router between them."""

    def __init__(self, base_folder: Path, refs: Sequence[AdapterRef], tokens: int) -> None:
        self.ours = Ours(base_folder, 2, len(refs), tokens)
        self.singles = [self.ours.compose((ref, 1.0)) for ref in refs]
        for composition in self.singles:
            self.ours.engine.prepare(composition)
        self._by_digest = {ref.digest: c for ref, c in zip(refs, self.singles, strict=True)}
        train, validation = self._examples(0), self._examples(1000)
        weights = train_router(
            train, validation, classes=len(refs), labels=[f"a{n}" for n in range(len(refs))]
        )
        self.router = Router([ref.digest for ref in refs], weights)

    def features(self, prompt: str) -> tuple[float, ...]:
        return self.ours.engine.features((Message("user", prompt),))

    def _examples(self, start: int) -> LabelledFeatures:
        rows = [
            (self.features(kind.format(n=start + n)), label)
            for label, kind in enumerate(KINDS)
            for n in range(PER_KIND)
        ]
        return LabelledFeatures(np.array([x for x, _ in rows]), np.array([label for _, label in rows]))

    def choose(self, prompt: str) -> Composition:
        """What the gate has answer; the base where it leaves the prompt to it."""
        chosen = self.router.choose(self.features(prompt)).chosen
        return self.ours.compose() if chosen is None else self._by_digest[chosen]

    def answer(self, prompt: str) -> tuple[int, ...]:
        return self.ours.answer(self.choose(prompt), prompt)


def seconds(act: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measure_ours(gated: Gated, repeats: int) -> dict[str, Any]:
    """Pairs of both ways, each with a prompt of its own kind."""
    gates, alone, through = [], [], []
    for n in range(repeats):
        place = n % len(KINDS)
        prompt = KINDS[place].format(n=2000 + n)
        composition = gated.singles[place]
        gated.ours.answer(composition, prompt)  # both of the pair find the prompt's keys and values kept
        gates.append(seconds(lambda prompt=prompt: gated.choose(prompt)))  # type: ignore[misc]
        alone.append(seconds(lambda c=composition, p=prompt: gated.ours.answer(c, p)))  # type: ignore[misc]
        through.append(seconds(lambda prompt=prompt: gated.answer(prompt)))  # type: ignore[misc]
    middle = statistics.median
    return {
        "gate_ms": round(middle(gates) * 1e3, 3),
        "one_adapter_ms": round(middle(alone) * 1e3, 2),
        "through_the_gate_ms": round(middle(through) * 1e3, 2),
        "gate_over_one_adapter": round(middle(t / a for t, a in zip(through, alone, strict=True)), 3),
        "one_plus_gate_over_one": round(1 + middle(gates) / middle(alone), 4),
    }


def measure_peft(base: Path, refs: Sequence[AdapterRef], repeats: int) -> dict[str, Any]:
    """X-LoRA over the same adapters against the first of them, both without a cache of keys and values."""

    def plain() -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model.config.use_cache = False
        return model

    paths = {str(n): str(ref.path) for n, ref in enumerate(refs)}
    config = peft.XLoraConfig(task_type="CAUSAL_LM", hidden_size=512, xlora_depth=1, adapters=paths)
    mixed = peft.get_peft_model(plain(), config).eval()
    single = peft.PeftModel.from_pretrained(plain(), refs[0].path).eval()
    ids = torch.arange(20, 36).unsqueeze(0)

    def generate(model: Any) -> None:
        with torch.inference_mode():
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=PEFT_TOKENS,
                do_sample=False,
                use_cache=False,
            )

    pairs = [(seconds(lambda: generate(mixed)), seconds(lambda: generate(single))) for _ in range(repeats)]
    return {
        "tokens": PEFT_TOKENS,
        "xlora_over_one_adapter": round(statistics.median(a / b for a, b in pairs), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 tokens, 4 repeats")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.repeats = 8, 4
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        refs = build_adapters(folder, base, len(KINDS))
        gated = Gated(base, refs, options.tokens)
        for single, kind in zip(gated.singles, KINDS, strict=True):
            prompt = kind.format(n=3000)
            if gated.answer(prompt) != gated.ours.answer(single, prompt):
                raise SystemExit(f"the gate does not answer «{prompt}» as its adapter does")
        ours = measure_ours(gated, options.repeats)
        gated.ours.engine.close()
        theirs = measure_peft(base, refs, max(2, options.repeats // 5))
    result = {
        "benchmark": "request_gate",
        "quick": options.quick,
        "tokens_identical": True,
        "ours": ours,
        "peft": theirs,
        "new_tokens": options.tokens,
        "repeats": options.repeats,
        "goals": GOALS,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "versions": {"torch": torch.__version__, "peft": peft.__version__},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
