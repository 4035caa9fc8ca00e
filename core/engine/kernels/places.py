"""What a grouped LoRA kernel is told of a batch, and the two steps that every such kernel has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Places:
    """Which row goes through which line of a slab. A place is one row under one adapter.

    `slab`: [lines, elements of a line], read in place; `lines`, `rows`: [places] line and row of each place;
    `covered`: the rows that have places; `order`: the places row after row, those of covered row i from `starts[i]`
    up to `starts[i + 1]`. Kernels take the terms of a row in this order, so a sum never depends on the other rows.
    """

    slab: Tensor
    lines: Tensor
    rows: Tensor
    covered: Tensor
    starts: Tensor
    order: Tensor

    @classmethod
    def of(cls, slab: Tensor, lines: Sequence[int], rows: Sequence[int]) -> "Places":
        """Places on the slab's device."""
        order = sorted(range(len(rows)), key=lambda place: (rows[place], place))
        firsts = [i for i, place in enumerate(order) if i == 0 or rows[place] != rows[order[i - 1]]]

        def tensor(values: Sequence[int], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=slab.device)

        return cls(
            slab=slab,
            lines=tensor(lines, torch.int64),
            rows=tensor(rows, torch.int64),
            covered=tensor([rows[order[first]] for first in firsts], torch.int64),
            starts=tensor([*firsts, len(order)], torch.int32),
            order=tensor(order, torch.int32),
        )


@dataclass(frozen=True, slots=True)
class GroupedLora:
    """y += Σ_k w_k B_k (A_k x), row by row, in two steps.

    `shrink(x, places, offset, columns, scale)`: A·x of every place, times `scale` where given. x [rows, length, in];
    A lies at `offset` of a line as [columns, in]; `scale` spreads to [places, length, columns]. Returns float32
    [parts, places, length, columns]: sums over parts of `in`, to be added.

    `expand_add(low, places, offset, column, rank, out)`: adds B·low to the covered rows of `out` [rows, length, out],
    the others are not touched. B lies at `offset` of a line as [rank, out]; it reads `rank` columns from `column` on.
    Sums are float32 and rounded once per call.

    Source: Chen et al. 2023, «Punica: Multi-Tenant LoRA Serving», arXiv 2310.18547, section 4 (SGMV); Sheng et al.
    2023, «S-LoRA: Serving Thousands of Concurrent LoRA Adapters», arXiv 2311.03285, section 5.
    """

    shrink: Callable[[Tensor, Places, int, int, Tensor | None], Tensor]
    expand_add: Callable[[Tensor, Places, int, int, int, Tensor], None]
