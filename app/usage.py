"""What each workspace used today, counted here and written once a second, so that no answer waits for it.

What was counted since the last writing is lost when the process is killed: at most a second.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import structlog

from core.storage.database import Database
from core.tenants import limits
from core.tenants.records import UsageDay

LOG = structlog.get_logger(__name__)
WRITE_EVERY_S = 1.0
Counts = dict[tuple[str, date], UsageDay]


class UsageBook:
    """Safe from any thread. `written` is told each tenant whose days have changed in the database."""

    def __init__(self, database: Database, written: Callable[[str], None]) -> None:
        self._database, self._written = database, written
        self._lock, self._writes = threading.Lock(), threading.Lock()
        self._pending: Counts = {}
        self._writing: Counts = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, tenant_id: str, usage: UsageDay) -> None:
        """Count. It is in the database a second later."""
        with self._lock:
            _add(self._pending, tenant_id, usage)
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
                self._thread.start()

    def unwritten(self, tenant_id: str, day: date) -> int:
        """Tokens that are counted here and not in the database yet."""
        with self._lock:
            return sum(
                found[tenant_id, day].tokens
                for found in (self._pending, self._writing)
                if (tenant_id, day) in found
            )

    def write(self) -> None:
        """Write what is counted. What cannot be written is logged and tried again."""
        with self._writes:
            with self._lock:
                self._writing, self._pending = self._pending, {}
                counts = self._writing
            if not counts:
                return
            try:
                with self._database.transaction() as s:
                    for (tenant_id, _), usage in sorted(counts.items()):
                        limits.add_usage(s, tenant_id, usage)
            except Exception as error:  # noqa: BLE001 - a database that is away for a while must not end the counting
                LOG.warning("usage.not_written", reason=f"{type(error).__name__}: {str(error)[:200]}")
                with self._lock:
                    for (tenant_id, _), usage in counts.items():
                        _add(self._pending, tenant_id, usage)
                    self._writing = {}
                return
            for tenant_id in {tenant_id for tenant_id, _ in counts}:
                self._written(tenant_id)
            with self._lock:
                self._writing = {}

    def close(self) -> None:
        """Write what is left; nothing is counted any more by itself."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self.write()

    def _run(self) -> None:
        while not self._stop.wait(WRITE_EVERY_S):
            self.write()


def _add(counts: Counts, tenant_id: str, usage: UsageDay) -> None:
    known = counts.get((tenant_id, usage.day), UsageDay(usage.day))
    counts[tenant_id, usage.day] = replace(
        known,
        requests=known.requests + usage.requests,
        prompt_tokens=known.prompt_tokens + usage.prompt_tokens,
        completion_tokens=known.completion_tokens + usage.completion_tokens,
    )
