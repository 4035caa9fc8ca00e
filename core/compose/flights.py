"""One preparation under way, and what a cache has to know about a composition to begin it."""

import copy
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from core.compose.handles import CompositionHandle
from core.compose.holdings import Held
from core.engine.records import Composition, EnginePort
from core.errors import RmnError

WEIGHTS_FILE = "adapter_model.safetensors"
Places = tuple[str, tuple[Path, ...]]  # a key, and the folders that one caller has for its adapters


class Flight:
    """A preparation, and how many wait for it beside the one who does it."""

    __slots__ = ("adapters", "done", "error", "held", "places", "waiting")

    def __init__(self, places: Places, adapters: tuple[str, ...]) -> None:
        self.places, self.adapters = places, adapters
        self.done = Event()
        self.waiting = 0
        self.held: Held | None = None
        self.error: Exception | None = None


def needed_adapters(composition: Composition) -> tuple[str, ...]:
    """Digests of the adapters that act, each once."""
    return tuple(sorted({term.adapter.digest for term in composition.terms if term.weight != 0}))


def places_of(key: str, composition: Composition) -> Places:
    """Equal for callers whose files are the same: what is wrong with those of one says nothing about another's."""
    return key, tuple(sorted(term.adapter.path for term in composition.terms))


def own_handle(handle: CompositionHandle, composition: Composition) -> CompositionHandle:
    """The handle with the paths of this caller."""
    if handle.composition == composition:
        return handle
    return CompositionHandle(composition, handle.key, handle.adapters, handle.bytes, handle.prepared_ms)


def adapter_bytes(engine: EnginePort, composition: Composition, adapters: Sequence[str]) -> dict[str, int]:
    """Bytes by digest: as the engine holds them, or, where a backend does not tell, as their files are."""
    resident = {r.digest: r.bytes for r in engine.status().residents}
    files = {term.adapter.digest: term.adapter.path / WEIGHTS_FILE for term in composition.terms}
    sizes = {}
    for digest in adapters:
        if digest in resident:
            sizes[digest] = resident[digest]
        else:
            sizes[digest] = files[digest].stat().st_size if files[digest].is_file() else 0
    return sizes


def error_again(error: Exception) -> Exception:
    """An error to raise in another thread: its own object, so that tracebacks do not pile up on one."""
    return copy.copy(error) if isinstance(error, RmnError) else error
