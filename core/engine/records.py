"""What goes into the engine and what comes out. No torch here: every floor may import this."""

import hashlib
import json
from collections.abc import Callable, Iterator
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
    """One term of a composition."""

    adapter: AdapterRef
    weight: float


@dataclass(frozen=True, slots=True)
class Composition:
    """An immutable composition, ready to be pinned by a request. Equal content has an equal `key`."""

    base_digest: str
    terms: tuple[WeightedAdapter, ...] = ()
    method: Literal["additive"] = "additive"

    @property
    def key(self) -> str:
        """SHA-256 over base, method, adapter digests and weights: never over names. Order and splits do not matter."""
        weights: dict[str, float] = {}
        for term in self.terms:
            weights[term.adapter.digest] = weights.get(term.adapter.digest, 0.0) + term.weight
        content = [self.base_digest, self.method, sorted((d, w.hex()) for d, w in weights.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to answer, and how. `temperature` 0 is greedy. `stop` strings end the answer and are not part of it."""

    messages: tuple[Message, ...]
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer with what it cost. `mean_logprob` is over the generated tokens, natural logarithm."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    queued_ms: float
    generate_ms: float
    mean_logprob: float
    composition_key: str
    token_ids: tuple[int, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer; the last one carries the whole Generation."""

    text: str
    final: Generation | None = None


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

    def unload(self, digest: str) -> bool:
        """Free an adapter's memory once no request uses it. False when it was not loaded."""
        ...

    def status(self) -> EngineStatus:
        """What is loaded and how busy it is."""
        ...

    def close(self) -> None:
        """Finish what runs, refuse what comes."""
        ...
