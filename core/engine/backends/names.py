"""Which adapters a server holds for us: named by content, loaded once, the longest unused leaves first."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.engine.records import ResidentAdapter

LOOK_SECONDS = 0.05  # how often who waits for room asks whether the request is cancelled


@dataclass(slots=True)
class _Name:
    """One name on the server. `adapters` are the digests of what was composed into it."""

    adapters: frozenset[str]
    state: Literal["loading", "ready", "leaving"] = "loading"
    pins: int = 0
    uses: int = 0
    bytes: int = 0
    load_ms: float = 0.0
    last_used: float = 0.0
    loaded_at: float = 0.0
    doomed: bool = False


class ResidentNames:
    """At most `cap` names at once. `drop` forgets a name on the server; it may fail, the name is gone here anyhow."""

    def __init__(self, cap: int, drop: Callable[[str], None]) -> None:
        self._cap, self._drop = cap, drop
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._changed = threading.Condition()
        self.loads = self.hits = self.evictions = 0

    def pin(
        self,
        name: str,
        adapters: frozenset[str],
        load: Callable[[], int],
        cancelled: Callable[[], bool] | None = None,
    ) -> bool:
        """Hold `name` until `unpin`; False when the request was cancelled while it waited.

        Whoever comes first loads it (`load` answers its bytes) and others wait for that one. What `load` raises is
        raised here and to nobody else; they try again themselves.
        """
        while True:
            with self._changed:
                known = self._names.get(name)
                if known is not None and known.state == "ready" and not known.doomed:
                    known.pins, known.uses, known.last_used = known.pins + 1, known.uses + 1, time.monotonic()
                    self._names.move_to_end(name)
                    self.hits += 1
                    return True
                victim = None if known else self._make_room()
                if known is None and victim is not False:
                    self._names[name] = _Name(adapters)
                    break
                self._changed.wait(LOOK_SECONDS)
            if cancelled is not None and cancelled():
                return False
        self._fill(name, load, victim)
        return True

    def unpin(self, name: str) -> None:
        """Let go of a name that `pin` held."""
        with self._changed:
            known = self._names.get(name)
            if known is None:
                return
            known.pins = max(0, known.pins - 1)
            known.last_used = time.monotonic()
            leaves = known.doomed and not known.pins and known.state == "ready"
            if leaves:
                known.state = "leaving"
            self._changed.notify_all()
        if leaves:
            self._leave(name)

    def lost(self, name: str, asked_at: float) -> None:
        """The server did not know `name` at `asked_at` (time.monotonic): the next `pin` loads it again.

        Pins of it are void. Where another request has had it loaded since, nothing happens.
        """
        with self._changed:
            known = self._names.get(name)
            if known is not None and known.state == "ready" and known.loaded_at < asked_at:
                del self._names[name]
            self._changed.notify_all()

    def adopt(self, name: str) -> None:
        """The server holds `name` already, from before this process."""
        with self._changed:
            now = time.monotonic()
            self._names[name] = _Name(frozenset({name}), "ready", last_used=now, loaded_at=now)

    def unload(self, adapter: str) -> bool:
        """Drop every name that `adapter` is part of: now where it is unused, else after its last request."""
        with self._changed:
            found = [(n, k) for n, k in self._names.items() if adapter in k.adapters and k.state == "ready"]
            for _, known in found:
                known.doomed = True
            free = [name for name, known in found if not known.pins]
            for name in free:
                self._names[name].state = "leaving"
        for name in free:
            self._leave(name)
        return bool(found)

    def residents(self) -> tuple[ResidentAdapter, ...]:
        """What the server holds, the longest unused first."""
        now = time.monotonic()
        with self._changed:
            return tuple(
                ResidentAdapter(
                    name, known.bytes, known.pins, known.uses, known.load_ms, now - known.last_used
                )
                for name, known in self._names.items()
                if known.state == "ready"
            )

    def _make_room(self) -> str | Literal[False] | None:
        """None: there is room. A name: it leaves now. False: all are in use."""
        if len(self._names) < self._cap:
            return None
        for name, known in self._names.items():
            if known.state == "ready" and not known.pins:
                known.state = "leaving"
                self.evictions += 1
                return name
        return False

    def _fill(self, name: str, load: Callable[[], int], victim: str | None) -> None:
        try:
            if victim is not None:
                self._leave(victim)
            begun = time.monotonic()
            size = load()
        except BaseException:
            with self._changed:
                del self._names[name]
                self._changed.notify_all()
            raise
        with self._changed:
            known = self._names[name]
            known.state, known.pins, known.uses, known.bytes = "ready", 1, 1, size
            known.last_used = known.loaded_at = time.monotonic()
            known.load_ms = (known.last_used - begun) * 1e3
            self.loads += 1
            self._changed.notify_all()

    def _leave(self, name: str) -> None:
        """Until the server has forgotten it, nobody can load it again: that order could not be told apart there."""
        try:
            self._drop(name)
        finally:
            with self._changed:
                self._names.pop(name, None)
                self._changed.notify_all()
