"""From logits to tokens, and from tokens to text that can be shown while it grows."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.records import TokenFacts

IMPOSSIBLE = -1e4  # exp of this is 0 in float32
VALUES_AT_ONCE = 1 << 16  # logits: 256 KB
REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token and what the model was sure of there."""

    token: int
    facts: TokenFacts


class Sampler:
    """Chooses the tokens of one request. Same seed and same logits: same tokens, whoever is in the batch."""

    __slots__ = ("_random", "temperature", "top_p")

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature, self.top_p = temperature, top_p
        self._random = random.Random(seed)

    def choose(self, logits: Tensor) -> int:
        """A token drawn from [vocabulary] logits, from the smallest set with `top_p` of the mass."""
        above = logits.double() - logits.max()  # first, so that no temperature is too low to divide by
        probabilities = torch.softmax(above / self.temperature, dim=-1)
        sorted_p, order = torch.sort(probabilities, descending=True, stable=True)
        cumulative = torch.cumsum(sorted_p, dim=-1)
        mass = self.top_p * cumulative[-1]
        kept = min(int(torch.searchsorted(cumulative, mass)) + 1, len(order))
        point = self._random.random() * cumulative[kept - 1]
        place = int(torch.searchsorted(cumulative[:kept], point, right=True))
        return int(order[min(place, kept - 1)])


def choose_tokens(logits: Tensor, samplers: Sequence[Sampler | None]) -> list[Choice | None]:
    """One token per row of [rows, vocabulary] logits. No sampler: greedy, of equals the first.

    None where logits are not numbers. A few rows at a time on a processor: what is computed on the way then stays in
    its caches, where a whole batch over a large vocabulary would be fresh memory at every step.
    """
    rows, vocabulary = logits.shape
    step = max(1, VALUES_AT_ONCE // vocabulary) if logits.device.type == "cpu" else max(1, rows)
    choices: list[Choice | None] = []
    for first in range(0, rows, step):
        part = slice(first, first + step)
        choices += _choose(logits[part].float(), samplers[part])
    return choices


def _choose(logits: Tensor, samplers: Sequence[Sampler | None]) -> list[Choice | None]:
    """With s = logits - max and Z = Σ exp s: log p = s - log Z, the entropy is log Z - Σ s·exp(s) / Z, and the margin
    (1 - second largest exp s) / Z."""
    places = logits.argmax(dim=-1, keepdim=True)
    largest = logits.gather(1, places)
    # A token that is ruled out (-inf) adds 0 to the entropy, and 0 · -inf would not be a number.
    shifted = (logits - largest).clamp_(min=IMPOSSIBLE)
    weights = shifted.exp()
    total = weights.sum(dim=-1, keepdim=True)
    spread = shifted.mul_(weights).sum(dim=-1, keepdim=True)
    rest = weights.scatter_(1, places, 0.0).amax(dim=-1, keepdim=True)
    normal = total.log()
    tokens = _sample(logits, places, samplers) if any(samplers) else places
    columns = (logits.gather(1, tokens) - largest - normal, normal - spread / total, (1 - rest) / total)
    facts = torch.cat(columns, dim=1).tolist()
    return [
        Choice(token, TokenFacts(*row)) if all(map(math.isfinite, row)) else None
        for (token,), row in zip(tokens.tolist(), facts, strict=True)
    ]


def _sample(logits: Tensor, greedy: Tensor, samplers: Sequence[Sampler | None]) -> Tensor:
    """[rows, 1] tokens: drawn where a row has a sampler and its logits are numbers, else `greedy`."""
    tokens, on_host = greedy.clone(), logits.cpu()
    for row, sampler in enumerate(samplers):
        if sampler is not None and not (on_host[row].isnan() | on_host[row].isposinf()).any():
            tokens[row, 0] = sampler.choose(on_host[row])
    return tokens


class TextAssembly:
    """Turns tokens into text piece by piece: no half characters, nothing of a stop string ever shown.

    `decode` maps token ids to text. The pieces that `add` and `finish` return, joined, are `text`.
    """

    __slots__ = ("_context", "_decode", "_held", "_ids", "_read", "_stops", "stopped", "text")

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode, self._stops = decode, tuple(stops)
        self._ids: list[int] = []
        self._context = self._read = (
            0  # ids before _read are text already; those from _context on give it context
        )
        self._held = ""  # text that may turn out to be the start of a stop string
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that may be shown now. After a stop string `stopped` is True and nothing more comes."""
        self._ids.append(token)
        return self._release(self._fresh(final=False), final=False)

    def finish(self) -> str:
        """The text that was held back, at the end of the answer."""
        return "" if self.stopped else self._release(self._fresh(final=True), final=True)

    def _fresh(self, *, final: bool) -> str:
        known = self._decode(self._ids[self._context : self._read])
        whole = self._decode(self._ids[self._context :])
        if len(whole) <= len(known) or (whole.endswith(REPLACEMENT) and not final):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return whole[len(known) :]

    def _release(self, fresh: str, *, final: bool) -> str:
        pending = self._held + fresh
        found = [at for at in (pending.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped, self._held, piece = True, "", pending[: min(found)]
        else:
            keep = 0 if final else self._overlap(pending)
            piece, self._held = pending[: len(pending) - keep], pending[len(pending) - keep :]
        self.text += piece
        return piece

    def _overlap(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        sizes = range(min(longest, len(text)), 0, -1)
        return next((n for n in sizes if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
