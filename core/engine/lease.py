"""What a request holds of the bank while it needs it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from core.engine.plan import RowTerm
from core.engine.records import Composition
from core.engine.residents import Resident
from core.engine.site_factors import SiteFactors
from core.engine.token_gate import RowGate


class Bank(Protocol):
    """What a lease needs of the bank that gave it."""

    def gives_way(self, owner: str) -> bool:
        """Whether an owner waits for room that holds less than `owner`."""

    def give_back(self, residents: Sequence[Resident], owner: str) -> None:
        """Unpin."""

    def lease_loaded(self, composition: Composition, owner: str) -> "Lease | None":
        """A lease if nothing has to be loaded for it."""

    def lease(
        self, composition: Composition, *, cancelled: Callable[[], bool] | None = None, owner: str = ""
    ) -> "Lease | None":
        """A lease, after loading what is missing; None when cancelled."""


class Lease:
    """Adapters of one composition, pinned until `release`. `gate`: its token gate, if it has one."""

    __slots__ = ("_bank", "_composition", "_owner", "_residents", "gate", "terms")

    def __init__(
        self,
        bank: Bank,
        residents: Sequence[Resident],
        terms: tuple[RowTerm, ...],
        gate: RowGate | None = None,
        *,
        composition: Composition | None = None,
        owner: str = "",
    ) -> None:
        self._bank, self._residents = bank, residents
        self._composition, self._owner = composition, owner
        self.terms, self.gate = terms, gate

    @classmethod
    def empty(cls, bank: Bank) -> "Lease":
        """A lease on nothing: the base alone."""
        return cls(bank, (), ())

    @property
    def pins(self) -> int:
        """How many adapters it holds now."""
        return len(self._residents)

    @property
    def gives_way(self) -> bool:
        """Whether an owner waits for room that would still hold less than the one of this lease."""
        return bool(self._residents) and self._bank.gives_way(self._owner)

    def release(self) -> None:
        """Unpin. Calling it again does nothing."""
        residents, self._residents = self._residents, ()
        if residents:
            self._bank.give_back(residents, self._owner)

    def renew_now(self) -> "Lease | None":
        """The same once more, after `release`; None when something would have to be loaded, or others go first."""
        return None if self._composition is None else self._bank.lease_loaded(self._composition, self._owner)

    def renew(self, cancelled: Callable[[], bool]) -> "Lease | None":
        """The same once more, as `AdapterBank.lease` does it."""
        if self._composition is None:
            return Lease.empty(self._bank)
        return self._bank.lease(self._composition, cancelled=cancelled, owner=self._owner)


def row_term(resident: Resident, weight: float | SiteFactors) -> RowTerm:
    """What a row does with an adapter that is pinned."""
    if resident.place is None:
        raise RuntimeError("a pinned adapter is not in memory")
    pool, line = resident.place
    if isinstance(weight, SiteFactors):
        weight = weight.on(pool.layout.ranks)
    if isinstance(weight, SiteFactors):
        return RowTerm(pool, line, 1.0, weight)
    return RowTerm(pool, line, weight)
