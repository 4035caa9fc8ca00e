"""The key/value cache of a running batch: rows join and leave between passes, nothing is copied per token.

All rows end at the same column, so a row with n tokens fills the columns end-n … end-1 and the columns before
it are padding. Padding that a pass can see is always zero: what an earlier row left there can never leak into
a sum.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

FIRST_COLUMNS = 128
FIRST_ROWS = 4


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, [rows, heads, columns, head size], at the place that the batch says."""

    is_sliding = False
    is_croppable = False

    def __init__(self, frame: "Frame") -> None:
        super().__init__()
        self._frame = frame

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the buffers once shape, dtype and device are known."""
        rows, columns = self._frame.row_capacity, self._frame.column_capacity
        self.keys = key_states.new_zeros((rows, key_states.shape[1], columns, key_states.shape[3]))
        self.values = value_states.new_zeros((rows, value_states.shape[1], columns, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the pass's columns; return all columns that its rows may look at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        frame = self._frame
        rows = slice(frame.first_row, frame.first_row + frame.pass_rows)
        self.keys[rows, :, frame.write_from : frame.write_to] = key_states
        self.values[rows, :, frame.write_from : frame.write_to] = value_states
        seen = slice(frame.read_from, frame.write_to)
        return self.keys[rows, :, seen], self.values[rows, :, seen]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the mask covers, and where they start."""
        return self._frame.write_to - self._frame.read_from, 0

    def get_seq_length(self) -> int:
        """Columns seen before this pass."""
        return self._frame.write_from - self._frame.read_from

    def get_max_length(self) -> int:
        """No fixed maximum."""
        return -1


class Frame:
    """Where the pass that runs now reads and writes, and how large the buffers are."""

    __slots__ = (
        "column_capacity", "first_row", "pass_rows", "read_from", "row_capacity", "write_from", "write_to",
    )  # fmt: skip

    def __init__(self) -> None:
        self.row_capacity = self.column_capacity = 0
        self.first_row = self.pass_rows = 0
        self.read_from = self.write_from = self.write_to = 0


class RowCache(Cache):  # type: ignore[misc]
    """Keys and values of all running rows.

    `lengths[i]` is the number of tokens of row i; the buffers never have more than `max_cells` rows · columns as long
    as the rows need at most half of that. Use: `open_prompts` (and `fill`) before a pass over new prompts and
    `keep_prompts` after it; `open_step` before a pass over one token of every row and `keep_step` after it;
    `drop` between passes.
    A pass that fails between the two calls leaves the rows as they were.
    """

    def __init__(self, layers: int, max_rows: int, max_cells: int | None = None) -> None:
        self._frame = Frame()
        super().__init__(layers=[RowLayer(self._frame) for _ in range(layers)])
        self._max_rows, self._max_cells = max_rows, max_cells
        self.lengths: list[int] = []
        self._end = 0  # column after the last token of every row
        self._start = 0  # first column that any row uses

    @property
    def span(self) -> int:
        """Columns from the first token of the longest row to the end."""
        return self._end - self._start

    @property
    def cells(self) -> int:
        """Rows · columns of the buffers."""
        return self._frame.row_capacity * self._frame.column_capacity

    def open_prompts(self, rows: int, width: int, longest: int = 0) -> None:
        """Place `rows` prompts, padded on the left to `width`, behind the running rows.

        With `longest` above `width` the pass also sees the columns before: `fill` them for every longer prompt.
        """
        longest = max(longest, width)
        self._arrange(len(self.lengths) + rows, longest)
        frame = self._frame
        frame.first_row, frame.pass_rows = len(self.lengths), rows
        frame.read_from, frame.write_from = self._end - longest, self._end - width
        frame.write_to = self._end
        if longest > width:
            new, before = (
                slice(frame.first_row, frame.first_row + rows),
                slice(frame.read_from, frame.write_from),
            )
            for layer in self._filled_layers():
                layer.keys[new, :, before] = 0
                layer.values[new, :, before] = 0

    def fill(self, row: int, values: Tensor) -> None:
        """The new prompt `row` (0: the first of this pass) begins with these: [layers, 2, heads, tokens, size]."""
        place, end = self._frame.first_row + row, self._frame.write_from
        columns = slice(end - values.shape[3], end)
        for layer, (keys, layer_values) in zip(self._filled_layers(), values, strict=True):
            layer.keys[place, :, columns] = keys
            layer.values[place, :, columns] = layer_values

    def read(self, row: int, first: int, last: int) -> Tensor:
        """Keys and values of the tokens first … last-1 of a running row: [layers, 2, heads, tokens, size], a copy."""
        start = self._end - self.lengths[row]
        columns = slice(start + first, start + last)
        return torch.stack(
            [torch.stack((a.keys[row, :, columns], a.values[row, :, columns])) for a in self._filled_layers()]
        )

    def keep_prompts(self, lengths: list[int]) -> None:
        """The prompts are running rows now; their padding is wiped."""
        frame = self._frame
        start = min(self._start, self._end - max(lengths))
        for layer in self._filled_layers():
            for buffer in (layer.keys, layer.values):
                if start < self._start:
                    buffer[: frame.first_row, :, start : self._start] = 0
                for offset, length in enumerate(lengths):
                    buffer[frame.first_row + offset, :, start : self._end - length] = 0
        self._start = start
        self.lengths.extend(lengths)

    def open_step(self) -> None:
        """Place one more token for every row."""
        self._arrange(len(self.lengths), 0)
        frame = self._frame
        frame.first_row, frame.pass_rows = 0, len(self.lengths)
        frame.read_from, frame.write_from, frame.write_to = self._start, self._end, self._end + 1

    def keep_step(self) -> None:
        """Every row is one token longer."""
        self._end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def mask(self) -> Tensor:
        """[rows, span + 1] for the next step: 1 where a row has a token, the one to come included."""
        columns = torch.arange(self.span + 1)
        return (columns >= self.span - torch.tensor(self.lengths).unsqueeze(1)).long()

    def drop(self, row: int) -> None:
        """Remove a row; the last row takes its place, in `lengths` too."""
        last = len(self.lengths) - 1
        if row != last:
            used = slice(self._start, self._end)
            for layer in self._filled_layers():
                layer.keys[row, :, used] = layer.keys[last, :, used]
                layer.values[row, :, used] = layer.values[last, :, used]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if self.lengths:
            self._start = self._end - max(self.lengths)
        else:
            self.clear()

    def clear(self) -> None:
        """Remove every row."""
        self.lengths = []
        self._start = self._end = 0

    def free(self) -> None:
        """Remove every row and give the buffers back."""
        self.clear()
        self._frame.row_capacity = self._frame.column_capacity = 0
        for layer in self._filled_layers():
            layer.is_initialized = False
            layer.keys = layer.values = layer.keys.new_zeros(0)

    def _arrange(self, rows: int, width: int) -> None:
        """Buffers that hold `rows` rows and one column more; running rows end at column `width` or later."""
        frame = self._frame
        row_capacity, columns = frame.row_capacity, frame.column_capacity
        if rows > row_capacity:
            row_capacity = min(self._max_rows, max(rows, 2 * row_capacity, FIRST_ROWS))
        end = max(self._end, width)
        if end >= columns:
            end = max(self.span, width)
            if end + end // 4 >= columns:
                columns = max(FIRST_COLUMNS, 2 * end)
        if self._max_cells is not None and row_capacity * columns > self._max_cells:
            end = max(self.span, width)
            row_capacity = max(rows, min(row_capacity, self._max_cells // (2 * end)))
            columns = max(end + 1, min(columns, self._max_cells // row_capacity))
        if (row_capacity, columns, end) != (frame.row_capacity, frame.column_capacity, self._end):
            self._move(row_capacity, columns, end)

    def _move(self, row_capacity: int, columns: int, end: int) -> None:
        """Copy the running rows so that they end at column `end` of buffers with this capacity."""
        frame, kept, span = self._frame, len(self.lengths), self.span
        same_size = (row_capacity, columns) == (frame.row_capacity, frame.column_capacity)
        for layer in self._filled_layers():
            for name in ("keys", "values"):
                old = getattr(layer, name)
                used = old[:kept, :, self._start : self._end]
                if same_size:
                    new, used = old, used.clone()
                else:
                    new = old.new_zeros((row_capacity, old.shape[1], columns, old.shape[3]))
                new[:kept, :, end - span : end] = used
                setattr(layer, name, new)
        frame.row_capacity, frame.column_capacity = row_capacity, columns
        self._start, self._end = end - span, end

    def _filled_layers(self) -> list[RowLayer]:
        return [layer for layer in self.layers if layer.is_initialized]
