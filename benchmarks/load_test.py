"""Many clients, many tenants, many compositions for some minutes: what fails, what is torn or stale, how long it takes.

    python benchmarks/load_test.py [--quick] [--seconds 300] [--clients 64] [--tenants 32] [--compositions 16]
    python benchmarks/load_test.py --url http://127.0.0.1:8600 --key KEY --key KEY --model NAME --model NAME

Without --url: the runtime in this process, on the random 22 M-parameter Llama of serve_batch.py (adapters of rank 16 on
all linear layers, float32, one thread, greedy) with a database of its own (SQLite). Half of the compositions are single
adapters, half mixtures of two. Tenants and compositions are drawn by Zipf (s = 1), by each client for itself. With --url:
a server that runs already, by the routes of OpenAI's client; one key per tenant, any names of adapters or federations.
Each composition is asked alone first. Under load an answer is stale when it is that of another composition than the one
asked for, torn when it is nobody's. A refusal is no failure when it says when to come back (Retry-After); the client
then waits that long and asks again, and its request counts once. `--queue` is how many may wait in the engine.
Status 1 when an answer failed, was torn or stale. Prints JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import numpy as np
import torch
import transformers

from benchmarks.serve_batch import build_adapters, build_base
from core.compose.cache import CompositionCache
from core.compose.records import CompositionSpec, Term
from core.engine.base import load_base
from core.engine.local import LocalEngine
from core.engine.records import AdapterRef, Message
from core.errors import BusyError
from core.registry import service as registry
from core.registry.bases import read_base_facts
from core.registry.package import build_manifest
from core.registry.records import AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.serve.records import InferenceRequest
from core.serve.runtime import Runtime
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

GOALS = {"failed": 0, "torn": 0, "stale": 0}


class RefusedError(Exception):
    """Come back after so many seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"come back after {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Answered:
    """What tells an answer from others, and its tokens."""

    fingerprint: str
    tokens: int


class Side(Protocol):
    """What is asked. `tenants` and `compositions` are how many there are."""

    tenants: int
    compositions: int

    def ask(self, tenant: int, composition: int) -> Answered:
        """Raises RefusedError."""
        ...

    def close(self) -> None: ...


class InProcess:
    """The runtime, with tenants that each have every adapter."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.tenants, self.compositions = options.tenants, options.compositions
        self._tokens, self._prompt = options.tokens, options.prompt
        base_folder = build_base(folder / "base")
        refs = build_adapters(folder, base_folder, max(2, options.compositions // 2))
        url = f"sqlite:///{folder / 'rmn.sqlite'}"
        upgrade(url)
        self._database = Database(url)
        base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self._engine = LocalEngine(base, adapter_slots=len(refs), max_queue_rows=options.queue)
        self._runtime = Runtime(
            self._database, lambda: self._engine, cache=CompositionCache(lambda: self._engine)
        )
        facts = read_base_facts(base_folder, name="random")
        manifests = [
            build_manifest(
                verify_folder(ref.path, base=facts),
                name=f"adapter{n}",
                type=AdapterType.RETAILER,
                base=facts,
                now=datetime.now(UTC),
            )
            for n, ref in enumerate(refs)
        ]
        self._principals = [self._move_in(f"Tenant {n}", refs, manifests) for n in range(options.tenants)]
        self._specs = [
            CompositionSpec(terms=(Term(adapter=f"adapter{n}"),))
            if n < len(refs)
            else CompositionSpec(
                terms=(
                    Term(adapter=f"adapter{n % len(refs)}", weight=0.6),
                    Term(adapter=f"adapter{(n + 1) % len(refs)}", weight=0.4),
                )
            )
            for n in range(options.compositions)
        ]

    def _move_in(self, name: str, refs: Sequence[AdapterRef], manifests: Sequence[Any]) -> Principal:
        now = datetime.now(UTC)
        with self._database.transaction() as s:
            tenant = tenants.create_tenant(s, name=name, now=now)
            for ref, manifest in zip(refs, manifests, strict=True):
                registry.register_adapter(
                    s, tenant.id, folder=ref.path, manifest=manifest, source=AdapterSource.TRAINED, now=now
                )
        return Principal(tenant.id, name, "benchmark", Role.VIEWER)

    def ask(self, tenant: int, composition: int) -> Answered:
        request = InferenceRequest(
            messages=(Message("user", self._prompt),),
            composition=self._specs[composition],
            max_new_tokens=self._tokens,
            logprobs=True,  # names every token by its number, since most tokens of the random base have no text
        )
        try:
            answer = self._runtime.answer(self._principals[tenant], request)
        except BusyError as error:
            raise RefusedError(error.retry_after_s) from error
        return Answered("".join(each.token for each in answer.logprobs or ()), answer.completion_tokens)

    def close(self) -> None:
        self._runtime.close()
        self._engine.close()
        self._database.close()


class OverHttp:
    """A server, by the routes of OpenAI's client."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tenants, self.compositions = len(options.key), len(options.model)
        self._tokens, self._prompt, self._models = options.tokens, options.prompt, options.model
        limits = httpx.Limits(max_connections=options.clients, max_keepalive_connections=options.clients)
        self._clients = [
            httpx.Client(
                base_url=options.url, headers={"Authorization": f"Bearer {key}"}, timeout=120, limits=limits
            )
            for key in options.key
        ]

    def ask(self, tenant: int, composition: int) -> Answered:
        said = self._clients[tenant].post(
            "/v1/chat/completions",
            json={
                "model": self._models[composition],
                "messages": [{"role": "user", "content": self._prompt}],
                "max_tokens": self._tokens,
            },
        )
        if said.status_code in (429, 503) and "retry-after" in said.headers:
            raise RefusedError(float(said.headers["retry-after"]))
        body = said.raise_for_status().json()
        return Answered(body["choices"][0]["message"]["content"], body["usage"]["completion_tokens"])

    def close(self) -> None:
        for client in self._clients:
            client.close()


@dataclass
class Tally:
    """What came of the requests of one client."""

    seconds: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tokens: int = 0


def zipf(count: int) -> Any:
    """Shares of 1/1, 1/2, 1/3, …"""
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


def be_client(
    side: Side, number: int, until: float, wanted: Sequence[str], known: dict[str, int], stop: threading.Event
) -> Tally:
    """Ask until the time is over; what runs then is waited for."""
    random, tally = np.random.default_rng(number), Tally()
    while (began := time.perf_counter()) < until and not stop.is_set():
        tenant = int(random.choice(side.tenants, p=zipf(side.tenants)))
        composition = int(random.choice(side.compositions, p=zipf(side.compositions)))
        while True:
            try:
                answer = side.ask(tenant, composition)
            except RefusedError as refused:
                tally.counts["refused"] += 1
                if time.perf_counter() + refused.retry_after_s >= until:
                    return tally
                stop.wait(refused.retry_after_s)
                continue
            except Exception as error:  # noqa: BLE001 - counted
                print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
                tally.counts["failed"] += 1
                stop.wait(0.1)
                break
            tally.seconds.append(time.perf_counter() - began)
            tally.tokens += answer.tokens
            if answer.fingerprint != wanted[composition]:
                tally.counts["stale" if answer.fingerprint in known else "torn"] += 1
            break
    return tally


def measure(side: Side, clients: int, seconds: float) -> dict[str, Any]:
    """Each composition alone, then all clients together."""
    wanted = [side.ask(0, n).fingerprint for n in range(side.compositions)]
    known = {fingerprint: n for n, fingerprint in enumerate(wanted)}
    if len(known) < len(wanted):
        raise SystemExit("two compositions answer alike: nothing could be told from their answers")
    stop, began = threading.Event(), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asking = [
            pool.submit(be_client, side, n, began + seconds, wanted, known, stop) for n in range(clients)
        ]
        try:
            tallies = [each.result() for each in asking]
        finally:
            stop.set()
    wall = time.perf_counter() - began
    counts: Counter[str] = sum((tally.counts for tally in tallies), Counter())
    times = sorted(second for tally in tallies for second in tally.seconds)
    if len(times) < 2:
        raise SystemExit("hardly anything was answered in that time: give more --seconds")
    return {
        "answered": len(times),
        **{name: counts[name] for name in ("failed", "torn", "stale", "refused")},
        "p50_ms": round(statistics.median(times) * 1e3, 1),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3, 1),
        "tokens_per_s": round(sum(tally.tokens for tally in tallies) / wall, 1),
        "seconds": round(wall, 1),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="16 clients, 4 tenants, 6 compositions, 5 s, 2 tokens"
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tenants", type=int, default=32)
    parser.add_argument("--compositions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--queue", type=int, default=2048)
    parser.add_argument(
        "--prompt", default="SKU 4711: plan", help="one that every composition answers otherwise"
    )
    parser.add_argument("--url")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    options = parser.parse_args()
    if options.url and not (options.key and options.model):
        parser.error("--url wants at least one --key and one --model")
    if options.quick:
        options.seconds, options.clients, options.tokens = 5, 16, 2
        options.tenants, options.compositions = 4, 6
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        side: Side = OverHttp(options) if options.url else InProcess(Path(name), options)
        try:
            measured = measure(side, options.clients, options.seconds)
        finally:
            side.close()
    wrong = {name: measured[name] for name in GOALS}
    result = {
        "benchmark": "load_test",
        "quick": options.quick,
        "tokens_identical": not (wrong["torn"] or wrong["stale"]),
        **measured,
        "clients": options.clients,
        "tenants": side.tenants,
        "compositions": side.compositions,
        "tokens_per_request": options.tokens,
        "over": "http" if options.url else "the runtime in this process",
        "goals": GOALS,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    print(json.dumps(result, indent=2))
    if any(wrong.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
