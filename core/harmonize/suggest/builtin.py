"""The shipped mappings of public report documentation, and which of them a file is, by its column names.

A file is recognised only where its source card names the network, or where many names occur in that network's
reports alone: «clicks» and «impressions» stand everywhere and prove nothing.
"""

import re
from collections import defaultdict
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from core.errors import IntegrityError
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.suggest.memory import ConfirmedRule, Memory
from core.harmonize.suggest.tokens import name_key, split_name

FOLDER = Path(__file__).parents[1] / "builtin"
#: Share of the file's columns that a recognised report must know, and how many of them must be telling.
KNOWN_SHARE, TELLING = 0.5, 4
#: Where the card names the network, so many known columns need no other proof.
NAMED_SHARE = 0.85
#: Without a network on the card the columns themselves must prove it.
UNNAMED_SHARE, UNNAMED_TELLING = 0.7, 6
_PLAIN_WORDS = frozenset(
    [
        "ads",
        "ad",
        "media",
        "retail",
        "network",
        "networks",
        "marketing",
        "advertising",
        "group",
        "connect",
        "the",
        "of",
        "by",
        "platform",
        "partners",
        "solutions",
        "performance",
        "sponsored",
        "promoted",
        "listings",
        "product",
        "products",
        "display",
        "video",
        "360",
        "direct",
        "manager",
    ]
)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A shipped mapping with its source. `aliases`: heading of an export (as a key) → name in the rules.

    `stands_in`: column → (the column whose rule it takes where that one is missing, its own transform or None).
    """

    mapping: Mapping
    source: str
    aliases: MappingOf[str, str] = field(default_factory=dict)
    stands_in: MappingOf[str, tuple[str, Transform | None]] = field(default_factory=dict)

    def rules_for(self, names: Sequence[str]) -> dict[str, Rule]:
        """The rule of each of these columns that the report documents, under the name that the file gives it."""
        known = {name_key(rule.source_field): rule for rule in self.mapping.rules}
        by_alias = {
            alias: known[name_key(name)] for alias, name in self.aliases.items() if name_key(name) in known
        }
        given = {name_key(name) for name in names}
        present = given | {name_key(by_alias[key].source_field) for key in given if key in by_alias}
        found: dict[str, Rule] = {}
        for name in names:
            key = name_key(name)
            rule = known.get(key) or by_alias.get(key)
            stands_for = self.stands_in.get(rule.source_field if rule else name)
            if stands_for and name_key(stands_for[0]) not in present and name_key(stands_for[0]) in known:
                rule = known[name_key(stands_for[0])]
                if stands_for[1] is not None:
                    rule = rule.model_copy(update={"transform": stands_for[1]})
            if rule is not None:
                found[name] = rule.model_copy(update={"source_field": name})
        return found


@dataclass(frozen=True, slots=True)
class Recognised:
    """The report that a file is, and its rules for the file's columns."""

    builtin: BuiltIn
    rules: dict[str, Rule]
    share: float


@lru_cache(maxsize=4)
def load_builtins(folder: Path = FOLDER) -> tuple[BuiltIn, ...]:
    """Every shipped mapping. Raises IntegrityError that names a file that cannot be read."""
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> BuiltIn:
    try:
        given = _safe_yaml(path.read_text(encoding="utf-8"))
        about = given.pop("builtin", None) or {}
        aliases = {name_key(str(alias)): str(name) for alias, name in (about.get("aliases") or {}).items()}
        stands_in = {each["source_field"]: _stand_in(each) for each in about.get("stands_in") or ()}
        return BuiltIn(Mapping.model_validate(given), str(about.get("source", "")), aliases, stands_in)
    except (yaml.YAMLError, ValidationError, KeyError, AttributeError, TypeError) as error:
        raise IntegrityError(
            f"The built-in mapping {path.name} cannot be read.",
            str(error)[:300],
            "Restore it from the release.",
        ) from None


def _safe_yaml(text: str) -> dict[str, Any]:
    """Plain data of a YAML text. The safe loader in C does what `yaml.safe_load` does, ten times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        data: dict[str, Any] = loader.get_single_data()
    finally:
        loader.dispose()
    return data


def _stand_in(entry: dict[str, Any]) -> tuple[str, Transform | None]:
    transform = entry.get("transform")
    return str(entry["instead_of"]), Transform.model_validate(transform) if transform else None


def without_network(builtins: Sequence[BuiltIn], network: str) -> tuple[BuiltIn, ...]:
    """The shipped mappings of other networks: for judging how well unknown reports are read."""
    return tuple(each for each in builtins if not same_network(each.mapping.network, network))


def same_network(left: str, right: str) -> bool:
    """Whether two names of networks share a word of their own: «amazon_ads» and «Amazon Marketing Stream»."""
    if not left or not right:
        return False
    own = [{word for word in split_name(name) if word not in _PLAIN_WORDS} for name in (left, right)]
    if name_key(left) == name_key(right) or own[0] & own[1]:
        return True
    return bool(own[0] and own[1]) and ("".join(sorted(own[0])) == "".join(sorted(own[1])))


def recognise(
    names: Sequence[str], card: SourceCard | None, builtins: Sequence[BuiltIn]
) -> Recognised | None:
    """The shipped report that these columns are, or None."""
    network = f"{card.network} {card.retailer}" if card else ""
    named = bool(card and card.network.strip())
    telling = _telling(builtins)
    best: tuple[float, Recognised] | None = None
    for builtin in builtins:
        home = same_network(builtin.mapping.network, network)
        if named and not home:
            continue
        rules = builtin.rules_for(names)
        share = len(rules) / max(1, len(names))
        proofs = sum(1 for name in rules if telling.get(name_key(name), 9) <= 1)
        enough = (share >= KNOWN_SHARE and proofs >= min(TELLING, len(names) // 3)) if home else False
        enough = enough or (home and share >= NAMED_SHARE)
        enough = enough or (share >= UNNAMED_SHARE and proofs >= UNNAMED_TELLING)
        score = share + 0.1 * _report_likeness(builtin.mapping, card) + 0.02 * home
        if enough and (best is None or score > best[0]):
            best = (score, Recognised(builtin, rules, share))
    return best[1] if best else None


def builtin_memory(builtins: Sequence[BuiltIn]) -> Memory:
    """What the shipped reports say of names: one vote for each network, however many of its reports say so."""
    votes: dict[tuple[str, str, str], ConfirmedRule] = {}
    for builtin in builtins:
        family = _family(builtin.mapping.network)
        for rule in builtin.mapping.rules:
            key = (family, name_key(rule.source_field), rule.target or "")
            votes.setdefault(key, ConfirmedRule(builtin.mapping.network, rule.source_field, rule))
    return Memory(tuple(votes.values()))


def _telling(builtins: Sequence[BuiltIn]) -> dict[str, int]:
    """Column name (as a key) → how many networks use it."""
    networks: dict[str, set[str]] = defaultdict(set)
    for builtin in builtins:
        for rule in builtin.mapping.rules:
            networks[name_key(rule.source_field)].add(_family(builtin.mapping.network))
        for alias in builtin.aliases:
            networks[alias].add(_family(builtin.mapping.network))
    return {name: len(found) for name, found in networks.items()}


@lru_cache(maxsize=256)
def _family(network: str) -> str:
    own = [word for word in split_name(network) if word not in _PLAIN_WORDS]
    return own[0] if own else network


def _report_likeness(mapping: Mapping, card: SourceCard | None) -> float:
    if card is None or not card.report:
        return 0.0
    said = set(split_name(f"{card.network} {card.report}"))
    own = set(split_name(f"{mapping.network} {re.sub('[0-9]', '', mapping.report)}"))
    return len(said & own) / max(1, len(own))
