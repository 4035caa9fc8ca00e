"""Virtual additive LoRA: linear layers that add each row's adapters to the base's output.

The base's weights are never touched. What a forward pass adds is in the plan that the inference thread sets
on the Lane before the pass and that nobody changes while it lasts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.engine.kernels.places import GroupedLora
from core.engine.plan import BatchPlan, PoolPlan, Run
from core.engine.sites import Site, find_linears, number_sites


class Lane:
    """The plan of the pass that runs now, and the products A·x that projections of one block share.

    `kernel`: what computes the plans that are made for this lane; None: one torch bmm per run.
    """

    __slots__ = ("_group", "_input", "_made_for", "_products", "kernel", "plan")

    def __init__(self, kernel: GroupedLora | None = None) -> None:
        self.plan: BatchPlan | None = None
        self.kernel = kernel
        self.forget()

    def forget(self) -> None:
        """Drop what the last layer left behind."""
        self._made_for: BatchPlan | None = None
        self._group = -1
        self._input: Tensor | None = None
        self._products: list[Tensor | None] = []

    def products(self, plan: BatchPlan, site: Site, x: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
        """Per pool, A·x of every place for the group of `site`; None where the pool has nothing there."""
        if self._group == site.group and self._input is x and self._made_for is plan:
            return self._products
        values = x.to(dtype)
        self._made_for, self._group, self._input = plan, site.group, x
        shares = _share_weights(plan, site.group, x) if plan.gated else None
        if plan.kernel is None:
            self._products = [_project_down(pool, site, values, shares) for pool in plan.pools]
        else:
            self._products = [_shrink(plan.kernel, pool, site, values, shares) for pool in plan.pools]
        return self._products


def _share_weights(plan: BatchPlan, group: int, x: Tensor) -> Tensor | None:
    """What the token gates give each adapter of their rows: [shares, length, sites of the group]."""
    parts: list[Tensor | None] = []
    sizes = []
    for gated in plan.gated:
        gate, inputs = gated.gate, x if gated.rows is None else x.index_select(0, gated.rows)
        sizes.append(inputs.shape[0] * gate.size)
        parts.append(gate.shares(group, inputs) if group in gate.directions else None)
    known = next((part for part in parts if part is not None), None)
    if known is None or len(parts) == 1:
        return known
    return torch.cat([
        known.new_zeros((size, *known.shape[1:])) if part is None else part
        for part, size in zip(parts, sizes, strict=True)
    ])  # fmt: skip


def _project_down(pool: PoolPlan, site: Site, x: Tensor, shares: Tensor | None) -> Tensor | None:
    """A·x of every place for the group of `site`: [places·length, Σ rank], weighted."""
    matrices = [run.view.a.get(site.group) for run in pool.runs]
    if matrices[0] is None:
        return None
    length = x.shape[1]
    inputs = (x if pool.whole_batch else x.index_select(0, pool.sources)).reshape(-1, x.shape[2])
    product = inputs.new_empty((inputs.shape[0], matrices[0].shape[2]))
    for run, a in zip(pool.runs, matrices, strict=True):
        if a is not None:
            torch.bmm(_places(inputs, run, length), a, out=_places(product, run, length))
    if pool.weights is not None:
        product.view(-1, length, product.shape[1]).mul_(pool.weights)
    if pool.site_weights is not None:
        product.view(-1, length, product.shape[1]).mul_(pool.site_weights[site.group])
    if pool.shares is not None and pool.share_columns is not None and shares is not None:
        own = shares.index_select(0, pool.shares).index_select(2, pool.share_columns[site.group])
        product.view(-1, length, product.shape[1]).mul_(own)
    return product


def _shrink(
    kernel: GroupedLora, pool: PoolPlan, site: Site, x: Tensor, shares: Tensor | None
) -> Tensor | None:
    """The same by a kernel: [parts, places, length, Σ rank]."""
    if pool.grouped is None or pool.groups is None or site.group not in pool.groups:
        return None
    place = pool.groups[site.group]
    scale = pool.weights if pool.site_weights is None else pool.site_weights[site.group]
    if pool.shares is not None and pool.share_columns is not None and shares is not None:
        own = shares.index_select(0, pool.shares).index_select(2, pool.share_columns[site.group])
        scale = own if scale is None else own * scale
    return kernel.shrink(x, pool.grouped, place.group_offset, place.group_rank, scale)


def _places(values: Tensor, run: Run, length: int) -> Tensor:
    """The part of [places·length, n] that belongs to a run, as [lines, width·length, n]."""
    first, size = run.first * length, run.width * length
    return values[first : first + run.lines * size].view(run.lines, size, values.shape[1])


class MixedLinear(nn.Module):
    """A linear layer of the base with every adapter of the batch beside it.

    In: [rows, length, in]; out: [rows, length, out] in the base's dtype. Adapters are computed in `dtype`.
    """

    def __init__(self, base: nn.Module, site: Site, lane: Lane, dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base
        self.site, self._lane, self._dtype = site, lane, dtype

    def forward(self, x: Tensor) -> Tensor:
        """The base's output, plus what the plan adds to each row."""
        out: Tensor = self.base(x)
        plan = self._lane.plan
        return out if plan is None else self._add(plan, x, out)

    def _add(self, plan: BatchPlan, x: Tensor, out: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[0] != plan.rows:
            raise RuntimeError(f"{self.site.name} was given {tuple(x.shape)} for a batch of {plan.rows} rows")
        products = self._lane.products(plan, self.site, x, self._dtype)
        if plan.kernel is not None:
            return self._expand(plan.kernel, plan, products, out)
        total = out if out.dtype == self._dtype else out.to(self._dtype)
        for pool, product in zip(plan.pools, products, strict=True):
            if product is not None:
                self._project_up(pool, product, total)
        if total is not out:
            out.index_copy_(0, plan.covered, total.index_select(0, plan.covered).to(out.dtype))
        return out

    def _expand(
        self, kernel: GroupedLora, plan: BatchPlan, products: Sequence[Tensor | None], out: Tensor
    ) -> Tensor:
        """out[row] += B·(A·x) for every place of every pool, by a kernel."""
        for pool, low in zip(plan.pools, products, strict=True):
            place = pool.placements[self.site.index]
            if low is not None and pool.grouped is not None and place is not None:
                kernel.expand_add(low, pool.grouped, place.b_offset, place.column, place.rank, out)
        return out

    def _project_up(self, pool: PoolPlan, product: Tensor, total: Tensor) -> None:
        """total[row] += B·(A·x) for every place of the pool."""
        place = pool.placements[self.site.index]
        if place is None:
            return
        low = product[:, place.column : place.column + place.rank]
        _, length, size = total.shape
        if pool.whole_batch:
            flat = total.view(-1, size)
            for run, b in self._operands(pool):
                _places(flat, run, length).baddbmm_(_places(low, run, length), b)
            return
        delta = total.new_empty((low.shape[0], size))
        for run, b in self._operands(pool):
            torch.bmm(_places(low, run, length), b, out=_places(delta, run, length))
        delta = delta.view(-1, length, size)
        if pool.real is not None:
            delta = delta.index_select(0, pool.real)
        total.index_add_(0, pool.targets, delta)

    def _operands(self, pool: PoolPlan) -> list[tuple[Run, Tensor]]:
        pairs = ((run, run.view.b[self.site.index]) for run in pool.runs)
        return [(run, b) for run, b in pairs if b is not None]


def wrap_linears(model: nn.Module, lane: Lane, dtype: torch.dtype) -> tuple[Site, ...]:
    """Put a MixedLinear around every linear layer of `model`; the layers themselves stay as they are."""
    linears = list(find_linears(model))
    sites = number_sites(linears)
    for site, (name, linear) in zip(sites, linears, strict=True):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, MixedLinear(linear, site, lane, dtype))
    return sites


def unwrap_linears(model: nn.Module, sites: Sequence[Site]) -> None:
    """Take the MixedLinear layers away again."""
    for site in sites:
        parent, _, leaf = site.name.rpartition(".")
        mixed = model.get_submodule(site.name)
        if isinstance(mixed, MixedLinear):
            setattr(model.get_submodule(parent), leaf, mixed.base)
