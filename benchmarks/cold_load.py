"""From an adapter's files to an adapter that may serve, beside PEFT's `load_adapter`, in turn in one run.

    python benchmarks/cold_load.py [--quick] [--loaded 1 48] [--registered 1 1000] [--repeats 9]

The model is the random 22 M-parameter Llama of serve_batch.py, adapters of rank 16 on all linear layers (3.6 MB),
float32, one thread. Ours is everything between a name and an adapter that answers: the name is looked up in a database
(SQLite) with so many adapters registered, then digest, header, shapes, finite values, a trial run of the base with it.
Between two loads the adapter is unloaded, in PEFT too. The files are in the page cache for both: no disk is measured.
Registered beside it is one small adapter under many names, since only their number matters to the lookup.
Tokens of both are compared before anything is timed; status 1 where they differ. Prints JSON.
PEFT checks neither digest nor values and runs no trial; it holds every kind of adapter and can train what it loaded.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers
from safetensors.torch import save_file

from benchmarks.serve_batch import Ours, Peft, build_adapters, build_base
from core.compose import service
from core.compose.records import CompositionSpec, Term
from core.engine.records import AdapterRef, Composition
from core.registry import service as registry
from core.registry.bases import read_base_facts
from core.registry.package import build_manifest
from core.registry.records import AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.storage.database import Database
from core.storage.digests import digest_adapter_folder
from core.storage.migrate import upgrade
from core.tenants import service as tenants

GOALS = {"cold_load_ms": 10.0, "registered_1000_over_1": 1.2}
FRESH = "fresh"
Seconds = tuple[float, float]  # by the wall clock, and of processor time


class Catalogue:
    """A database with adapters of one workspace."""

    def __init__(self, folder: Path, base_folder: Path) -> None:
        url = f"sqlite:///{folder / 'rmn.sqlite'}"
        upgrade(url)
        self.database, self._facts = Database(url), read_base_facts(base_folder, name="random")
        self._registered = 0
        with self.database.transaction() as s:
            self.tenant_id = tenants.create_tenant(s, name="Benchmark", now=datetime.now(UTC)).id

    def register(self, ref: AdapterRef, names: Sequence[str]) -> None:
        """The adapter of `ref` under each of the names."""
        facts, now = verify_folder(ref.path, base=self._facts), datetime.now(UTC)
        with self.database.transaction() as s:
            for name in names:
                manifest = build_manifest(
                    facts, name=name, type=AdapterType.RETAILER, base=self._facts, now=now
                )
                registry.register_adapter(
                    s,
                    self.tenant_id,
                    folder=ref.path,
                    manifest=manifest,
                    source=AdapterSource.TRAINED,
                    now=now,
                )
        self._registered += len(names)

    def fill(self, ref: AdapterRef, count: int) -> None:
        """Register `ref` under new names until `count` adapters are there."""
        self.register(ref, [f"filler{n}" for n in range(self._registered, count)])

    def find(self, name: str) -> Composition:
        """What the name means now."""
        with self.database.reading() as s:
            spec = CompositionSpec(terms=(Term(adapter=name),))
            (part,) = service.resolve_parts(s, self.tenant_id, spec, base_digest=self._facts.digest)
            return part.composition


def small_adapter(like: AdapterRef) -> AdapterRef:
    """One of rank 1 on a single linear layer, so that registering it a thousand times is a matter of seconds."""
    config = json.loads((like.path / "adapter_config.json").read_text())
    config |= {"r": 1, "lora_alpha": 2, "target_modules": ["q_proj"], "layers_to_transform": [0]}
    path = like.path.with_name("small")
    path.mkdir()
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{prefix}.lora_A.weight": torch.ones(1, 512), f"{prefix}.lora_B.weight": torch.ones(512, 1)}
    save_file(tensors, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps(config))
    return AdapterRef(digest_adapter_folder(path), path)


def load_ours(ours: Ours, catalogue: Catalogue) -> Seconds:
    """From the name to an adapter that may serve; afterwards it is unloaded."""
    began, worked = time.perf_counter(), time.process_time()
    composition = catalogue.find(FRESH)
    ours.engine.prepare(composition)
    seconds = time.perf_counter() - began, time.process_time() - worked
    if not ours.engine.unload(composition.terms[0].adapter.digest):
        raise SystemExit("the adapter was not loaded, so that nothing was measured")
    return seconds


def load_peft(model: Any, ref: AdapterRef) -> Seconds:
    """Of `load_adapter`; afterwards the adapter is deleted."""
    began, worked = time.perf_counter(), time.process_time()
    model.load_adapter(ref.path, adapter_name=FRESH)
    seconds = time.perf_counter() - began, time.process_time() - worked
    model.delete_adapter(FRESH)
    return seconds


def milliseconds(measured: Sequence[Seconds]) -> dict[str, float]:
    """Median, best and worst by the wall clock, and the median by the processor time of the process."""
    wall, worked = zip(*measured, strict=True)
    return {
        "median": round(statistics.median(wall) * 1e3, 2),
        "best": round(min(wall) * 1e3, 2),
        "worst": round(max(wall) * 1e3, 2),
        "median_processor": round(statistics.median(worked) * 1e3, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 and 5 loaded, 1 and 60 registered, 3 repeats")
    parser.add_argument("--loaded", type=int, nargs="+", default=[1, 48])
    parser.add_argument("--registered", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if options.quick:
        options.loaded, options.registered, options.repeats = [2, 5], [1, 60], 3
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load, most = os.getloadavg()[0], max(options.loaded)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        fresh, *others = build_adapters(folder, base, most + 1)
        ours, catalogue = Ours(base, 2, most + 1, 6), Catalogue(folder, base)
        peers = Peft(base, others[:1], ours.base.tokenizer, 6)
        if ours.answer(ours.compose((others[0], 1.0)), "record") != peers.one_by_one(["record"])[0]:
            raise SystemExit("the tokens of the engine and of PEFT differ")
        catalogue.register(fresh, [FRESH])
        by_loaded, loaded = {}, 1
        for count in options.loaded:
            for number in range(loaded, count):
                ours.engine.prepare(ours.compose((others[number], 1.0)))
                peers.model.load_adapter(others[number].path, adapter_name=f"a{number}")
            loaded = max(loaded, count)
            pairs = [
                (load_ours(ours, catalogue), load_peft(peers.model, fresh)) for _ in range(options.repeats)
            ]
            mine, theirs = zip(*pairs, strict=True)
            told = {"ours_ms": milliseconds(mine), "peft_ms": milliseconds(theirs)}
            by_loaded[str(count)] = {
                **told,
                "times_peft": round(told["peft_ms"]["median"] / told["ours_ms"]["median"], 2),
            }
        by_registered, filler = {}, small_adapter(fresh)
        for count in options.registered:
            catalogue.fill(filler, count)
            by_registered[str(count)] = milliseconds(
                [load_ours(ours, catalogue) for _ in range(options.repeats)]
            )
        ours.engine.close()
        catalogue.database.close()
        first, last = (
            by_registered[str(n)]["median"] for n in (options.registered[0], options.registered[-1])
        )
        file_bytes = (fresh.path / "adapter_model.safetensors").stat().st_size
    result = {
        "benchmark": "cold_load",
        "quick": options.quick,
        "tokens_identical": True,
        "file_mb": round(file_bytes / 1e6, 2),
        "by_loaded": by_loaded,
        "ours_ms_by_registered": by_registered,
        "registered_most_over_least": round(last / first, 3),
        "repeats": options.repeats,
        "goals": GOALS,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "versions": {"torch": torch.__version__, "peft": peft.__version__},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
