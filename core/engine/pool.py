"""Memory for adapters of one shape: a slab with one line per adapter, read by the kernel without copying.

All adapters with the same rank at every site share a pool, so nothing is padded. A line holds, per
shared-input group, the stacked A matrices [Σ rank, in] and, per site, B transposed and already scaled: [rank,
out].
"""

import heapq
import mmap
import threading
from collections import Counter, OrderedDict
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
    group: int
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

    def columns(self) -> dict[int, list[int]]:
        """Per group, the site that each column of the stacked A matrices belongs to."""
        found: dict[int, list[int]] = {}
        for site, place in enumerate(self.placements):  # columns are given out in the order of the sites
            if place is not None:
                found.setdefault(place.group, []).extend([site] * place.rank)
        return found


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
            rank, offset + column * site.in_features, cursor, site.group, offset, total, column
        )
        cursor += _aligned(rank * site.out_features)
    parameters = sum(ranks[s.index] * (s.in_features + s.out_features) for s in used)
    return Layout(tuple(ranks), tuple(placements), parameters, cursor)


def _positions(sites: Sequence[Site]) -> list[int]:
    """Where each site stands among those of its group."""
    seen: Counter[int] = Counter()
    positions = []
    for site in sites:
        positions.append(seen[site.group])
        seen[site.group] += 1
    return positions


def _aligned(elements: int) -> int:
    return -(-elements // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class RunView:
    """Operands of neighbouring lines: per group A transposed [n, in, Σ rank], per site B [n, rank, out]."""

    a: dict[int, Tensor]
    b: tuple[Tensor | None, ...]


class Pool:
    """A slab of lines. On a CPU it is `mapped`: lines that are not in use cost address space, not memory. On an
    accelerator it doubles when it is full and halves when its upper half is free.

    `columns`: per group, the site of each column of the stacked A matrices; `share_columns`: where that site stands
    in its group.
    """

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
        columns, positions = layout.columns(), _positions(self._sites)
        self.columns = {group: torch.tensor(own, device=device) for group, own in columns.items()}
        self.share_columns = {
            group: torch.tensor([positions[site] for site in own], device=device)
            for group, own in columns.items()
        }
        self._views: OrderedDict[tuple[int, int], RunView] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def line_bytes(self) -> int:
        """Bytes that one adapter occupies."""
        return self._stride * self._dtype.itemsize

    @property
    def slab(self) -> Tensor:
        """[lines, elements of a line] as it lies now. Whoever holds it keeps it when the pool moves on."""
        with self._lock:
            return self._slab

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
        return heapq.heappop(self._free)

    def write(self, line: int, a: Mapping[int, Tensor], b: Mapping[int, Tensor]) -> None:
        """Fill a line. `a` maps site to [rank, in], `b` to [out, rank] with the scale already in it."""
        if self._mapped:
            self._fill(self._slab[line], a, b)
            return
        # Put together beside the slab and copied in one go: the slab may be moved while another line is written.
        whole = torch.zeros(self._stride, dtype=self._dtype)
        self._fill(whole, a, b)
        with self._lock:
            self._reach(line)
            self._slab[line].copy_(whole)

    def _fill(self, target: Tensor, a: Mapping[int, Tensor], b: Mapping[int, Tensor]) -> None:
        for site, place in zip(self._sites, self.layout.placements, strict=True):
            if place is None:
                continue
            end = place.a_offset + place.rank * site.in_features
            target[place.a_offset : end].view(place.rank, site.in_features).copy_(a[site.index])
            end = place.b_offset + place.rank * site.out_features
            target[place.b_offset : end].view(place.rank, site.out_features).copy_(b[site.index].T)

    def give_back(self, line: int) -> None:
        """Return a line and its memory: its pages on a CPU, the upper half of the slab once that is free elsewhere."""
        heapq.heappush(self._free, line)
        if self._memory is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, line * self.line_bytes, self.line_bytes)
        if not self._mapped:
            with self._lock:
                self._shrink()

    @property
    def held_bytes(self) -> int:
        """Bytes of the slab that are set aside for lines, used or not. On a CPU: those of the used lines."""
        return self.line_bytes * (self.in_use if self._mapped else self._capacity)

    def view(self, first: int, count: int, active: frozenset[int] | None = None) -> RunView:
        """Operands of the lines first … first+count-1, as views of the slab; `active`: of these sites only."""
        whole = self._view(first, count)
        if active is None:
            return whole
        placements = self.layout.placements
        groups = {place.group for site in active if (place := placements[site]) is not None}
        return RunView(
            {group: a for group, a in whole.a.items() if group in groups},
            tuple(b if site in active else None for site, b in enumerate(whole.b)),
        )

    def _view(self, first: int, count: int) -> RunView:
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
        if line >= self._capacity:
            self._move(min(self._lines, max(line + 1, 2 * self._capacity)))

    def _shrink(self) -> None:
        """Halve the slab while its upper half is free. Lines keep their numbers, because plans name them."""
        free = set(self._free)
        highest = max((line for line in range(self._capacity) if line not in free), default=-1)
        capacity = self._capacity
        while capacity > FIRST_LINES and highest < capacity // 2:
            capacity //= 2
        if capacity < self._capacity:
            self._move(max(capacity, min(self._lines, FIRST_LINES)))

    def _move(self, capacity: int) -> None:
        old, kept = self._slab, min(capacity, self._capacity)
        _, slab = self._allocate(capacity)
        slab[:kept].copy_(old[:kept])
        self._slab, self._capacity = slab, capacity
        self._views.clear()
