"""What each workspace may use and used today, as it is in the database, remembered for two seconds.

A change that is made in this process counts at once; one that another process made, two seconds later.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core.settings import Settings
from core.storage.database import Database
from core.tenants import limits
from core.tenants.records import TenantLimits
from core.tenants.service import get_tenant

GOOD_FOR_S = 2.0
MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """The limits that count for a workspace, and its tokens of today that are written down."""

    slug: str
    limits: TenantLimits
    tokens_today: int
    read_at: float


class Standings:
    """Call it with a tenant's id. Safe from any thread; reads the database, so not for an event loop."""

    def __init__(
        self,
        database: Database,
        defaults: TenantLimits,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._defaults = database, defaults
        self._now, self._clock = now, clock
        self._lock = threading.Lock()
        self._kept: dict[str, Standing] = {}

    def __call__(self, tenant_id: str) -> Standing:
        """Raises NotFoundError."""
        known = self.known(tenant_id)
        if known is not None:
            return known
        asked_at = self._clock()
        with self._database.reading() as s:
            slug = get_tenant(s, tenant_id).slug
            found = limits.get_limits(s, tenant_id).over(self._defaults)
            today = limits.day_of(self._now())
            used = 0 if found.tokens_per_day is None else limits.used_on(s, tenant_id, today).tokens
        standing = Standing(slug, found, used, asked_at)
        with self._lock:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[tenant_id] = standing
        return standing

    def known(self, tenant_id: str) -> Standing | None:
        """What is remembered, if it is still good. Waits for nothing."""
        found = self._kept.get(tenant_id)
        return found if found is not None and self._clock() - found.read_at < GOOD_FOR_S else None

    def forget(self, tenant_id: str) -> None:
        """It has changed: the next one who asks reads it anew."""
        with self._lock:
            self._kept.pop(tenant_id, None)


def default_limits(settings: Settings) -> TenantLimits:
    """What counts where nothing was set for a workspace. None: no limit."""
    return TenantLimits(
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute or None,
        tokens_per_day=settings.tokens_per_day or None,
        concurrent_requests=settings.concurrent_requests,
    )
