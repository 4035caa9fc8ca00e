"""What one more adapter and one more composition cost in memory, beside PEFT, in one run.

    python benchmarks/adapter_memory.py [--quick] [--adapters 24] [--compositions 200]

The model is the random 22 M-parameter Llama of serve_batch.py, adapters of rank 16 on all linear layers (3.6 MB),
float32. Bytes are told twice: by the resident set of this process, after what is free was given back to the system, and
by the tensors held (the engine's own count; for PEFT the bytes of its LoRA parameters). The first adapter is loaded
before counting, so that what is made once does not count. Compositions are different mixtures of two adapters.
Tokens of both are compared first; status 1 where they differ. Prints JSON. Linux only (/proc/self/statm).
PEFT keeps trainable parameters with their module objects; that is what makes its adapters a little larger than files.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers

from benchmarks.serve_batch import Ours, Peft, build_adapters, build_base
from core.compose.cache import CompositionCache
from core.engine.records import AdapterRef

GOALS = {"bytes_over_file": 1.15, "bytes_per_composition": 0}
PEFT_COMPOSITIONS = 2


def resident_bytes() -> int:
    """Of this process, after everything free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def lora_bytes(model: Any) -> int:
    """Of all LoRA parameters of a PEFT model."""
    return sum(p.numel() * p.element_size() for name, p in model.named_parameters() if "lora_" in name)


def growth(act: Callable[[], None], count: int, held: Callable[[], int]) -> dict[str, int]:
    """Bytes per thing made by `act`, which makes `count` of them: of the process, and of the tensors held."""
    resident, tensors = resident_bytes(), held()
    act()
    return {
        "resident_bytes": round((resident_bytes() - resident) / count),
        "tensor_bytes": round((held() - tensors) / count),
    }


def measure_ours(ours: Ours, adapters: list[AdapterRef], compositions: int) -> dict[str, Any]:
    """Adapters are loaded and compositions prepared as the runtime does it: through the cache."""
    cache = CompositionCache(lambda: ours.engine, max_entries=compositions + len(adapters))

    def load() -> None:
        for ref in adapters[1:]:
            cache.compose_sync(ours.compose((ref, 1.0)))

    def compose() -> None:
        for n in range(compositions):
            pair = adapters[n % len(adapters)], adapters[(n + 1) % len(adapters)]
            cache.compose_sync(ours.compose((pair[0], 0.5), (pair[1], 0.5 + n / 1000)))

    def held() -> int:
        return ours.engine.status().adapter_bytes

    return {
        "adapter": growth(load, len(adapters) - 1, held),
        "composition": growth(compose, compositions, held),
    }


def measure_peft(peers: Peft, adapters: list[AdapterRef]) -> dict[str, Any]:
    """`load_adapter`, and `add_weighted_adapter` in its exact mode."""

    def load() -> None:
        for n, ref in enumerate(adapters[1:], start=1):
            peers.model.load_adapter(ref.path, adapter_name=f"a{n}")

    def compose() -> None:
        for n in range(PEFT_COMPOSITIONS):
            peers.model.add_weighted_adapter(["a0", "a1"], [0.5, 0.5 + n], f"mix{n}", combination_type="cat")

    def held() -> int:
        return lora_bytes(peers.model)

    return {
        "adapter": growth(load, len(adapters) - 1, held),
        "composition": growth(compose, PEFT_COMPOSITIONS, held),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 adapters, 20 compositions")
    parser.add_argument("--adapters", type=int, default=24)
    parser.add_argument("--compositions", type=int, default=200)
    options = parser.parse_args()
    if options.quick:
        options.adapters, options.compositions = 5, 20
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        adapters = build_adapters(folder, base, options.adapters)
        file_bytes = (adapters[0].path / "adapter_model.safetensors").stat().st_size
        ours = Ours(base, 2, options.adapters, 6)
        peers = Peft(base, adapters[:1], ours.base.tokenizer, 6)
        if ours.answer(ours.compose((adapters[0], 1.0)), "record") != peers.one_by_one(["record"])[0]:
            raise SystemExit("the tokens of the engine and of PEFT differ")
        mine = measure_ours(ours, adapters, options.compositions)
        theirs = measure_peft(peers, adapters)
        ours.engine.close()
    result = {
        "benchmark": "adapter_memory",
        "quick": options.quick,
        "tokens_identical": True,
        "file_bytes": file_bytes,
        "ours": mine,
        "peft": theirs,
        "resident_over_file": round(mine["adapter"]["resident_bytes"] / file_bytes, 3),
        "tensors_over_file": round(mine["adapter"]["tensor_bytes"] / file_bytes, 3),
        "peft_resident_over_file": round(theirs["adapter"]["resident_bytes"] / file_bytes, 3),
        "adapters": options.adapters,
        "compositions": options.compositions,
        "goals": GOALS,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "versions": {"torch": torch.__version__, "peft": peft.__version__},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
