"""From logits to tokens, and from tokens to text that can be shown while it grows."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token and the natural logarithm of its probability under the model at temperature 1."""

    token: int
    logprob: float


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
    """One token per row of [rows, vocabulary] logits. No sampler: greedy. None where logits are not numbers."""
    logits = logits.float().cpu()
    tokens = logits.argmax(dim=-1)
    normal = torch.logsumexp(logits, dim=-1)
    usable = torch.isfinite(normal).tolist()
    for row, sampler in enumerate(samplers):
        if sampler is not None and usable[row]:
            tokens[row] = sampler.choose(logits[row])
    logprobs = (logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - normal).tolist()
    chosen = zip(tokens.tolist(), logprobs, usable, strict=True)
    return [Choice(token, logprob) if ok else None for token, logprob, ok in chosen]


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
