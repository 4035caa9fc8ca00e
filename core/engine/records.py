"""What goes into the engine and what comes out. No torch here: every floor may import this."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter as the engine knows it: by content, and where the content lies."""

    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class WeightedAdapter:
    """One term of a composition: weight · ΔW on the blocks first … last of `layers` (0-based; None: on all).

    `gains` multiply the weight at single modules, by the module's name in the base (a static gate, G0); modules
    that are not named have 1.
    """

    adapter: AdapterRef
    weight: float
    layers: tuple[int, int] | None = None
    gains: tuple[tuple[str, float], ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether the weight is the same at every module."""
        return self.layers is None and all(gain == 1.0 for _, gain in self.gains)


@dataclass(frozen=True, slots=True)
class TokenGate:
    """At every token and module the `top_k` adapters whose direction the input has most of (G2, Arrow).

    Score |v_k·x| with v_k the first right singular vector of ΔW_k; a chosen adapter's weight is multiplied by its
    share in the softmax of the chosen scores over `temperature`, all others by 0. One adapter alone keeps its weight.
    Source: Ostapenko et al. 2024, arXiv 2405.11157, section 4.
    """

    top_k: int = 2
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Composition:
    """An immutable composition, ready to be pinned by a request. Equal content has an equal `key`."""

    base_digest: str
    terms: tuple[WeightedAdapter, ...] = ()
    method: Literal["additive", "gated"] = "additive"
    gate: TokenGate | None = None

    @property
    def key(self) -> str:
        """SHA-256 over base, method, adapter digests, weights and gates, never over names.

        Order and splits do not matter. Equal is what is applied alike: a gain of 1 is none.
        """
        weights: dict[tuple[str, str], float] = {}
        for term in self.terms:
            gains = sorted((name, gain.hex()) for name, gain in term.gains if gain != 1.0)
            place = (term.adapter.digest, json.dumps([term.layers, gains]) if term.layers or gains else "")
            weights[place] = weights.get(place, 0.0) + term.weight
        content: list[object] = [
            self.base_digest,
            self.method,
            sorted((*([d] if not where else [d, where]), w.hex()) for (d, where), w in weights.items()),
        ]
        if self.gate is not None:
            content.append(["token", self.gate.top_k, self.gate.temperature.hex()])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to answer, and how. `temperature` 0 is greedy. `stop` strings end the answer and are not part of it.

    `owner` is who shares the engine fairly with others (a tenant), with `share` as its part; requests of a higher
    `priority` go before others of the same owner. After `time_limit_s` from the submission an answer ends with
    what is there (finish reason «timeout»).
    """

    messages: tuple[Message, ...]
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    owner: str = ""
    share: float = 1.0
    priority: int = 0
    time_limit_s: float | None = None


FinishReason = Literal["stop", "length", "cancelled", "timeout"]


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What the model was sure of at one token: natural logarithm of its probability, entropy of the whole
    distribution in nats, and margin between the two most probable tokens' probabilities, all at temperature 1."""

    logprob: float
    entropy: float
    margin: float


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer with what it cost. Means and the least margin are over the generated tokens, in nats; for an answer
    without any token they are 0. `cached_tokens` of the prompt were not read again. `first_token_ms` counts from the
    submission."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    queued_ms: float
    generate_ms: float
    mean_logprob: float
    composition_key: str
    token_ids: tuple[int, ...] = field(repr=False, default=())
    token_facts: tuple[TokenFacts, ...] = field(repr=False, default=())
    mean_entropy: float = 0.0
    min_margin: float = 0.0
    cached_tokens: int = 0
    first_token_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer; the last one carries the whole Generation."""

    text: str
    final: Generation | None = None


@dataclass(frozen=True, slots=True)
class ResidentAdapter:
    """An adapter in memory. `pins` are the requests that use it now."""

    digest: str
    bytes: int
    pins: int
    uses: int
    load_ms: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class PrefixStatus:
    """The keys and values that are kept for prompts that begin alike. Hits and misses are counted by request."""

    entries: int = 0
    bytes: int = 0
    budget_bytes: int = 0
    hits: int = 0
    misses: int = 0
    tokens_saved: int = 0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What is loaded and how busy it is. Bytes are of the tensors held."""

    ready: bool
    base_name: str
    base_digest: str
    device: str
    dtype: str
    base_bytes: int
    adapters_resident: int
    adapter_bytes: int
    adapter_slots: int
    running_rows: int
    waiting_rows: int
    answered: int
    backend: str = "local"
    residents: tuple[ResidentAdapter, ...] = ()
    adapter_budget_bytes: int = 0
    adapter_loads: int = 0
    adapter_hits: int = 0
    adapter_evictions: int = 0
    kv_bytes: int = 0
    kv_budget_bytes: int = 0
    prefix: PrefixStatus = PrefixStatus()


class EnginePort(Protocol):
    """What every backend can do. All methods may be called from any thread at any time."""

    @property
    def base_digest(self) -> str:
        """Digest of the base that answers."""
        ...

    def prepare(self, composition: Composition) -> None:
        """Load what `composition` needs. Raises RefusedFileError or IntegrityError; nothing else is disturbed."""
        ...

    def generate(
        self,
        composition: Composition,
        request: GenerationRequest,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generation:
        """Answer one request. Blocks until done. Raises BusyError when too many wait."""
        ...

    def stream(self, composition: Composition, request: GenerationRequest) -> Iterator[Chunk]:
        """Answer piece by piece. Closing the iterator cancels the request."""
        ...

    def features(self, messages: Sequence[Message]) -> tuple[float, ...]:
        """Mean of the frozen embedding table over the tokens of the prompt: what a request router sees (G1)."""
        ...

    def module_names(self) -> tuple[str, ...]:
        """The linear layers that adapters can act on, as the base names them, in the order of the forward pass."""
        ...

    def unload(self, digest: str) -> bool:
        """Free an adapter's memory once no request uses it. False when it was not loaded."""
        ...

    def status(self) -> EngineStatus:
        """What is loaded and how busy it is."""
        ...

    def close(self, timeout_s: float | None = None) -> None:
        """Finish what runs, refuse what comes. After `timeout_s` (None: as it was opened) what still runs is ended;
        a second call may shorten that."""
        ...
