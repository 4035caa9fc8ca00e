"""Compositions that a tenant asked to have ready, and how far each is: `compose_async` for clients that come back."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.compose.cache import CompositionCache
from core.compose.tickets import Ticket, TicketState
from core.engine.records import Composition
from core.errors import NotFoundError, RmnError
from core.storage.ids import new_id

MOST_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was asked for, and its tickets: one a composition. Of a pipeline that is one a stage."""

    id: str
    tenant_id: str
    label: str
    keys: tuple[str, ...]
    tickets: tuple[Ticket, ...]
    asked_at: datetime

    @property
    def state(self) -> TicketState:
        """Where it stands: over only when all of it is."""
        states = {ticket.state for ticket in self.tickets}
        for state in (TicketState.CANCELLED, TicketState.RUNNING, TicketState.WAITING):
            if state in states:
                return state
        return TicketState.DONE

    @property
    def error(self) -> str:
        """Why it failed, in words; empty while it has not."""
        for ticket in self.tickets:
            if ticket.state is TicketState.DONE:
                try:
                    ticket.result(0)
                except RmnError as error:
                    return str(error)
                except Exception as error:  # noqa: BLE001 - whatever kept it from being ready is what is asked for
                    return type(error).__name__
        return ""

    def cancel(self) -> bool:
        """Want it no longer. False: it was over already."""
        return any([ticket.cancel() for ticket in self.tickets])  # noqa: C419 - each of them, not only the first


class Preparations:
    """The latest preparations of all tenants. Safe from any thread; of this process only."""

    def __init__(self, cache: CompositionCache, *, most: int = MOST_KEPT) -> None:
        self._cache, self._most = cache, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Preparation] = OrderedDict()

    def submit(
        self,
        tenant_id: str,
        label: str,
        compositions: Sequence[Composition],
        *,
        priority: int,
        now: datetime,
    ) -> Preparation:
        """Ask for these, higher `priority` first. Raises BusyError when too many wait."""
        tickets: list[Ticket] = []
        try:
            tickets.extend(self._cache.compose_async(each, priority=priority) for each in compositions)
        except RmnError:
            for ticket in tickets:
                ticket.cancel()
            raise
        keys = tuple(each.key for each in compositions)
        preparation = Preparation(new_id("prp"), tenant_id, label, keys, tuple(tickets), now)
        with self._lock:
            self._kept[preparation.id] = preparation
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return preparation

    def get(self, tenant_id: str, preparation_id: str) -> Preparation:
        """One of this tenant. Raises NotFoundError."""
        with self._lock:
            found = self._kept.get(preparation_id)
        if found is None or found.tenant_id != tenant_id:
            raise NotFoundError(
                f"There is no preparation «{preparation_id[:200]}».",
                "Nothing here has this id, or it was long ago.",
                "Ask for the composition again.",
            )
        return found
