"""What people confirmed before: each correction of a mapping becomes evidence for the next report.

A rule of the same network counts most. A rule of another network counts by how alike the names are written; its
qualifiers and units do not travel, because another network's window or unit is its own.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.harmonize.records import Mapping, Rule
from core.harmonize.suggest.tokens import name_key

#: Evidence points of one confirmed rule, of the same network and of another.
SAME_NETWORK = 9.0
OTHER_NETWORK = 3.5
#: What another network's opinion may count at most, however often it was confirmed.
OTHER_LIMIT = 6.0


@dataclass(frozen=True, slots=True)
class ConfirmedRule:
    """A rule that a person kept or corrected, and in how many mappings it stands."""

    network: str
    source_field: str
    rule: Rule
    times: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Confirmed rules of earlier mappings. Plain data: whoever keeps mappings makes it of them."""

    entries: tuple[ConfirmedRule, ...] = ()

    def without_network(self, network: str) -> "Memory":
        """The memory of a house that has never seen this network."""
        gone = network_key(network)
        return Memory(tuple(each for each in self.entries if network_key(each.network) != gone))

    def learn(self, mapping: Mapping) -> "Memory":
        """This memory with every rule of a confirmed mapping."""
        learned = tuple(ConfirmedRule(mapping.network, rule.source_field, rule) for rule in mapping.rules)
        return Memory(self.entries + learned)


@dataclass(frozen=True, slots=True)
class Recollection:
    """What the memory says of one column.

    `points`: target → evidence ("" stands for no place in RMIS). `rule`: the rule of the same network that was
    confirmed most often, or None.
    """

    points: dict[str, float] = field(default_factory=dict)
    rule: Rule | None = None
    times: int = 0


class MemoryIndex:
    """A memory prepared for one report: looks columns up by the letters and digits of their names."""

    def __init__(self, memory: Memory, network: str) -> None:
        self._same: dict[str, list[ConfirmedRule]] = defaultdict(list)
        self._other: dict[str, list[ConfirmedRule]] = defaultdict(list)
        home = network_key(network)
        for entry in memory.entries:
            side = self._same if home and network_key(entry.network) == home else self._other
            side[name_key(entry.source_field)].append(entry)

    def recall(self, source_field: str) -> Recollection:
        """What was confirmed for a column of this name."""
        key = name_key(source_field)
        same, other = self._same.get(key, []), self._other.get(key, [])
        points: dict[str, float] = defaultdict(float)
        for target, times in _votes(other).items():
            points[target] = min(OTHER_LIMIT, OTHER_NETWORK * (1 + 0.5 * math.log2(times)))
        for target, times in _votes(same).items():
            points[target] += SAME_NETWORK * (1 + 0.3 * math.log2(times))
        best = max(same, key=lambda entry: entry.times, default=None)
        return Recollection(dict(points), best.rule if best else None, best.times if best else 0)


def network_key(network: str) -> str:
    """A network's name without case, spaces and signs."""
    return "".join(sign for sign in network.casefold() if sign.isalnum())


def _votes(entries: Iterable[ConfirmedRule]) -> dict[str, int]:
    votes: dict[str, int] = defaultdict(int)
    for entry in entries:
        votes[entry.rule.target or ""] += max(1, entry.times)
    return votes
