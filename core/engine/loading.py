"""One adapter from its files into a line of a pool, checked before anybody can use it."""

import os
import threading
from collections.abc import Callable, Sequence

import torch

from core.engine.adapter_files import AdapterWeights, check_files, read_files
from core.engine.limits import check_adapter
from core.engine.memory import free_bytes, is_out_of_memory
from core.engine.plan import RowTerm
from core.engine.pool import Pool, lay_out
from core.engine.records import AdapterRef
from core.engine.sites import Site
from core.errors import InsufficientMemoryError, RefusedFileError, UnavailableError

# Runs the model once with the adapter of these terms; raises RefusedFileError when what comes out is not usable.
Canary = Callable[[tuple[RowTerm, ...]], None]
# Loads that compute at the same time; the others read their files meanwhile. All at the usual priority: a thread
# below it gets hardly any time on a busy machine, and holds its room and Python's lock for as long.
COMPUTING = max(1, (os.cpu_count() or 1) // 2)


def run_beside(work: Callable[[], None]) -> None:
    """Start `work` in a thread of its own. Raises UnavailableError when there can be no more threads."""
    try:
        threading.Thread(target=work, name="adapter-load", daemon=True).start()
    except RuntimeError as error:
        raise UnavailableError(
            "The adapter cannot be loaded now.", f"{error}.", "Try again in a moment."
        ) from error


class AdapterLoader:
    """The pools of a bank, one per shape, and how adapters get into them. `lock` is the bank's."""

    def __init__(
        self,
        sites: Sequence[Site],
        base_digest: str,
        lock: threading.Lock,
        lines: int,
        dtype: torch.dtype,
        device: torch.device,
        canary: Canary | None,
    ) -> None:
        self._sites, self._base_digest, self._lock = tuple(sites), base_digest, lock
        self._lines, self._dtype, self._device = lines, dtype, device
        self._pools: dict[tuple[int, ...], Pool] = {}
        self._computing = threading.BoundedSemaphore(COMPUTING)
        self.canary = canary

    def load(self, ref: AdapterRef) -> tuple[Pool, int]:
        """Read, check and try an adapter; where it lies then. Nothing stays of one that is refused.

        Raises RefusedFileError, IntegrityError, InsufficientMemoryError; UnavailableError when it cannot be tried.
        """
        try:
            files = read_files(ref)
            with self._computing:
                weights = check_files(files, ref, self._sites, self._base_digest)
                del files
                values = sum(tensor.numel() for tensor in (*weights.a.values(), *weights.b.values()))
                check_adapter(values * self._dtype.itemsize, free_bytes(self._device))
                pool, line = self._write(weights)
                del weights
            try:
                self._try(RowTerm(pool, line, 1.0))
            except BaseException:
                with self._lock:
                    self.free(pool, line)
                raise
        except MemoryError:
            raise InsufficientMemoryError(
                "There is not enough memory for another adapter.", "", "Free memory, or use fewer adapters."
            ) from None
        return pool, line

    def free(self, pool: Pool, line: int) -> None:
        """Give a line's memory back, and the pool's with its last line. The caller holds the bank's lock."""
        pool.give_back(line)
        if pool.in_use == 0 and self._pools.get(pool.layout.ranks) is pool:
            del self._pools[pool.layout.ranks]

    def _write(self, weights: AdapterWeights) -> tuple[Pool, int]:
        pool, line = self._take_line(weights.ranks)
        try:
            pool.write(line, weights.a, weights.b)
        except BaseException:
            with self._lock:
                self.free(pool, line)
            raise
        return pool, line

    def _take_line(self, ranks: tuple[int, ...]) -> tuple[Pool, int]:
        with self._lock:
            pool = self._pools.get(ranks)
            if pool is None:
                layout = lay_out(self._sites, ranks)
                pool = Pool(self._sites, layout, self._lines, self._dtype, self._device)
                self._pools[ranks] = pool
            return pool, pool.take()

    def _try(self, term: RowTerm) -> None:
        if self.canary is None:
            return
        # Only the canary itself says that the adapter is at fault; whatever else goes wrong may go well next time.
        try:
            self.canary((term,))
        except (RefusedFileError, UnavailableError, InsufficientMemoryError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise InsufficientMemoryError(
                    "There is not enough memory to try the adapter.",
                    f"{type(error).__name__}.",
                    "Free memory, or use fewer adapters.",
                ) from error
            raise UnavailableError(
                "The adapter could not be tried.",
                f"A trial run of the base with it failed: {type(error).__name__}: {str(error)[:300]}.",
                "Try again; if it happens again, look at the engine's log.",
            ) from error
