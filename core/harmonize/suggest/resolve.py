"""One decision for all columns together: one time, no two columns in one measure, repeats and splits left out."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.harmonize.suggest.evidence import NOTHING, Evidence
from core.harmonize.suggest.lexicon import NO_PLACE
from core.harmonize.suggest.relations import Relations
from core.rmis.facts import FactGroup, FactType, fact_column

#: A column whose name is a target's own name repeats it, rather than meaning another.
REPEATS = 4.3
#: Columns that are this sure of the same target take it in the order of the file.
CLAIM = 5.5


@dataclass(slots=True)
class Decision:
    """What a column is. `repeat`: left out although its target is known; `forced`: its best target was taken.

    `blocked`: targets that other columns had taken.
    """

    evidence: Evidence
    target: str
    points: float
    repeat: bool = False
    forced: bool = False
    because: str = ""
    blocked: frozenset[str] = frozenset()

    @property
    def known(self) -> bool:
        """Whether anything spoke for the target more than nothing does."""
        return self.points > NOTHING


def decide(columns: Sequence[Evidence], relations: Relations) -> list[Decision]:
    """Targets for all columns, in the columns' order."""
    order = {each.name: index for index, each in enumerate(columns)}
    _prefer_the_finer_time(columns)
    made: dict[str, Decision] = {}
    taken: dict[str, Evidence] = {}
    waiting = sorted(columns, key=lambda each: (_stands_back(each), -_claim(each), order[each.name]))
    for each in waiting:
        decision = _decide_one(each, taken, relations)
        made[each.name] = decision
        if _is_single(decision.target) and not decision.repeat:
            taken[decision.target] = each
    return [made[each.name] for each in columns]


def _claim(each: Evidence) -> float:
    """How strongly a column claims its best target: its points, rounded so that the file's order settles ties."""
    target, points = each.best()
    return round(points, 1) if target == "ts" else min(round(points, 1), CLAIM)


def _stands_back(each: Evidence) -> bool:
    """Whether the documentation calls a column a repeat: it fills a target only where the first is missing."""
    return each.rule is not None and each.rule.target is not None and each.rule.dropped


def _is_single(target: str) -> bool:
    """Whether one column alone may fill a target. Outcomes repeat under other terms; what is left out may repeat."""
    fact = fact_column(target) if target else None
    return fact is not None and fact.group not in (FactGroup.OUTCOME, FactGroup.DERIVED)


def _decide_one(each: Evidence, taken: dict[str, Evidence], relations: Relations) -> Decision:
    best, most = each.best()
    if best not in taken:
        return Decision(each, best, most)
    holder = taken[best]
    part = next(
        (t for t, points in each.ranked() if t.startswith("cost_component.") and points > NOTHING), None
    )
    if best == "cost" and part is not None and part not in taken:
        return Decision(each, part, each.points[part], forced=True, blocked=frozenset(taken))
    if _repeats(each, holder, best, most, relations):
        return Decision(each, best, most, repeat=True, because=f"«{holder.name}» is the same")
    for target, points in each.ranked()[1:]:
        if points > NOTHING and target not in taken:
            return Decision(each, target, points, forced=True, blocked=frozenset(taken))
    return Decision(
        each, NO_PLACE, max(NOTHING + 1.0, most - 2.0), forced=True, because=f"«{holder.name}» is the {best}"
    )


def _repeats(each: Evidence, holder: Evidence, target: str, points: float, relations: Relations) -> bool:
    """Whether a column says again what another says: equal values, or another unit or split of the same measure."""
    first = relations.twins.get(each.name, each.name)
    if first == relations.twins.get(holder.name, holder.name):
        return True
    fact = fact_column(target)
    measure = fact is not None and fact.dtype in (FactType.INTEGER, FactType.NUMBER)
    return measure and target != "position" and points >= REPEATS


def _prefer_the_finer_time(columns: Sequence[Evidence]) -> None:
    """Of several times the finest is when it happened; a day beside it is the local day."""
    times = [
        each for each in columns if each.column.time is not None and each.points.get("ts", 0.0) >= REPEATS
    ]
    finer = any(each.column.time and each.column.time.grain in ("event", "hour") for each in times)
    for each in times:
        grain = each.column.time.grain if each.column.time else ""
        each.add("ts", {"event": 0.8, "hour": 0.5, "day": 0.2}.get(grain, 0.0))
        if finer and grain == "day" and each.points.get("date_local", 0.0) > NOTHING:
            each.add("date_local", 4.0, "a day beside a finer time")
            each.add("ts", -1.0)


def groups_by_target(decisions: Sequence[Decision]) -> Iterator[tuple[str, list[Decision]]]:
    """Outcome columns that stay, by target."""
    found: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        fact = fact_column(decision.target) if decision.target else None
        if fact is not None and fact.group is FactGroup.OUTCOME and not decision.repeat:
            found[decision.target].append(decision)
    yield from found.items()
