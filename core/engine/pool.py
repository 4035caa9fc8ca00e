"""Memory for adapters of one shape: a slab with one line per adapter, read by the kernel without copying.

All adapters with the same rank at every site share a pool, so nothing is padded. A line holds, per
shared-input group, the stacked A matrices [Σ rank, in] and, per site, B transposed and already scaled: [rank,
out].
"""

import mmap
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.sites import Site

ALIGNMENT = 16  # elements: 64 bytes of float32, one cache line
VIEWS_KEPT = 256
FIRST_LINES = 4


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one site's parts lie inside a line, in elements. `column`: its place among the group's ranks."""

    rank: int
    a_offset: int
    b_offset: int
    group_offset: int
    group_rank: int
    column: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a line: rank per site (0: the adapter does not touch it) and where each part lies."""

    ranks: tuple[int, ...]
    placements: tuple[Placement | None, ...]
    parameters: int
    line_elements: int


def lay_out(sites: Sequence[Site], ranks: Sequence[int]) -> Layout:
    """Place every part of an adapter with these ranks: first A by group, then B by site."""
    used = [site for site in sites if ranks[site.index]]
    cursor = 0
    groups: dict[int, tuple[int, int]] = {}
    columns: dict[int, int] = {}
    for group in dict.fromkeys(site.group for site in used):
        members = [site for site in used if site.group == group]
        total = 0
        for site in members:
            columns[site.index] = total
            total += ranks[site.index]
        groups[group] = (cursor, total)
        cursor += _aligned(total * members[0].in_features)
    placements: list[Placement | None] = [None] * len(sites)
    for site in used:
        offset, total = groups[site.group]
        column, rank = columns[site.index], ranks[site.index]
        placements[site.index] = Placement(
            rank, offset + column * site.in_features, cursor, offset, total, column
        )
        cursor += _aligned(rank * site.out_features)
    parameters = sum(ranks[s.index] * (s.in_features + s.out_features) for s in used)
    return Layout(tuple(ranks), tuple(placements), parameters, cursor)


def _aligned(elements: int) -> int:
    return -(-elements // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class RunView:
    """Operands of neighbouring lines: per group A transposed [n, in, Σ rank], per site B [n, rank, out]."""

    a: dict[int, Tensor]
    b: tuple[Tensor | None, ...]


class Pool:
    """A slab of lines. On a CPU it is `mapped`: lines that are not in use cost address space, not memory. On an
    accelerator it doubles when it is full."""

    def __init__(
        self,
        sites: Sequence[Site],
        layout: Layout,
        lines: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        mapped: bool | None = None,
    ) -> None:
        self.layout = layout
        self._sites = tuple(sites)
        self._dtype, self._device = dtype, device
        self._stride = _aligned(max(1, layout.line_elements))
        self._mapped = device.type == "cpu" if mapped is None else mapped
        if self._mapped:
            # Whole pages per line, so that a freed line can be handed back to the operating system.
            page = mmap.PAGESIZE // dtype.itemsize
            self._stride = -(-self._stride // page) * page
        self._capacity = lines if self._mapped else min(lines, FIRST_LINES)
        self._lines = lines
        self._memory, self._slab = self._allocate(self._capacity)
        self._free = list(range(lines))
        self._views: OrderedDict[tuple[int, int], RunView] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def line_bytes(self) -> int:
        """Bytes that one adapter occupies."""
        return self._stride * self._dtype.itemsize

    @property
    def elements_per_site(self) -> float:
        """Mean size of one site's A and B together, in elements: what the kernel reads per line."""
        return self.layout.parameters / max(1, sum(1 for rank in self.layout.ranks if rank))

    @property
    def in_use(self) -> int:
        """Lines taken."""
        return self._lines - len(self._free)

    def take(self) -> int:
        """The lowest free line, so that used lines stay close together."""
        line = min(self._free)
        self._free.remove(line)
        return line

    def write(self, line: int, a: Mapping[int, Tensor], b: Mapping[int, Tensor]) -> None:
        """Fill a line. `a` maps site to [rank, in], `b` to [out, rank] with the scale already in it."""
        with self._lock:
            self._reach(line)
            target = self._slab[line]
        for site, place in zip(self._sites, self.layout.placements, strict=True):
            if place is None:
                continue
            end = place.a_offset + place.rank * site.in_features
            target[place.a_offset : end].view(place.rank, site.in_features).copy_(a[site.index])
            end = place.b_offset + place.rank * site.out_features
            target[place.b_offset : end].view(place.rank, site.out_features).copy_(b[site.index].T)

    def give_back(self, line: int) -> None:
        """Return a line and, on a CPU, its memory."""
        self._free.append(line)
        if self._memory is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, line * self.line_bytes, self.line_bytes)

    def view(self, first: int, count: int) -> RunView:
        """Operands of the lines first … first+count-1, as views of the slab."""
        key = (first, count)
        with self._lock:
            found = self._views.get(key)
            if found is None:
                found = self._views[key] = self._make_view(first, count)
                if len(self._views) > VIEWS_KEPT:
                    self._views.popitem(last=False)
            return found

    def _make_view(self, first: int, count: int) -> RunView:
        lines = self._slab[first : first + count]
        a: dict[int, Tensor] = {}
        b: list[Tensor | None] = []
        for site, place in zip(self._sites, self.layout.placements, strict=True):
            if place is None:
                b.append(None)
                continue
            if site.group not in a:
                end = place.group_offset + place.group_rank * site.in_features
                block = lines[:, place.group_offset : end].view(count, place.group_rank, site.in_features)
                a[site.group] = block.transpose(1, 2)
            end = place.b_offset + place.rank * site.out_features
            b.append(lines[:, place.b_offset : end].view(count, place.rank, site.out_features))
        return RunView(a, tuple(b))

    def _allocate(self, lines: int) -> tuple[mmap.mmap | None, Tensor]:
        if not self._mapped:
            return None, torch.zeros((lines, self._stride), dtype=self._dtype, device=self._device)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        memory = mmap.mmap(-1, lines * self._stride * self._dtype.itemsize, flags=flags)
        return memory, torch.frombuffer(memory, dtype=self._dtype).view(lines, self._stride)

    def _reach(self, line: int) -> None:
        """Double the slab until it has this line; views handed out before keep the old one alive."""
        if line < self._capacity:
            return
        self._capacity = min(self._lines, max(line + 1, 2 * self._capacity))
        old = self._slab
        _, slab = self._allocate(self._capacity)
        slab[: old.shape[0]].copy_(old)
        self._slab = slab
        self._views.clear()
