"""What a token gate costs beside one adapter, here and in PEFT (Arrow), in one run.

    python benchmarks/token_gate.py [--quick]

The model is the random 22 M-parameter Llama of serve_batch.py, adapters of rank 16 on all linear layers, float32, one
thread. What is timed is the forward pass of one decoding step: one new token per row after 16 read ones. Both gates
choose 2 of 4 adapters at every token and layer; their tokens are compared before anything is timed, and where they
differ it ends with status 1. Ways are timed in turn; the best of the repeats is taken, by the processor time of this
thread. Prints JSON. The engine's gate computes all 4 adapters and gives two of them a share, so `gate_over_one_adapter`
is the price of 4 adapters and their scores over that of one; `mixture_of_4` is the same without scores.
PEFT is good at training and at holding every LoRA variant; serving is not what its Arrow layer is built for.
"""

import argparse
import copy
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers
from peft.tuners.lora.arrow import ArrowLoraLinearLayer
from safetensors.torch import load_file, save_file

from benchmarks.serve_batch import build_adapters, build_base
from core.engine.bank import AdapterBank
from core.engine.base import load_base
from core.engine.lease import Lease
from core.engine.lora import Lane, wrap_linears
from core.engine.plan import BatchPlan, plan_batch
from core.engine.records import AdapterRef, Composition, TokenGate, WeightedAdapter
from core.storage.digests import digest_adapter_folder

ADAPTERS, TOP_K, READ_TOKENS = 4, 2, 16
GOALS = {"gate_over_one_adapter": 1.5}


class Kernel:
    """The base with the engine's linear layers, run step by step without the engine around it."""

    def __init__(self, base_folder: Path, refs: Sequence[AdapterRef]) -> None:
        self.base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self.lane = Lane()
        sites = wrap_linears(self.base.model, self.lane, torch.float32)
        self.bank = AdapterBank(
            sites, self.base.digest, slots=len(refs), dtype=torch.float32, device=torch.device("cpu")
        )
        for ref in refs:
            self.bank.prefetch(ref)

    def lease(self, refs: Sequence[AdapterRef], gate: TokenGate | None = None) -> Lease:
        terms = tuple(WeightedAdapter(ref, 1.0) for ref in refs)
        lease = self.bank.lease(Composition(self.base.digest, terms, "gated" if gate else "additive", gate))
        if lease is None:
            raise RuntimeError("no room for the adapters")
        return lease

    def plan(self, leases: Sequence[Lease]) -> BatchPlan | None:
        return plan_batch(
            [lease.terms for lease in leases],
            gates=[lease.gate for lease in leases],
            dtype=torch.float32,
            device=torch.device("cpu"),
        )

    def stepper(self, leases: Sequence[Lease]) -> "Stepper":
        return Stepper(self.base.model, len(leases), self.lane, self.plan(leases))


class Stepper:
    """One decoding step of a model, again and again from the same cache."""

    def __init__(
        self, model: Any, rows: int, lane: Lane | None = None, plan: BatchPlan | None = None
    ) -> None:
        self._model, self._lane, self._plan = model, lane, plan
        self.ids = torch.randint(1, 250, (rows, READ_TOKENS), generator=torch.Generator().manual_seed(rows))
        self._next = self.ids[:, -1:]
        with torch.inference_mode():
            self._cache = self._run(self.ids, None).past_key_values

    def _run(self, ids: torch.Tensor, cache: Any) -> Any:
        if self._lane is not None:
            self._lane.plan = self._plan
        try:
            return self._model(input_ids=ids, past_key_values=cache, use_cache=True)
        finally:
            if self._lane is not None:
                self._lane.plan = None
                self._lane.forget()

    def step(self, steps: int) -> tuple[torch.Tensor, float]:
        """The logits of the last step, and processor seconds of one."""
        cache = copy.deepcopy(self._cache)
        with torch.inference_mode():
            began = time.thread_time()
            for _ in range(steps):
                logits: torch.Tensor = self._run(self._next, cache).logits
            return logits[:, -1], (time.thread_time() - began) / steps


def focus(refs: Sequence[AdapterRef]) -> list[AdapterRef]:
    """The same adapters with one direction that stands out, as trained ones have; where the first two singular values
    are nearly equal, the direction is not defined and the two sides may differ."""
    focused = []
    for ref in refs:
        path = ref.path.with_name(f"{ref.path.name}-focused")
        shutil.copytree(ref.path, path)
        tensors = load_file(path / "adapter_model.safetensors")
        for name, tensor in tensors.items():
            if "lora_A" in name:
                tensor[1:] *= 0.3
        save_file(tensors, path / "adapter_model.safetensors")
        focused.append(AdapterRef(digest_adapter_folder(path), path))
    return focused


def load_peers(base: Path, refs: Sequence[AdapterRef]) -> dict[str, Any]:
    """PEFT with one of the adapters, and with an Arrow router over the first ones."""

    def plain() -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    # Its 15 power iterations from a random start do not always arrive; the comparison wants the same directions.
    found = ArrowLoraLinearLayer.top_right_singular_vec_from_BA
    ArrowLoraLinearLayer.top_right_singular_vec_from_BA = lambda self, a, b: found(self, a, b, iters=100)
    config = peft.ArrowConfig(top_k=TOP_K, rng_seed=0)
    paths = [str(ref.path) for ref in refs[:ADAPTERS]]
    return {
        "peft_same_adapter": peft.PeftModel.from_pretrained(plain(), refs[0].path).eval(),
        "peft_arrow_2_of_4": peft.create_arrow_model(plain(), paths, config).eval(),
    }


def measure(
    kernel: Kernel, refs: Sequence[AdapterRef], peers: dict[str, Any], rows: int, repeats: int, steps: int
) -> dict[str, Any]:
    """Milliseconds of one step of `rows` rows, by way."""
    gated = kernel.lease(refs[:ADAPTERS], TokenGate(TOP_K))
    singles = [kernel.lease([refs[n % len(refs)]]) for n in range(rows)]
    mixture = kernel.lease(refs[:ADAPTERS])
    ways = {
        "base": kernel.stepper([Lease.empty(kernel.bank)] * rows),
        "same_adapter": kernel.stepper([singles[0]] * rows),
        "one_adapter_each": kernel.stepper(singles),
        "mixture_of_4": kernel.stepper([mixture] * rows),
        "gate_2_of_4": kernel.stepper([gated] * rows),
        **{name: Stepper(model, rows) for name, model in peers.items()},
    }
    ours, theirs = (ways[name].step(1)[0] for name in ("gate_2_of_4", "peft_arrow_2_of_4"))
    if not torch.equal(ours.argmax(-1), theirs.argmax(-1)):
        raise SystemExit("the tokens of the gate and of PEFT's Arrow differ, so nothing was timed")
    best = _compare(ways, repeats, steps)
    return {
        "milliseconds": {name: round(seconds * 1e3, 3) for name, seconds in best.items()},
        "largest_difference_of_logits": float((ours - theirs).abs().max() / theirs.abs().max()),
        "tokens_identical": torch.equal(ours.argmax(-1), theirs.argmax(-1)),
        "gate_over_one_adapter": round(best["gate_2_of_4"] / best["same_adapter"], 3),
        "peft_arrow_over_one_adapter": round(best["peft_arrow_2_of_4"] / best["peft_same_adapter"], 3),
        "times_peft_arrow": round(best["peft_arrow_2_of_4"] / best["gate_2_of_4"], 2),
        "mixture_of_4_over_base": round(best["mixture_of_4"] / best["base"], 3),
        "share_of_base_one_adapter_each": round(best["base"] / best["one_adapter_each"], 3),
    }


def _compare(ways: dict[str, Stepper], repeats: int, steps: int) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            best[name] = min(best[name], way.step(steps)[1])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    repeats, steps = (2, 3) if quick else (12, 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        refs = focus(build_adapters(folder, base, 8))
        kernel, peers = Kernel(base, refs), load_peers(base, refs)
        result: dict[str, Any] = {
            "benchmark": "token_gate",
            "quick": quick,
            "versions": {"torch": torch.__version__, "peft": peft.__version__},
            "threads": 1,
            "load_average": os.getloadavg()[0],
            "goals": GOALS,
        }
        for rows in (1, 8):
            result[f"rows_{rows}"] = measure(kernel, refs, peers, rows, repeats, steps)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
