"""How well the suggester reads reports of networks that it has never seen.

    python benchmarks/mapping_quality.py [--sets development locked] [--errors] [--fit]

The shapes are real column lists of public report documentation with invented values, gold targets, transforms and
qualifiers (tests/core/harmonize/shapes). Each network is judged with memory and calibration of the others only.
never_seen: the built-in mappings of the same network are switched off. never_seen_no_memory: and nothing is remembered.
as_installed: the built-in mappings are on and nothing is remembered, as for the first report of a new house.
Prints JSON: shares with 95 % Wilson intervals for the target, with the operation, with the qualifiers (exactly the
gold ones; and `agrees`: every gold one is there), the calibration error of the confidence over targets, abstentions,
derived or duplicate columns that would be summed, a fuzzy name matcher (difflib) on the same columns, and networks.

The development shapes were looked at while the vocabulary was written. Calibration therefore takes known words away
from a share of their names (`disguise`), so that it learns how sure to be where words are new. The locked shapes were
not looked at. The names of the documented reports of core/harmonize/builtin, without values, are fitted on as well.
"""

import argparse
import difflib
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.harmonize.records import Rule, SourceCard
from core.harmonize.suggest.builtin import BuiltIn, load_builtins, same_network, without_network
from core.harmonize.suggest.confidence import Features, expected_calibration_error, fit_weights
from core.harmonize.suggest.memory import ConfirmedRule, Memory
from core.harmonize.suggest.profile import ColumnProfile, profile_values
from core.harmonize.suggest.suggest import Suggestion, suggest
from core.rmis.facts import FACT_BY_NAME
from core.stats.proportions import wilson

SHAPES = Path(__file__).parents[1] / "tests" / "core" / "harmonize" / "shapes"
DISGUISED_SHARE, DISGUISES = 0.12, 2
#: Weights under which every decision is told, however weak.
NEVER_ABSTAIN = (9.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Shape:
    """One report: its card, the profiles of its columns, and the gold rule of each."""

    name: str
    card: SourceCard
    columns: tuple[ColumnProfile, ...]
    gold: tuple[Rule, ...]

    @property
    def network(self) -> str:
        return self.card.network


def read_shapes(folder: Path) -> list[Shape]:
    """All shapes of a folder, by name."""
    shapes = []
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        rules = tuple(
            Rule(**{key: column[key] for key in ("source_field", "target", "transform", "qualifiers")})
            for column in told["columns"]
        )
        columns = tuple(profile_values(each["source_field"], each["samples"]) for each in told["columns"])
        shapes.append(Shape(path.stem, SourceCard(**told["card"]), columns, rules))
    return shapes


def memory_of_others(shapes: Iterable[Shape], network: str) -> Memory:
    """What would be confirmed of all other networks."""
    others = [shape for shape in shapes if not same_network(shape.network, network)]
    return Memory(
        tuple(
            ConfirmedRule(shape.network, rule.source_field, rule) for shape in others for rule in shape.gold
        )
    )


def disguise(shape: Shape, seed: int) -> Shape:
    """The shape with a share of its names made unknown words, as a language never seen would be."""
    draw = random.Random(f"{shape.name}/{seed}")
    columns = [
        replace(column, name=f"{''.join(draw.choices('bcdfghklmnpqrtvwxz', k=5))}{index}")
        if draw.random() < DISGUISED_SHARE
        else column
        for index, column in enumerate(shape.columns)
    ]
    return replace(shape, columns=tuple(columns))


@dataclass(frozen=True)
class Example:
    """One decision with what spoke for it, and whether it was right: what the confidence is fitted on."""

    network: str
    features: Features
    right: bool


def examples(shapes: Sequence[Shape], builtins: Sequence[BuiltIn]) -> list[Example]:
    """Decisions on disguised shapes, and on the names alone of documented reports; each without its own network."""
    found = []
    for shape in shapes:
        for seed in range(DISGUISES):
            made = judge(
                disguise(shape, seed), shapes, without_network(builtins, shape.network), NEVER_ABSTAIN
            )
            found += _examples(shape.network, made, shape.gold)
    for builtin in builtins:
        mapping = builtin.mapping
        gold = tuple({rule.source_field: rule for rule in mapping.rules}.values())
        columns = [profile_values(rule.source_field, []) for rule in gold]
        card = SourceCard(network=mapping.network, report=mapping.report)
        others = without_network(builtins, mapping.network)
        made = suggest(columns, card=card, builtins=others, weights=NEVER_ABSTAIN)
        # A network with twenty reports of the same columns is one network.
        found += list(dict.fromkeys(_examples(mapping.network, made, gold)))
    return found


def _examples(network: str, made: Sequence[Suggestion], gold: Sequence[Rule]) -> list[Example]:
    return [
        Example(network, each.features, each.target == rule.target)
        for each, rule in zip(made, gold, strict=True)
        if not each.abstained
    ]


def calibrate(found: Iterable[Example], without: str = "") -> tuple[float, ...]:
    """Weights of the confidence, fitted on all networks but one."""
    kept = [each for each in found if not same_network(each.network, without)]
    return fit_weights([each.features for each in kept], [each.right for each in kept])


def judge(
    shape: Shape, shapes: Sequence[Shape], builtins: Sequence[BuiltIn], weights: Sequence[float]
) -> list[Suggestion]:
    """Suggestions for a shape with what `shapes` confirm of other networks; with an empty memory where there are none."""
    memory = memory_of_others(shapes, shape.network)
    return suggest(shape.columns, card=shape.card, memory=memory, builtins=builtins, weights=weights)


def fuzzy_target(name: str) -> str | None:
    """The RMIS column whose name looks most like this one: the baseline."""
    plain = "".join(sign if sign.isalnum() else "_" for sign in name.casefold())
    return max(FACT_BY_NAME, key=lambda target: difflib.SequenceMatcher(None, plain, target).ratio())


def score(shapes: Sequence[Shape], made: dict[str, list[Suggestion]]) -> dict[str, Any]:
    """Figures over all columns of some shapes."""
    pairs = [pair for shape in shapes for pair in zip(made[shape.name], shape.gold, strict=True)]
    target = [got.target == gold.target for got, gold in pairs]
    with_op = [
        ok and got.transform["op"] == gold.transform.op for ok, (got, gold) in zip(target, pairs, strict=True)
    ]
    exact = [ok and got.qualifiers == gold.qualifiers for ok, (got, gold) in zip(with_op, pairs, strict=True)]
    agrees = [ok and agree(got, gold) for ok, (got, gold) in zip(with_op, pairs, strict=True)]
    left_out = [(got, gold) for got, gold in pairs if gold.dropped and gold.target is not None]
    return {
        "reports": len(shapes),
        "columns": len(pairs),
        "target": share(target),
        "with_transform": share(with_op),
        "with_qualifiers": share(exact),
        "with_qualifiers_agrees": share(agrees),
        "calibration_error": round(
            expected_calibration_error([got.confidence for got, _ in pairs], target), 4
        ),
        "abstained": share([got.abstained for got, _ in pairs]),
        "derived_or_duplicate_summed": f"{sum(is_summed(got) for got, _ in left_out)} of {len(left_out)}",
    }


def agree(got: Suggestion, gold: Rule) -> bool:
    """Whether every gold qualifier is suggested; more of them are allowed."""
    return all(got.qualifiers.get(name) == value for name, value in gold.qualifiers.items())


def is_summed(got: Suggestion) -> bool:
    """Whether a column that must be left out would go into a measure."""
    return got.target is not None and got.transform["op"] != "drop"


def share(flags: Sequence[bool]) -> dict[str, float]:
    interval = wilson(sum(flags), len(flags))
    return {"share": round(interval.value, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}


def by_network(shapes: Sequence[Shape], made: dict[str, list[Suggestion]]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Shape]] = defaultdict(list)
    for shape in shapes:
        groups[shape.network].append(shape)
    table = {}
    for network, group in sorted(groups.items()):
        figures = score(group, made)
        table[network] = {
            "columns": figures["columns"],
            **{key: figures[key]["share"] for key in ("target", "with_transform", "with_qualifiers")},
        }
    return table


def errors(shapes: Sequence[Shape], made: dict[str, list[Suggestion]]) -> list[dict[str, Any]]:
    return [
        {
            "shape": shape.name,
            "source_field": gold.source_field,
            "gold": [gold.target, gold.transform.op, gold.qualifiers],
            "suggested": [got.target, got.transform["op"], got.qualifiers],
            "confidence": got.confidence,
            "reason": got.reason,
        }
        for shape in shapes
        for got, gold in zip(made[shape.name], shape.gold, strict=True)
        if (got.target, got.transform["op"], got.qualifiers)
        != (gold.target, gold.transform.op, gold.qualifiers)
    ]


def run_set(
    name: str, sets: dict[str, list[Shape]], builtins: Sequence[BuiltIn], fitted_on: Sequence[Example]
) -> dict[str, Any]:
    """Both modes and the baseline for one set of shapes."""
    shapes, everything = sets[name], [shape for group in sets.values() for shape in group]
    weights = {}
    for shape in shapes:
        if shape.network not in weights:
            weights[shape.network] = calibrate(fitted_on, shape.network)
    never, bare, installed = {}, {}, {}
    for shape in shapes:
        own = weights[shape.network]
        never[shape.name] = judge(shape, everything, without_network(builtins, shape.network), own)
        bare[shape.name] = judge(shape, (), without_network(builtins, shape.network), own)
        installed[shape.name] = judge(shape, (), builtins, own)
    baseline = [fuzzy_target(rule.source_field) == rule.target for shape in shapes for rule in shape.gold]
    figures = {
        "never_seen": score(shapes, never),
        "never_seen_no_memory": score(shapes, bare),
        "as_installed": score(shapes, installed),
        "fuzzy_names_target": share(baseline),
        "networks": by_network(shapes, never),
    }
    return figures | ({"errors": errors(shapes, never)} if name == "development" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sets", nargs="+", default=["development", "locked"], choices=["development", "locked"]
    )
    parser.add_argument(
        "--errors", action="store_true", help="list the errors, of the development shapes only"
    )
    parser.add_argument("--fit", action="store_true", help="print the weights that confidence.py ships")
    args = parser.parse_args()
    started = time.perf_counter()
    sets = {name: read_shapes(SHAPES / name) for name in {"development", *args.sets}}
    builtins = load_builtins()
    fitted_on = examples(sets["development"], builtins)
    if args.fit:
        print(json.dumps({"weights": calibrate(fitted_on), "decisions": len(fitted_on)}))
        return
    figures = {name: run_set(name, sets, builtins, fitted_on) for name in args.sets}
    if not args.errors:
        for each in figures.values():
            each.pop("errors", None)
    print(
        json.dumps(
            {**figures, "seconds": round(time.perf_counter() - started, 1)}, indent=2, ensure_ascii=False
        )
    )


if __name__ == "__main__":
    main()
