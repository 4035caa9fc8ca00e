"""Another version behind a name, without a failed, torn or stale answer.

check → build beside (the engine loads the new version while the old one serves) → canary (the new version answers) →
flip (one row changes; names are resolved by reading it, so a request begun after the flip gets the new version, and
one begun before keeps what it pinned) → drain → release. Whatever fails before the flip leaves the old one serving.

Warm: the old version stays in memory for a rollback; the next swap releases it. Cold: where the engine has no room for
both, or where that is asked for, its memory is given up once the last request that pinned it has ended. With too few
slots the requests of the old one and the loading of the new one take turns in the engine, and none fails.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from core.compose import swap_steps, swap_target
from core.compose.cache import CompositionCache
from core.compose.canary import Canary
from core.compose.records import CompositionSpec
from core.compose.served import REPLACED, REPLACED_ID
from core.compose.store import swaps as store
from core.compose.swap_records import ServedKind, Swap
from core.engine.records import Composition, EnginePort
from core.errors import RmnError
from core.storage.database import Database

LOG = structlog.get_logger(__name__)
JUST_UNDER_WAY_S = 5.0  # requests that resolved the name before a flip may still come to the cache after it
Progress = Callable[[Swap], None]
Check = Callable[[Session], None]


@dataclass(slots=True)
class _Attempt:
    """One swap on its way. `old` and `new` are the compositions of both versions."""

    swap: Swap
    old: tuple[Composition, ...] = ()
    new: tuple[Composition, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def only_old(self) -> list[str]:
        """Keys of what the new version does not need."""
        kept = {composition.key for composition in self.new}
        return [composition.key for composition in self.old if composition.key not in kept]

    def only_new(self) -> list[str]:
        """Keys of what the old version does not need."""
        kept = {composition.key for composition in self.old}
        return [composition.key for composition in self.new if composition.key not in kept]

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note the milliseconds of a step, also of one that fails."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.figures[name] = round((time.perf_counter() - begun) * 1000, 3)


class HotSwap:
    """Swaps and rollbacks of all tenants, from any thread; one swap of a name at a time, also across processes.

    The caller has checked that the actor may do it.
    """

    def __init__(
        self,
        database: Database,
        engine: Callable[[], EnginePort],
        cache: CompositionCache,
        *,
        clock: Callable[[], datetime],
        canary: Canary | None = None,
        drain_s: float = 30.0,
    ) -> None:
        self._database, self._engine, self._cache = database, engine, cache
        self._clock, self._canary, self._drain_s = clock, canary or Canary(), drain_s

    def swap_adapter(
        self,
        tenant_id: str,
        name: str,
        to_version: int,
        *,
        kind: ServedKind = ServedKind.ADAPTER,
        actor: str,
        warm: bool = True,
        canary_prompts: Sequence[str] | None = None,
        progress: Progress | None = None,
        check: Check | None = None,
    ) -> Swap:
        """Make `name` mean `to_version`. Returns once the old version is released, at most `drain_s` after the flip.

        Raises, before anything is written, NotFoundError, and ConflictError when a swap of this name runs or it
        serves this version already. Any other error is why the swap failed, which its entry tells: ConflictError,
        InvalidInputError, RefusedFileError, IntegrityError, InsufficientMemoryError, UnavailableError.
        `progress` gets the swap at each state. `check` is asked in the transaction of the flip: what it raises stops
        the swap.
        """
        tell = progress or (lambda _: None)
        with self._database.transaction() as s:
            now = self._clock()
            attempt = _Attempt(swap_steps.begin(s, tenant_id, kind, name, to_version, actor=actor, now=now))
        with self._failing(attempt):
            tell(attempt.swap)
            self._check(attempt)
            attempt.figures["mode"] = "warm" if warm and self._has_room(attempt) else "cold"
            with ExitStack() as pins:
                with attempt.timed("build_ms"):
                    for composition in attempt.new:
                        pins.enter_context(self._cache.pin(composition))
                with self._database.transaction() as s:
                    attempt.swap = swap_steps.move_to_canary(s, attempt.swap, attempt.figures)
                tell(attempt.swap)
                with attempt.timed("canary_ms"):
                    tokens = self._canary.ask(self._engine(), attempt.new, canary_prompts)
                attempt.figures["canary_tokens"] = tokens
                with attempt.timed("flip_ms"):
                    self._flip(attempt, check)
        self._release(attempt)
        with self._database.transaction() as s:
            swap = swap_steps.note_figures(s, attempt.swap, attempt.figures)
        tell(swap)
        return swap

    def rollback(
        self,
        tenant_id: str,
        name: str,
        *,
        kind: ServedKind = ServedKind.ADAPTER,
        actor: str,
        only: str | None = None,
    ) -> Swap:
        """Make `name` mean what it meant before its last swap. Answers that swap, rolled back now. `only`: that swap and
        no other (else ConflictError).

        The earlier version is checked again, but answers no canary: it has served. After a warm swap it is still in
        memory. Raises ConflictError when there is nothing to go back to or that version cannot serve any more.
        """
        begun = time.perf_counter()
        with self._database.reading() as s:
            pointer, swap, version = swap_steps.last_swap(s, tenant_id, kind, name)
            if only not in (None, swap.id):
                raise swap_target.changed_meanwhile(name)
            compositions = self._parts(s, swap, version, swap.figures.get(REPLACED_ID))
        for composition in compositions:
            self._cache.compose_sync(composition)
        figures = {"rollback_check_ms": round((time.perf_counter() - begun) * 1000, 3)}
        with self._database.transaction() as s:
            now = self._clock()
            return swap_steps.roll_back(s, pointer, swap, version, figures, actor=actor, now=now)

    def try_out(self, tenant_id: str, spec: CompositionSpec) -> int:
        """Load a composition and let it answer the canary; no name changes. Answers how many tokens that were.

        Raises what keeps a version from serving, as `swap_adapter`.
        """
        engine = self._engine()
        with self._database.reading() as s:
            parts = swap_target.parts_of(
                s, tenant_id, spec, base_digest=engine.base_digest, modules=engine.module_names()
            )
        self._check_files(tenant_id, parts)
        with ExitStack() as pins:
            for composition in parts:
                pins.enter_context(self._cache.pin(composition))
            return self._canary.ask(engine, parts)

    def _check(self, attempt: _Attempt) -> None:
        """Find the compositions of both versions; read the files of the new one and compare them."""
        swap = attempt.swap
        with self._database.reading() as s:
            new = self._parts(s, swap, swap.to_version)
            if swap.from_version is not None:
                try:
                    attempt.old = self._parts(s, swap, swap.from_version)
                except RmnError as error:  # it cannot serve any more: a reason to swap, not to stop
                    LOG.warning("swap.old_version_unusable", swap_id=swap.id, error=str(error))
        self._check_files(swap.tenant_id, new)
        attempt.new = new

    def _check_files(self, tenant_id: str, parts: Sequence[Composition]) -> None:
        digests = {term.adapter.digest for composition in parts for term in composition.terms}
        with self._database.transaction() as s:
            problem = swap_target.quarantine_changed(s, tenant_id, digests, self._clock())
        if problem is not None:
            raise problem

    def _parts(
        self, s: Session, swap: Swap, version: int, known_id: str | None = None
    ) -> tuple[Composition, ...]:
        engine = self._engine()
        return swap_target.parts(
            s,
            swap.tenant_id,
            swap.kind,
            swap.name,
            version,
            base_digest=engine.base_digest,
            modules=engine.module_names(),
            known_id=known_id,
        )

    def _has_room(self, attempt: _Attempt) -> bool:
        """Whether both versions fit into the engine's slots at once."""
        both = (*attempt.old, *attempt.new)
        needed = {term.adapter.digest for composition in both for term in composition.terms}
        return len(needed) <= self._engine().status().adapter_slots

    def _flip(self, attempt: _Attempt, check: Check | None) -> None:
        with self._database.transaction() as s:
            if check is not None:
                check(s)
            # It may have been archived, or an adapter that a federation names swapped, since it was built.
            if self._parts(s, attempt.swap, attempt.swap.to_version) != attempt.new:
                raise swap_target.changed_meanwhile(attempt.swap.name)
            attempt.swap = swap_steps.flip(s, attempt.swap, attempt.figures, now=self._clock())

    def _release(self, attempt: _Attempt) -> None:
        """Wait for those who pinned the old version; give up what nobody needs. It serves already: nothing raises."""
        until = time.monotonic() + self._drain_s
        leaving = attempt.only_old()
        with attempt.timed("drain_ms"):
            drained = [self._cache.drain(key, max(0.0, until - time.monotonic())) for key in leaving]
        attempt.figures["drained"] = all(drained)
        if attempt.figures["mode"] == "cold":
            released = [self._cache.discard(key) for key in leaving]
        else:
            try:
                released = self._release_standby(attempt)
            except RmnError as error:  # it cannot serve any more; the cache gives it up by its age
                LOG.warning("swap.standby_unusable", swap_id=attempt.swap.id, error=str(error))
                released = []
        attempt.figures["released"] = sum(released)

    def _release_standby(self, attempt: _Attempt) -> list[bool]:
        """Give up the version that the swap before this one kept for its rollback."""
        swap = attempt.swap
        with self._database.reading() as s:
            earlier = store.get(s, swap.tenant_id, str(swap.figures.get(REPLACED, "")))
            if earlier is None or earlier.from_version is None or earlier.finished_at is None:
                return []
            parts = self._parts(s, earlier, earlier.from_version, earlier.figures.get(REPLACED_ID))
        # Who has asked for it since then means it by another name, or is another tenant.
        unused_s = (self._clock() - earlier.finished_at).total_seconds() - JUST_UNDER_WAY_S
        kept = {composition.key for composition in (*attempt.old, *attempt.new)}
        return [self._cache.discard(part.key, idle_s=unused_s) for part in parts if part.key not in kept]

    @contextmanager
    def _failing(self, attempt: _Attempt) -> Iterator[None]:
        """Whatever stops a swap before its flip is written down, and its memory given back; the old one serves on."""
        try:
            yield
        except BaseException as error:
            reason = str(error) if isinstance(error, RmnError) else f"{type(error).__name__}: {error}"
            LOG.warning("swap.failed", swap_id=attempt.swap.id, reason=reason)
            with self._database.transaction() as s:
                swap_steps.fail(s, attempt.swap, reason, attempt.figures, now=self._clock())
            for key in attempt.only_new():
                self._cache.discard(key)
            raise
