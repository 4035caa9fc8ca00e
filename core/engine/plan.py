"""Which rows of a batch go through which adapter lines: an immutable plan, made when the batch changes.

y = Wx + Σ_k w_k s_k B_k (A_k x), row by row. A place is one row under one adapter. The places of a pool are sorted by
line; neighbouring lines form a run, and a run is one grouped product. Rows never meet inside a product, so a NaN in
one row stays in that row. Rows without an adapter are not touched at all: they are the base, bit by bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.pool import Placement, Pool, RunView

# Rough costs in microseconds on one CPU core. They only decide how places are grouped, never what comes out.
CALL_COST = 5.0
COST_PER_ELEMENT_READ = 3e-4
COST_PER_ELEMENT_USED = 1e-4

# The rows that use a line, with their weights.
_Users = Mapping[int, Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class RowTerm:
    """One adapter of one row: the line that holds it and its weight."""

    pool: Pool
    line: int
    weight: float


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring lines with `width` places each, from place `first` on."""

    view: RunView
    first: int
    lines: int
    width: int


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """All places of one pool. A place without a row of its own (`real` leaves it out) is computed and dropped."""

    runs: tuple[Run, ...]
    placements: tuple[Placement | None, ...]
    whole_batch: bool  # place i is row i, for every row of the batch
    sources: Tensor  # [places] row that each place reads
    weights: Tensor | None  # [places, 1, 1]; None where every weight is 1
    real: Tensor | None  # places that add to a row; None when all do
    targets: Tensor  # row that each of those adds to


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The plan of a batch of `rows` rows; `covered` are the rows that an adapter adds to."""

    rows: int
    pools: tuple[PoolPlan, ...]
    covered: Tensor


def plan_batch(
    rows: Sequence[Sequence[RowTerm]], *, dtype: torch.dtype, device: torch.device
) -> BatchPlan | None:
    """A plan for these rows; None when no row has an adapter. Terms of weight 0 are left out."""
    pools: dict[int, tuple[Pool, dict[int, list[tuple[int, float]]]]] = {}
    covered = []
    for row, terms in enumerate(rows):
        used = [term for term in terms if term.weight != 0.0]
        if used:
            covered.append(row)
        for term in used:
            _, users = pools.setdefault(id(term.pool), (term.pool, {}))
            users.setdefault(term.line, []).append((row, term.weight))
    if not pools:
        return None
    plans = [_plan_pool(pool, users, len(rows), dtype, device) for pool, users in pools.values()]
    return BatchPlan(len(rows), tuple(plans), torch.tensor(covered, device=device))


def _plan_pool(
    pool: Pool, users: _Users, batch_rows: int, dtype: torch.dtype, device: torch.device
) -> PoolPlan:
    runs: list[Run] = []
    sources: list[int] = []
    weights: list[float] = []
    real: list[int] = []
    for lines in _group_lines(pool, users):
        width = max(len(users.get(line, ())) for line in lines)
        runs.append(Run(pool.view(lines.start, len(lines)), len(sources), len(lines), width))
        for line in lines:
            own = users.get(line, ())
            real.extend(range(len(sources), len(sources) + len(own)))
            padding = width - len(own)
            sources.extend([row for row, _ in own] + [0] * padding)
            weights.extend([weight for _, weight in own] + [0.0] * padding)
    full = len(real) == len(sources)
    return PoolPlan(
        runs=tuple(runs),
        placements=pool.layout.placements,
        whole_batch=full and sources == list(range(batch_rows)),
        sources=torch.tensor(sources, device=device),
        weights=None
        if all(weights[place] == 1.0 for place in real)
        else torch.tensor(weights, dtype=dtype, device=device).view(-1, 1, 1),
        real=None if full else torch.tensor(real, device=device),
        targets=torch.tensor([sources[place] for place in real], device=device),
    )


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
