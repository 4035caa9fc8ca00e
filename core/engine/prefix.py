"""Keys and values of prompts that were read before, for prompts that begin alike.

A prompt is kept in blocks of BLOCK tokens. A block is found by what comes before it and by its own tokens, compared as
they are, not by a hash of them; the first block by the owner and the key of the composition. So a prompt that was read
under one composition is never used for another, or for the base, and nobody can learn from the time an answer takes
what another owner asked before. Keys and values of a token depend on nothing after it: what is reused is what would be
computed again, up to the rounding of another batch shape.
Source of the block scheme: Kwon et al. 2023, «Efficient Memory Management for LLM Serving with PagedAttention»,
arXiv 2309.06180, section 4.3.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from core.engine.records import PrefixStatus

BLOCK = 16


@dataclass(frozen=True, slots=True)
class _Block:
    """Keys and values [layers, 2, heads, BLOCK, head size] of BLOCK tokens; `number` is what its children name."""

    number: int
    values: Tensor


class PrefixCache:
    """Up to `budget_bytes` of blocks, the least recently used dropped first. Only the inference thread calls it,
    except for `status`, which any thread may."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = max(0, budget_bytes)
        # From least to most recently used. Whoever touches a block touches its ancestors after it, so that the
        # first entry never has a child.
        self._blocks: OrderedDict[tuple[Hashable, tuple[int, ...]], _Block] = OrderedDict()
        self._bytes = 0
        self._numbers = count()
        self._hits = self._misses = self._tokens_saved = 0

    def status(self) -> PrefixStatus:
        """How much is kept and how often it helped."""
        return PrefixStatus(
            entries=len(self._blocks),
            bytes=self._bytes,
            budget_bytes=self._budget_bytes,
            hits=self._hits,
            misses=self._misses,
            tokens_saved=self._tokens_saved,
        )

    def length(self, key: Hashable, tokens: Sequence[int]) -> int:
        """How many tokens at the beginning are kept; never the last one, which has to be read for the answer."""
        return min(BLOCK * len(self._find(key, tokens)), len(tokens) - 1)

    def take(self, key: Hashable, tokens: Sequence[int], length: int) -> Tensor:
        """Keys and values [layers, 2, heads, length, head size] of the first `length` tokens, at most `length()`."""
        blocks = self._find(key, tokens)[: -(-length // BLOCK)]
        return torch.cat([block.values for block in blocks], dim=3)[:, :, :, :length]

    def count_request(self, tokens: int, saved: int) -> None:
        """A prompt of `tokens` was read, `saved` of them from here. Too short a prompt counts as neither."""
        if saved:
            self._hits += 1
            self._tokens_saved += saved
        elif tokens > BLOCK and self._budget_bytes:
            self._misses += 1

    def missing_from(self, key: Hashable, tokens: Sequence[int]) -> int:
        """The first token whose block is not kept yet; the number of whole blocks' tokens when all are."""
        return BLOCK * len(self._find(key, tokens))

    def keep(self, key: Hashable, tokens: Sequence[int], first: int, values: Tensor) -> None:
        """Keep whole blocks from token `first` on: `values` [layers, 2, heads, n·BLOCK, head size] are copied."""
        parent = self._last_number(key, tokens, first)
        for at in range(0, values.shape[3], BLOCK):
            place = (parent, tuple(tokens[first + at : first + at + BLOCK]))
            part = values[:, :, :, at : at + BLOCK]
            block = _Block(next(self._numbers), part.clone(memory_format=torch.contiguous_format))
            self._blocks[place] = block
            self._bytes += block.values.nbytes
            parent = block.number
        self._find(key, tokens)
        while self._bytes > self._budget_bytes:
            self._drop_oldest()

    def accepts(self, size_bytes: int) -> bool:
        """Whether a prompt of this size may be kept: one that would push out more than half of the rest is not."""
        return 2 * size_bytes <= self._budget_bytes

    def clear(self) -> None:
        """Drop everything, such as when memory has run out."""
        self._blocks.clear()
        self._bytes = 0

    def _find(self, key: Hashable, tokens: Sequence[int]) -> list[_Block]:
        """The kept blocks from the beginning on, now the most recently used."""
        places = []
        blocks: list[_Block] = []
        parent: Hashable = key
        for at in range(0, len(tokens) - BLOCK + 1, BLOCK):
            place = (parent, tuple(tokens[at : at + BLOCK]))
            block = self._blocks.get(place)
            if block is None:
                break
            places.append(place)
            blocks.append(block)
            parent = block.number
        for place in reversed(places):
            self._blocks.move_to_end(place)
        return blocks

    def _last_number(self, key: Hashable, tokens: Sequence[int], first: int) -> Hashable:
        blocks = self._find(key, tokens[:first])
        return blocks[-1].number if blocks else key

    def _drop_oldest(self) -> None:
        _, block = self._blocks.popitem(last=False)
        self._bytes -= block.values.nbytes
