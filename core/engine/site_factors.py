"""How strongly each adapter of a composition acts at each linear layer (static gates and depth segments, G0).

An adapter's weight at a site is Σ over its terms of weight · gain(site), where a term with a segment counts on the
blocks of its segment only. Layers outside the blocks, such as the output head, belong to no segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.engine.records import Composition, TokenGate, WeightedAdapter
from core.engine.sites import Site, block_of
from core.errors import InvalidInputError

LARGEST_WEIGHT = 1e6
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-6, 1e9


@dataclass(frozen=True, slots=True, eq=False)
class SiteFactors:
    """Weight of one adapter at every site of the base, by site index; `active` are the sites where it is not 0."""

    values: tuple[float, ...]
    active: frozenset[int]

    @classmethod
    def of(cls, values: Sequence[float]) -> "SiteFactors":
        """Factors with these values."""
        return cls(tuple(values), frozenset(site for site, value in enumerate(values) if value != 0.0))

    def on(self, ranks: Sequence[int]) -> "float | SiteFactors":
        """The same for an adapter with these ranks by site: one number where it is equal at all it touches."""
        found = {value for value, rank in zip(self.values, ranks, strict=True) if rank}
        return found.pop() if len(found) == 1 else self


class SiteMap:
    """The sites of a base by name and by block."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._names = {site.name: site.index for site in sites}
        self._blocks = [block_of(site.name) for site in sites]
        self._last_block = max((block for block in self._blocks if block is not None), default=-1)

    def weigh(self, composition: Composition) -> dict[str, float | SiteFactors]:
        """Weight per adapter digest, sorted by digest; one number where it is the same at every site.

        What adds up to 0 everywhere is left out. Raises InvalidInputError for weights that are not usable, modules
        that the base does not have and segments beyond its last block.
        """
        terms: dict[str, list[WeightedAdapter]] = {}
        for term in composition.terms:
            self._check(term)
            terms.setdefault(term.adapter.digest, []).append(term)
        weights = {digest: self._sum(own) for digest, own in sorted(terms.items())}
        return {
            digest: weight
            for digest, weight in weights.items()
            if (weight.active if isinstance(weight, SiteFactors) else weight != 0.0)
        }

    def _sum(self, terms: Sequence[WeightedAdapter]) -> float | SiteFactors:
        uniform = 0.0
        values: list[float] | None = None
        for term in terms:
            if term.everywhere:
                uniform += term.weight
            else:
                values = values or [0.0] * len(self._blocks)
                for site, factor in enumerate(self._factors(term)):
                    values[site] += term.weight * factor
        if values is None:
            _check_weight(uniform)
            return uniform
        values = [uniform + value for value in values]
        for value in values:
            _check_weight(value)
        return values[0] if len(set(values)) == 1 else SiteFactors.of(values)

    def _factors(self, term: WeightedAdapter) -> list[float]:
        if term.layers is None:
            factors = [1.0] * len(self._blocks)
        else:
            first, last = term.layers
            factors = [float(block is not None and first <= block <= last) for block in self._blocks]
        for name, gain in term.gains:
            factors[self._names[name]] *= gain
        return factors

    def _check(self, term: WeightedAdapter) -> None:
        if term.layers is not None:
            first, last = term.layers
            if not 0 <= first <= last <= self._last_block:
                raise InvalidInputError(
                    f"The segment of layers {first} to {last} is not one of this base.",
                    f"Its blocks are numbered 0 to {self._last_block}."
                    if self._last_block >= 0
                    else "It has no numbered blocks.",
                    "Name a first and a last block within them, the first not after the last.",
                )
        for name, gain in term.gains:
            _check_weight(gain)
            if name not in self._names:
                raise InvalidInputError(
                    f"The base has no layer {name[:120]!r}.",
                    "A gain of the composition names it.",
                    "Use the names of the base's linear layers, such as model.layers.0.self_attn.q_proj.",
                )


def check_gate(gate: TokenGate) -> None:
    """Raises InvalidInputError for a gate whose numbers make no sense."""
    if isinstance(gate.top_k, bool) or not isinstance(gate.top_k, int) or gate.top_k < 1:
        raise InvalidInputError(
            f"The token gate chooses {gate.top_k} adapters.",
            "It must choose at least 1.",
            "Set top_k from 1.",
        )
    if not LEAST_TEMPERATURE <= gate.temperature <= LARGEST_TEMPERATURE:
        raise InvalidInputError(
            f"The temperature of the token gate is {gate.temperature}.",
            "It must be a number above 0, not too close to it.",
            "Use 1, or more for more even shares.",
        )


def _check_weight(weight: float) -> None:
    if not -LARGEST_WEIGHT < weight < LARGEST_WEIGHT:
        raise InvalidInputError(
            "A weight of the composition is not usable.", f"It is {weight}.", "Use a number between -8 and 8."
        )
