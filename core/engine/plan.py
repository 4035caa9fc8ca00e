"""Which rows of a batch go through which adapter lines: an immutable plan, made when the batch changes.

y = Wx + Σ_k w_k s_k B_k (A_k x), row by row. A place is one row under one adapter. The places of a pool are sorted by
line; neighbouring lines form a run, and a run is one grouped product. Rows never meet inside a product, so a NaN in
one row stays in that row. Rows without an adapter are not touched at all: they are the base, bit by bit.

Places whose adapter acts on some sites only, or under a token gate, are planned apart from the plain ones, which cost
what they cost without them; a site where an adapter does not act is not computed.

For a kernel (`core.engine.kernels`) no runs are made: it reads the lines where they lie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.kernels.places import GroupedLora, Places
from core.engine.pool import Placement, Pool, RunView
from core.engine.site_factors import SiteFactors
from core.engine.token_gate import RowGate

# Rough costs in microseconds on one CPU core. They only decide how places are grouped, never what comes out.
CALL_COST = 5.0
COST_PER_ELEMENT_READ = 3e-4
COST_PER_ELEMENT_USED = 1e-4


@dataclass(frozen=True, slots=True)
class RowTerm:
    """One adapter of one row: the line that holds it and its weight, times its factor at each site where given."""

    pool: Pool
    line: int
    weight: float
    factors: SiteFactors | None = None

    @property
    def acts(self) -> bool:
        """Whether it adds anything anywhere."""
        return self.weight != 0.0 and (self.factors is None or bool(self.factors.active))


@dataclass(frozen=True, slots=True)
class _User:
    """A row that uses a line. `share`: its place among the shares of the token gates."""

    row: int
    weight: float
    factors: SiteFactors | None
    share: int


# The rows that use a line.
_Users = Mapping[int, Sequence[_User]]


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring lines with `width` places each, from place `first` on."""

    view: RunView
    first: int
    lines: int
    width: int


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """Places of one pool. A place without a row of its own (`real` leaves it out) is computed and dropped."""

    runs: tuple[Run, ...]
    placements: tuple[Placement | None, ...]
    whole_batch: bool  # place i is row i, for every row of the batch
    sources: Tensor  # [places] row that each place reads
    weights: Tensor | None  # [places, 1, 1]; None where every weight is 1
    real: Tensor | None  # places that add to a row; None when all do
    targets: Tensor  # row that each of those adds to
    site_weights: Mapping[int, Tensor] | None = None  # per group [places, 1, Σ rank], instead of `weights`
    shares: Tensor | None = None  # [places] place among the shares of the token gates
    share_columns: Mapping[int, Tensor] | None = (
        None  # per group [Σ rank] position of a column's site in the group
    )
    grouped: Places | None = None  # for a kernel, instead of `runs`
    groups: Mapping[int, Placement] | None = None  # a placement of every group, for a kernel


@dataclass(frozen=True, slots=True)
class GatedRows:
    """Rows under one token gate. Their shares lie one after the other, rows outermost."""

    gate: RowGate
    rows: Tensor | None  # None: every row of the batch, in order


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The plan of a batch of `rows` rows; `covered` are the rows that an adapter adds to."""

    rows: int
    pools: tuple[PoolPlan, ...]
    covered: Tensor
    gated: tuple[GatedRows, ...] = ()
    kernel: GroupedLora | None = None


def plan_batch(
    rows: Sequence[Sequence[RowTerm]],
    *,
    dtype: torch.dtype,
    device: torch.device,
    gates: Sequence[RowGate | None] | None = None,
    kernel: GroupedLora | None = None,
) -> BatchPlan | None:
    """A plan for these rows; None when no row has an adapter. Terms of weight 0 are left out.

    `gates`: the token gate of each row, made for the terms of that row in their order. `kernel`: computes the plan,
    instead of one bmm per run.
    """
    gates = gates or [None] * len(rows)
    first_share, gated = _number_shares(gates, device)
    pools: dict[tuple[object, ...], tuple[Pool, frozenset[int] | None, dict[int, list[_User]]]] = {}
    covered = []
    for row, (terms, gate) in enumerate(zip(rows, gates, strict=True)):
        used = [(number, term) for number, term in enumerate(terms) if term.acts]
        if used:
            covered.append(row)
        for number, term in used:
            active = None if term.factors is None else term.factors.active
            key = (id(term.pool), active, gate is not None)
            _, _, users = pools.setdefault(key, (term.pool, active, {}))
            share = first_share[row] + number
            users.setdefault(term.line, []).append(_User(row, term.weight, term.factors, share))
    if not pools:
        return None
    plans = [
        _plan_pool(pool, active, users, key[-1] is True, len(rows), dtype, device, kernel is not None)
        for key, (pool, active, users) in pools.items()
    ]
    return BatchPlan(len(rows), tuple(plans), torch.tensor(covered, device=device), gated, kernel)


def _number_shares(
    gates: Sequence[RowGate | None], device: torch.device
) -> tuple[list[int], tuple[GatedRows, ...]]:
    """Where the shares of each row begin, and the rows of each gate."""
    first = [0] * len(gates)
    rows_of: dict[int, tuple[RowGate, list[int]]] = {}
    for row, gate in enumerate(gates):
        if gate is not None:
            rows_of.setdefault(id(gate), (gate, []))[1].append(row)
    begin = 0
    gated = []
    for gate, own in rows_of.values():
        for row in own:
            first[row] = begin
            begin += gate.size
        every = len(own) == len(gates)
        gated.append(GatedRows(gate, None if every else torch.tensor(own, device=device)))
    return first, tuple(gated)


def _plan_pool(
    pool: Pool,
    active: frozenset[int] | None,
    users: _Users,
    is_gated: bool,
    batch_rows: int,
    dtype: torch.dtype,
    device: torch.device,
    for_kernel: bool,
) -> PoolPlan:
    runs: list[Run] = []
    places: list[_User | None] = []
    if for_kernel:
        places.extend(user for line in sorted(users) for user in users[line])
    for lines in () if for_kernel else _group_lines(pool, users):
        width = max(len(users.get(line, ())) for line in lines)
        runs.append(Run(pool.view(lines.start, len(lines), active), len(places), len(lines), width))
        for line in lines:
            own = users.get(line, ())
            places.extend([*own, *[None] * (width - len(own))])
    real = [place for place, user in enumerate(places) if user is not None]
    sources = [0 if user is None else user.row for user in places]
    weights = [0.0 if user is None else user.weight for user in places]
    full = len(real) == len(places)
    plain = active is None and all(weights[place] == 1.0 for place in real)
    placements = tuple(
        place if active is None or site in active else None
        for site, place in enumerate(pool.layout.placements)
    )
    lines_of_places = [line for line in sorted(users) for _ in users[line]]
    return PoolPlan(
        runs=tuple(runs),
        placements=placements,
        whole_batch=full and sources == list(range(batch_rows)),
        sources=torch.tensor(sources, device=device),
        weights=None
        if plain or active is not None
        else torch.tensor(weights, dtype=dtype, device=device).view(-1, 1, 1),
        real=None if full else torch.tensor(real, device=device),
        targets=torch.tensor([sources[place] for place in real], device=device),
        site_weights=None if active is None else _weigh_columns(pool, active, places, dtype, device),
        shares=torch.tensor([0 if user is None else user.share for user in places], device=device)
        if is_gated
        else None,
        share_columns=pool.share_columns if is_gated else None,
        grouped=Places.of(pool.slab, lines_of_places, sources) if for_kernel else None,
        groups={place.group: place for place in placements if place is not None} if for_kernel else None,
    )


def _weigh_columns(
    pool: Pool,
    active: frozenset[int],
    places: Sequence[_User | None],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[int, Tensor]:
    """Per group, weight · factor of every place at the site of every column."""
    by_site = torch.tensor(
        [
            [0.0] * len(pool.layout.ranks)
            if user is None or user.factors is None
            else [user.weight * factor for factor in user.factors.values]
            for user in places
        ],
        dtype=dtype,
        device=device,
    )
    placements = pool.layout.placements
    groups = {place.group for site in active if (place := placements[site]) is not None}
    return {group: by_site.index_select(1, pool.columns[group]).unsqueeze(1) for group in groups}


def _group_lines(pool: Pool, users: _Users) -> list[range]:
    """Ranges of lines, one product each; joined where that costs less than a call of its own."""
    read = pool.elements_per_site * COST_PER_ELEMENT_READ
    used = pool.elements_per_site * COST_PER_ELEMENT_USED

    def cost(span: int, width: int) -> float:
        return CALL_COST + span * (read + width * used)

    groups: list[tuple[int, int, int]] = []
    for line in sorted(users):
        width = len(users[line])
        if groups:
            first, last, widest = groups[-1]
            joined = cost(line - first + 1, max(widest, width))
            if joined <= cost(last - first + 1, widest) + cost(1, width):
                groups[-1] = (first, line, max(widest, width))
                continue
        groups.append((line, line, width))
    return [range(first, last + 1) for first, last, _ in groups]
