"""Grouped LoRA as Triton kernels: every place of a batch in one launch per step, whatever adapters its rows have.

Tiles are fixed and masked, so that any shape works without tuning. No atomics: a program owns what it writes and adds
in a fixed order, so that what a row gets in decoding is the same in every run and beside any other rows. Importing
this needs Triton.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from core.engine.kernels.places import GroupedLora, Places

TILE = 16  # the least that tl.dot takes in any direction
WIDE_TILE = 64
BYTES_PER_STEP = 256  # of one row of inputs: with WIDE_TILE, 64 KB of shared memory
OUTPUTS_PER_TILE = 128
# With a few tokens there are too few programs to fill a GPU, so the inputs are cut into parts of this size. It does not
# depend on the batch: neither does the order of the sums.
INPUTS_PER_PART = 1024


@triton.jit
def _shrink_kernel(
    x, slab, low, scale, lines, rows,
    length, size, columns, offset, part_size,
    x_row, x_token, x_value, slab_line,
    low_part, low_place, low_token,
    scale_place, scale_token, scale_column,
    scaled: tl.constexpr, widen: tl.constexpr,
    token_tile: tl.constexpr, column_tile: tl.constexpr, step: tl.constexpr,
):  # fmt: skip
    """low[part, place] = x[row]·Aᵀ over the inputs of one part, for a tile of tokens and columns."""
    place = tl.program_id(0).to(tl.int64)
    part = tl.program_id(2).to(tl.int64)
    across = tl.cdiv(columns, column_tile)
    t = (tl.program_id(1) // across * token_tile + tl.arange(0, token_tile)).to(tl.int64)
    c = (tl.program_id(1) % across * column_tile + tl.arange(0, column_tile)).to(tl.int64)
    values = x + tl.load(rows + place) * x_row + t[:, None] * x_token
    matrix = slab + tl.load(lines + place) * slab_line + offset + c[None, :] * size
    is_token, is_column = t[:, None] < length, c[None, :] < columns
    total = tl.zeros((token_tile, column_tile), dtype=tl.float32)
    for start in range(0, part_size, step):
        k = part * part_size + start + tl.arange(0, step)
        a = tl.load(matrix + k[:, None], mask=is_column & (k[:, None] < size), other=0.0)
        v = tl.load(values + k[None, :] * x_value, mask=is_token & (k[None, :] < size), other=0.0).to(a.dtype)
        if widen:
            a, v = a.to(tl.float32), v.to(tl.float32)
        total = tl.dot(v, a, total, input_precision="ieee")
    kept = is_token & is_column
    if scaled:
        weights = scale + place * scale_place + t[:, None] * scale_token + c[None, :] * scale_column
        total *= tl.load(weights, mask=kept, other=0.0).to(tl.float32)
    target = low + part * low_part + place * low_place + t[:, None] * low_token + c[None, :]
    tl.store(target, total, mask=kept)


@triton.jit
def _expand_kernel(
    low, slab, out, lines, covered, starts, order,
    length, size, rank, column, offset, parts,
    low_part, low_place, low_token, slab_line,
    out_row, out_token, out_value,
    widen: tl.constexpr, token_tile: tl.constexpr, rank_tile: tl.constexpr, output_tile: tl.constexpr,
):  # fmt: skip
    """out[row] += Σ over the places of a row of low·B, for a tile of tokens and outputs."""
    slot = tl.program_id(0)
    t = (tl.program_id(1) * token_tile + tl.arange(0, token_tile)).to(tl.int64)
    n = tl.program_id(2) * output_tile + tl.arange(0, output_tile)
    is_token, is_output = t[:, None] < length, n[None, :] < size
    total = tl.zeros((token_tile, output_tile), dtype=tl.float32)
    for i in range(tl.load(starts + slot), tl.load(starts + slot + 1)):
        place = tl.load(order + i).to(tl.int64)
        values = low + place * low_place + t[:, None] * low_token + column
        matrix = slab + tl.load(lines + place) * slab_line + offset + n[None, :]
        for first in range(0, rank, rank_tile):
            r = (first + tl.arange(0, rank_tile)).to(tl.int64)
            v = tl.zeros((token_tile, rank_tile), dtype=tl.float32)
            for part in range(0, parts):
                v += tl.load(
                    values + part * low_part + r[None, :], mask=is_token & (r[None, :] < rank), other=0.0
                )
            b = tl.load(matrix + r[:, None] * size, mask=is_output & (r[:, None] < rank), other=0.0)
            v = v.to(b.dtype)
            if widen:
                v, b = v.to(tl.float32), b.to(tl.float32)
            total = tl.dot(v, b, total, input_precision="ieee")
    target = out + tl.load(covered + slot) * out_row + t[:, None] * out_token + n[None, :] * out_value
    kept = is_token & is_output
    before = tl.load(target, mask=kept, other=0.0)
    tl.store(target, (before.to(tl.float32) + total).to(before.dtype), mask=kept)


# Triton's interpreter keeps bfloat16 as bare bits and cannot multiply them; widened, products are exact all the same.
_INTERPRETED = not isinstance(_shrink_kernel, triton.JITFunction)


def shrink(x: Tensor, places: Places, offset: int, columns: int, scale: Tensor | None) -> Tensor:
    """A·x of every place, [parts, places, length, columns] in float32."""
    count, (_, length, size) = len(places.lines), x.shape
    few = length <= TILE
    parts = triton.cdiv(size, INPUTS_PER_PART) if few else 1
    low = torch.empty((parts, count, length, columns), dtype=torch.float32, device=x.device)
    tokens, wide = (TILE if few else WIDE_TILE), (TILE if columns <= TILE else WIDE_TILE)
    weights = low[0] if scale is None else scale.expand(count, length, columns)
    grid = (count, triton.cdiv(length, tokens) * triton.cdiv(columns, wide), parts)
    with torch.cuda.device_of(x):
        _shrink_kernel[grid](
            x, places.slab, low, weights, places.lines, places.rows,
            length, size, columns, offset, INPUTS_PER_PART if few else size,
            *x.stride(), places.slab.stride(0), *low.stride()[:3], *weights.stride(),
            scaled=scale is not None, widen=_widened(places.slab),
            token_tile=tokens, column_tile=wide, step=BYTES_PER_STEP // places.slab.itemsize,
        )  # fmt: skip
    return low


def expand_add(low: Tensor, places: Places, offset: int, column: int, rank: int, out: Tensor) -> None:
    """out[row] += B·low for every place."""
    parts, _, length, _ = low.shape
    size = out.shape[2]
    tokens = TILE if length <= TILE else WIDE_TILE
    grid = (len(places.covered), triton.cdiv(length, tokens), triton.cdiv(size, OUTPUTS_PER_TILE))
    with torch.cuda.device_of(out):
        _expand_kernel[grid](
            low, places.slab, out, places.lines, places.covered, places.starts, places.order,
            length, size, rank, column, offset, parts,
            *low.stride()[:3], places.slab.stride(0), *out.stride(),
            widen=_widened(places.slab), token_tile=tokens, rank_tile=TILE, output_tile=OUTPUTS_PER_TILE,
        )  # fmt: skip


def _widened(slab: Tensor) -> bool:
    return _INTERPRETED and slab.dtype is torch.bfloat16


TRITON_LORA = GroupedLora(shrink, expand_add)
