"""The token gate: at every token and module the adapters whose direction the input has most of share the weight.

Score of adapter k for an input x: |v_k·x| with v_k the first right singular vector of ΔW_k. The `top_k` best scores go
through a softmax over `temperature`; the others get 0. Nothing is trained.
Source: Ostapenko et al. 2024, «Towards Modular LLMs by Building and Reusing a Library of LoRAs», arXiv 2405.11157,
section 4 (Arrow).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.pool import Layout, RunView
from core.engine.sites import Site

# Per shared-input group, the directions of one adapter: [in, sites of the group], 0 where it does not act.
Directions = Mapping[int, Tensor]


def leading_directions(view: RunView, layout: Layout, sites: Sequence[Site]) -> dict[int, Tensor]:
    """First right singular vector of ΔW = B·A per site, from the r×r core alone. `view` shows one line.

    With G = A·Aᵀ = U·S·Uᵀ and K = Bᵀ·B: when y is the first eigenvector of S^½·Uᵀ·K·U·S^½, then Aᵀ·K·U·S^½·y is the
    first eigenvector of ΔWᵀ·ΔW. In float64, because G squares what A holds. A site with ΔW = 0 has direction 0.
    """
    by_rank: dict[int, list[tuple[Site, Tensor, Tensor]]] = {}
    for site, place in zip(sites, layout.placements, strict=True):
        b = view.b[site.index]
        if place is not None and b is not None:
            a = view.a[site.group][0, :, place.column : place.column + place.rank].double()
            by_rank.setdefault(place.rank, []).append((site, a, b[0].double()))
    found: dict[int, Tensor] = {}
    for parts in by_rank.values():
        values, vectors = torch.linalg.eigh(torch.stack([a.T @ a for _, a, _ in parts]))
        half = vectors * values.clamp(min=0.0).sqrt().unsqueeze(1)  # U·S^½
        products = torch.stack([b @ b.T for _, _, b in parts])
        _, leading = torch.linalg.eigh(half.transpose(1, 2) @ products @ half)
        inner = products @ half @ leading[:, :, -1:]
        for (site, a, _), column in zip(parts, inner, strict=True):
            direction = (a @ column).squeeze(1)
            found[site.index] = (direction / direction.norm().clamp(min=1e-30)).float()
    return _by_group(found, sites)


def _by_group(found: Mapping[int, Tensor], sites: Sequence[Site]) -> dict[int, Tensor]:
    groups: dict[int, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.group, []).append(site)
    stacked = {}
    for group, members in groups.items():
        known = next((found[site.index] for site in members if site.index in found), None)
        if known is not None:
            empty = torch.zeros_like(known)
            stacked[group] = torch.stack([found.get(site.index, empty) for site in members], dim=1)
    return stacked


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RowGate:
    """A token gate over `size` adapters, ready to be computed. Shared by all rows that ask for the same.

    `directions`: per group [in, sites·size], adapters innermost. `absent`: per group [sites, size], true where an
    adapter does not act; a group where all act is not in it.
    """

    top_k: int
    temperature: float
    size: int
    directions: Mapping[int, Tensor]
    absent: Mapping[int, Tensor]

    def shares(self, group: int, x: Tensor) -> Tensor:
        """Share of every adapter, [rows·size, length, sites], for inputs [rows, length, in] of a group."""
        rows, length, _ = x.shape
        scores = (x.float() @ self.directions[group]).abs_().view(rows, length, -1, self.size)
        absent = self.absent.get(group)
        if absent is not None:
            scores.masked_fill_(absent, -torch.inf)
        if self.temperature != 1.0:
            scores.div_(self.temperature)
        if self.top_k < self.size:
            best, chosen = scores.topk(self.top_k, dim=-1)
            shares = torch.zeros_like(scores).scatter_(-1, chosen, best.softmax(dim=-1))
        else:
            shares = scores.softmax(dim=-1)
        return shares.permute(0, 3, 1, 2).reshape(rows * self.size, length, -1)


def make_row_gate(
    top_k: int,
    temperature: float,
    adapters: Sequence[tuple[Directions, frozenset[int]]],
    sites: Sequence[Site],
) -> RowGate:
    """A gate over adapters, each with its directions and the sites where it acts."""
    groups: dict[int, list[int]] = {}
    for site in sites:
        groups.setdefault(site.group, []).append(site.index)
    directions, absent = {}, {}
    for group, members in groups.items():
        known = next((own[group] for own, _ in adapters if group in own), None)
        if known is None:
            continue
        empty = torch.zeros_like(known)
        stack = torch.stack([own.get(group, empty) for own, _ in adapters], dim=2)
        directions[group] = stack.reshape(stack.shape[0], -1)
        missing = [[site not in active for _, active in adapters] for site in members]
        if any(any(line) for line in missing):
            absent[group] = torch.tensor(missing, device=known.device)
    return RowGate(top_k, temperature, len(adapters), directions, absent)
