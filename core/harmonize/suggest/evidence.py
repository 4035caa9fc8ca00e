"""Evidence for and against each target of a column: points (natural logarithms of odds) with what speaks."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from core.harmonize.records import Rule, SourceCard, Transform
from core.harmonize.suggest.memory import MemoryIndex
from core.harmonize.suggest.names import NameReading, read_name
from core.harmonize.suggest.profile import ColumnProfile, ValueKind
from core.harmonize.suggest.values import value_candidates, value_points
from core.rmis.facts import FactGroup, fact_column

#: Points of a name that is exactly a target's name, and of a column of which nothing is known.
NAME, NOTHING = 6.0, 2.6
#: A name must say at least this much before it speaks at all.
LEAST_SCORE = 0.24
#: Value points that contradict a name, and the points of «no place» where a name is contradicted.
REFUTES, REFUTED = -2.8, 3.6
#: Concept of a list's name → the event that each of its items is.
EVENTS = MappingProxyType(
    {
        "impression": "impression",
        "click": "click",
        "purchase": "purchase",
        "order": "purchase",
        "conversion": "purchase",
        "atc": "add_to_cart",
    }
)
DOCUMENT, BUILTIN, VOICE = 3.2, 10.0, 3.0


@dataclass(frozen=True, slots=True)
class VoiceOpinion:
    """What another voice (the retailer adapter's model) thinks of a column. `confidence` lies in 0 … 1."""

    target: str | None
    transform: Transform | None = None
    qualifiers: Mapping[str, object] = field(default_factory=dict)
    confidence: float = 0.5


Voice = Callable[[Sequence[ColumnProfile], SourceCard | None], Mapping[str, VoiceOpinion]]


@dataclass(slots=True)
class Evidence:
    """Everything known of one column while a suggestion is made. The target "" stands for no place in RMIS.

    `rule`: a rule for this very column, confirmed earlier or documented, whose unit and qualifiers may be used.
    """

    column: ColumnProfile
    reading: NameReading
    document: NameReading | None = None
    points: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    said: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    rule: Rule | None = None
    rule_from: str = ""

    @property
    def name(self) -> str:
        return self.column.name

    def add(self, target: str, points: float, because: str = "") -> None:
        """Points for or against a target. Only what is said for it can be a reason."""
        self.points[target] += points
        if because and points > 0:
            self.said[target].append((points, because))

    def best(self) -> tuple[str, float]:
        """The target with most points."""
        if not self.points:
            return "", 0.0
        return max(self.points.items(), key=lambda each: each[1])

    def ranked(self) -> list[tuple[str, float]]:
        """Targets with their points, most first."""
        return sorted(self.points.items(), key=lambda each: -each[1])


def gather(
    columns: Sequence[ColumnProfile],
    *,
    documents: Mapping[str, str],
    memories: Sequence[tuple[MemoryIndex, float, str]],
    rules: Mapping[str, Rule],
    opinions: Sequence[Mapping[str, VoiceOpinion]],
) -> list[Evidence]:
    """Evidence of each column on its own: name, values, document, memory, documented rule, other voices."""
    found = []
    for column in columns:
        each = Evidence(column, read_name(column.name))
        _of_name(each)
        for target, points in value_candidates(column).items():
            each.add(target, max(0.0, points - each.points.get(target, 0.0)), "its values look like it")
        if _is_clock_part(each):
            each.add("", 5.0, "its values are only a part of a time")
        _of_document(each, documents.get(column.name, ""))
        for index, weight, where in memories:
            _of_memory(each, index, weight, where)
        if column.name in rules:
            rule = rules[column.name]
            each.add(rule.target or "", BUILTIN, "the report's public documentation says so")
            if each.rule is None:
                each.rule, each.rule_from = rule, "builtin"
        for opinion in opinions:
            _of_voice(each, opinion.get(column.name))
        _of_values(each)
        found.append(each)
    return found


def _of_values(each: Evidence) -> None:
    """Weigh every candidate by the values; a name that its values contradict is of something RMIS has no place for."""
    refuted = 0.0
    for target in list(each.points):
        fit = value_points(each.column, target)
        each.add(target, fit)
        fact = fact_column(target) if target else None
        if fit <= REFUTES and fact is not None and fact.group is not FactGroup.TIME:
            refuted = max(refuted, each.reading.score(target))
    if refuted >= 0.75:
        each.add(
            "",
            max(0.0, REFUTED * refuted - each.points.get("", 0.0)),
            "its values are not what its name says",
        )
    if each.column.kind is ValueKind.LIST and each.reading.concepts() & EVENTS.keys():
        each.add("event_type", 5.0, "it holds a list of events")


def _is_clock_part(each: Evidence) -> bool:
    """An hour, a week or a month as a small number, which alone is no time."""
    small = each.column.whole and each.column.time is None and each.column.high <= 2100
    if (
        small
        and each.reading.words[-1:]
        and each.reading.words[-1] in ("day", "weekday")
        and each.column.high <= 31
    ):
        return True
    return small and bool(each.reading.concepts() & {"hour", "week", "month"})


def _of_name(each: Evidence) -> None:
    for target, sense in each.reading.senses.items():
        if sense.score >= LEAST_SCORE:
            each.add(target, NAME * sense.score, f"«{sense.words}» in its name")


def _of_document(each: Evidence, text: str) -> None:
    """A description names more than the column: only its first words count, and less than the name."""
    if not text.strip():
        return
    first = text.strip().split("\n")[0].split(". ")[0][:160]
    each.document = read_name(first)
    senses = sorted(each.document.senses.items(), key=lambda item: -item[1].score)[:3]
    for rank, (target, sense) in enumerate(senses):
        share = min(1.0, sense.score * 1.6) / (1 + rank)
        if share > 0.3:
            each.add(target, DOCUMENT * share, f"«{sense.words}» in its description")


def _of_memory(each: Evidence, index: MemoryIndex, weight: float, where: str) -> None:
    recalled = index.recall(each.name)
    for target, points in recalled.points.items():
        each.add(target, weight * points, where)
    if recalled.rule is not None and each.rule is None:
        each.rule, each.rule_from = recalled.rule, "memory"


def _of_voice(each: Evidence, opinion: VoiceOpinion | None) -> None:
    if opinion is None:
        return
    sure = min(0.95, max(0.05, opinion.confidence))
    points = VOICE * math.log(sure / 0.05) / math.log(19)
    each.add(opinion.target or "", points, "another voice says so")
