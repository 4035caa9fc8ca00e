"""Token gates that are in use now: rows that ask for the same one share it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

from torch import Tensor

from core.engine.plan import RowTerm
from core.engine.records import TokenGate
from core.engine.residents import Resident
from core.engine.sites import Site
from core.engine.token_gate import RowGate, leading_directions, make_row_gate


class SharedGates:
    """Gates by content, kept while a lease holds them. `lock` is the bank's; `grown` is called, with the lock held,
    when the directions of an adapter took more memory."""

    def __init__(self, sites: Sequence[Site], lock: threading.Lock, grown: Callable[[], None]) -> None:
        self._sites, self._lock, self._grown = tuple(sites), lock, grown
        self._every_site = frozenset(site.index for site in sites)
        self._gates: WeakValueDictionary[object, RowGate] = WeakValueDictionary()

    def get(
        self, gate: TokenGate | None, residents: Sequence[Resident], terms: Sequence[RowTerm]
    ) -> RowGate | None:
        """The gate over these pinned adapters; None where there is no choice: one adapter keeps its weight."""
        if gate is None or len(terms) < 2:
            return None
        acting = [self._acting(term) for term in terms]
        digests = tuple(resident.ref.digest for resident in residents)
        key = (gate.top_k, gate.temperature, digests, tuple(acting))
        with self._lock:
            found = self._gates.get(key)
        if found is None:
            directions = [self._directions(*pair) for pair in zip(residents, terms, strict=True)]
            adapters = list(zip(directions, acting, strict=True))
            made = make_row_gate(gate.top_k, gate.temperature, adapters, self._sites)
            with self._lock:
                found = self._gates.setdefault(key, made)
        return found

    def _acting(self, term: RowTerm) -> frozenset[int]:
        touched = frozenset(site for site, rank in enumerate(term.pool.layout.ranks) if rank)
        return touched & (term.factors.active if term.factors else self._every_site)

    def _directions(self, resident: Resident, term: RowTerm) -> Mapping[int, Tensor]:
        """Directions of an adapter, made when the first gate asks and kept with its line."""
        found = resident.directions
        if found is None:
            found = leading_directions(term.pool.view(term.line, 1), term.pool.layout, self._sites)
            with self._lock:
                if resident.directions is None:
                    resident.directions = found
                    resident.bytes += sum(tensor.numel() * tensor.itemsize for tensor in found.values())
                    self._grown()
        return found
