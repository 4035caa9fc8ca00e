"""Which rows of a batch go through which adapter lines: an immutable plan, made when the batch changes.

y = Wx + Σ_k w_k s_k B_k (A_k x), row by row. Rows that use neighbouring lines of a pool form a run, and a run
is one grouped product. Rows never meet inside a product, so a NaN in one row stays in that row. Rows without
an adapter are not touched at all: they are the base, bit by bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.pool import Placement, Pool, RunView

# Rough costs in microseconds on one CPU core. They only decide how rows are grouped, never what comes out.
CALL_COST = 14.0
COST_PER_ELEMENT_READ = 4e-4
COST_PER_ELEMENT_USED = 1e-4


@dataclass(frozen=True, slots=True)
class RowTerm:
    """One adapter of one row: the line that holds it and its weight."""

    pool: Pool
    line: int
    weight: float


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring lines of a pool with `width` rows each (padded where a line has fewer)."""

    view: RunView
    placements: tuple[Placement | None, ...]
    lines: int
    width: int
    whole_batch: bool
    sources: Tensor  # [lines·width] row that each place reads
    weights: Tensor | None  # [lines, width, 1, 1], None where every weight is 1
    places: Tensor | None  # [n] places that hold a real row, None when all do
    targets: Tensor  # [n] row that each real place adds to


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The runs of a batch of `rows` rows; `covered` are the rows that any run adds to."""

    rows: int
    runs: tuple[Run, ...]
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
            _, lines = pools.setdefault(id(term.pool), (term.pool, {}))
            lines.setdefault(term.line, []).append((row, term.weight))
    if not pools:
        return None
    runs = [
        _make_run(pool, span, lines, batch_rows=len(rows), dtype=dtype, device=device)
        for pool, lines in pools.values()
        for span in _group_lines(pool, lines)
    ]
    return BatchPlan(len(rows), tuple(runs), torch.tensor(covered, device=device))


def _group_lines(pool: Pool, lines: dict[int, list[tuple[int, float]]]) -> list[range]:
    """Ranges of lines, one product each; joined where that costs less than a call of its own."""
    read = pool.elements_per_site * COST_PER_ELEMENT_READ
    used = pool.elements_per_site * COST_PER_ELEMENT_USED

    def cost(span: int, width: int) -> float:
        return CALL_COST + span * (read + width * used)

    groups: list[tuple[int, int, int]] = []
    for line in sorted(lines):
        width = len(lines[line])
        if groups:
            first, last, widest = groups[-1]
            joined = cost(line - first + 1, max(widest, width))
            if joined <= cost(last - first + 1, widest) + cost(1, width):
                groups[-1] = (first, line, max(widest, width))
                continue
        groups.append((line, line, width))
    return [range(first, last + 1) for first, last, _ in groups]


def _make_run(
    pool: Pool,
    span: range,
    lines: dict[int, list[tuple[int, float]]],
    *,
    batch_rows: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Run:
    count, first = len(span), span.start
    width = max(len(lines.get(line, ())) for line in span)
    sources, weights, places, targets = [0] * (count * width), [0.0] * (count * width), [], []
    for line in span:
        for offset, (row, weight) in enumerate(lines.get(line, ())):
            place = (line - first) * width + offset
            sources[place], weights[place] = row, weight
            places.append(place)
            targets.append(row)
    full = len(places) == count * width
    return Run(
        view=pool.view(first, count),
        placements=pool.layout.placements,
        lines=count,
        width=width,
        whole_batch=full and sources == list(range(batch_rows)),
        sources=torch.tensor(sources, device=device),
        weights=None
        if full and all(weight == 1.0 for weight in weights)
        else torch.tensor(weights, dtype=dtype, device=device).view(count, width, 1, 1),
        places=None if full else torch.tensor(places, device=device),
        targets=torch.tensor(targets, device=device),
    )
