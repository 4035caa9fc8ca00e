"""Grouped LoRA in plain torch: lines are gathered and multiplied with bmm. What the kernels are compared with."""

from torch import Tensor

from core.engine.kernels.places import GroupedLora, Places


def shrink(x: Tensor, places: Places, offset: int, columns: int, scale: Tensor | None) -> Tensor:
    """A·x of every place, [1, places, length, columns] in float32."""
    size = x.shape[2]
    lines = places.slab[:, offset : offset + columns * size].index_select(0, places.lines)
    inputs = x.index_select(0, places.rows).to(places.slab.dtype).float()
    low = inputs.bmm(lines.view(-1, columns, size).float().transpose(1, 2))
    return (low if scale is None else low.mul_(scale)).unsqueeze(0)


def expand_add(low: Tensor, places: Places, offset: int, column: int, rank: int, out: Tensor) -> None:
    """out[row] += B·low for every place."""
    _, length, size = out.shape
    lines = places.slab[:, offset : offset + rank * size].index_select(0, places.lines)
    values = low.sum(dim=0)[:, :, column : column + rank].to(places.slab.dtype).float()
    parts = values.bmm(lines.view(-1, rank, size).float())
    total = parts.new_zeros((out.shape[0], length, size)).index_add_(0, places.rows, parts)
    own = out.index_select(0, places.covered).float() + total.index_select(0, places.covered)
    out.index_copy_(0, places.covered, own.to(out.dtype))


TORCH_LORA = GroupedLora(shrink, expand_add)
