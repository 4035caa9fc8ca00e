"""Propose for every column of a report its target, transform and qualifiers, with a confidence and a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from core.harmonize.records import Rule, SourceCard, Transform
from core.harmonize.suggest import qualifiers as terms_of
from core.harmonize.suggest.builtin import BuiltIn, builtin_memory, load_builtins, recognise
from core.harmonize.suggest.confidence import ABSTAIN_BELOW, NOT_SAID, WEIGHTS, Features, confidence
from core.harmonize.suggest.context import weigh_context
from core.harmonize.suggest.evidence import NOTHING, Evidence, Voice, VoiceOpinion, gather
from core.harmonize.suggest.lexicon import NO_PLACE
from core.harmonize.suggest.memory import Memory, MemoryIndex
from core.harmonize.suggest.profile import ColumnProfile
from core.harmonize.suggest.qualifiers import Terms
from core.harmonize.suggest.questions import ASKED_AT_MOST, question_of
from core.harmonize.suggest.relations import find_relations
from core.harmonize.suggest.resolve import Decision, decide, groups_by_target
from core.harmonize.suggest.transforms import Setting, choose_transform
from core.harmonize.suggest.units import Unit, find_units
from core.rmis.facts import FactGroup, fact_column
from core.rmis.vocabularies import TransformOp

#: How much the shipped reports of other networks count beside the memory of the house.
BUILTIN_VOTE = 0.45
_NO_DOCUMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a column probably is. `target` None with «drop»: no place in RMIS; with «none»: nothing is suggested.

    `confidence`: share of such suggestions that are right. `alternatives`: other targets with their chances.
    `question`: what the file does not tell and a person must say before this rule can be trusted; else nothing.
    """

    source_field: str
    target: str | None
    transform: dict[str, Any]
    qualifiers: dict[str, Any]
    confidence: float
    reason: str
    abstained: bool = False
    alternatives: tuple[tuple[str | None, float], ...] = ()
    features: Features = field(default=Features(0.0, 0.0), compare=False, repr=False)
    question: str = ""

    def plain(self) -> dict[str, Any]:
        """As `mapping suggest --json` prints it."""
        return {
            "source_field": self.source_field,
            "target": self.target,
            "transform": self.transform,
            "qualifiers": self.qualifiers,
            "confidence": self.confidence,
            "reason": self.reason,
            "abstained": self.abstained,
            "question": self.question or None,
            "alternatives": [
                {"target": target, "confidence": chance} for target, chance in self.alternatives
            ],
        }


def suggest(
    columns: Sequence[ColumnProfile],
    *,
    card: SourceCard | None = None,
    documents: Mapping[str, str] = _NO_DOCUMENTS,
    memory: Memory | None = None,
    voices: Sequence[Voice] = (),
    builtins: Sequence[BuiltIn] | None = None,
    weights: Sequence[float] = WEIGHTS,
) -> list[Suggestion]:
    """One suggestion for each column, in their order.

    `documents`: column → description. `builtins`: None for all that are shipped. The answer is the same for the
    same input; nothing is read but the shipped vocabulary and mappings.
    """
    shipped = load_builtins() if builtins is None else tuple(builtins)
    recognised = recognise([column.name for column in columns], card, shipped)
    network = card.network if card else ""
    memories = [(MemoryIndex(builtin_memory(shipped), ""), BUILTIN_VOTE, "other networks name it so")]
    if memory is not None and memory.entries:
        memories.insert(0, (MemoryIndex(memory, network), 1.0, "it was confirmed so before"))
    evidence = gather(
        columns,
        documents=documents,
        memories=memories,
        rules=recognised.rules if recognised else {},
        opinions=[voice(columns, card) for voice in voices],
    )
    relations = find_relations(columns)
    weigh_context(evidence, relations)
    decisions = decide(evidence, relations)
    terms = _terms(decisions, card)
    setting = _setting(decisions, card)
    return [
        _suggestion(decision, terms.get(decision.evidence.name, {}), setting, weights)
        for decision in decisions
    ]


def to_rules(suggestions: Sequence[Suggestion]) -> tuple[Rule, ...]:
    """The suggestions as rules of a mapping; where nothing is suggested the column is left out."""
    return tuple(
        Rule(
            source_field=each.source_field,
            target=each.target,
            transform=Transform(op=TransformOp.DROP) if each.abstained else Transform(**each.transform),
            qualifiers=each.qualifiers,
        )
        for each in suggestions
    )


def opinion_of(told: Mapping[str, Any], sure: float) -> VoiceOpinion | None:
    """A voice's answer as data ({target, transform, qualifiers}), checked; None where it is no RMIS rule."""
    try:
        rule = Rule.model_validate({**told, "source_field": "x"})
    except ValidationError:
        return None
    return VoiceOpinion(rule.target, rule.transform, rule.qualifiers, sure)


def _setting(decisions: Sequence[Decision], card: SourceCard | None) -> Setting:
    targets = {each.evidence.name: each.target for each in decisions if each.known}
    units: dict[str, Unit] = find_units(
        [each.evidence for each in decisions], targets, card.currency if card else None
    )
    stream = "dedup_key" in targets.values() and "event_type" not in targets.values()
    corrected = any(
        "negative" in each.evidence.column.marks
        for each in decisions
        if (fact := fact_column(each.target or "?"))
        and fact.group in (FactGroup.DELIVERY, FactGroup.MONEY, FactGroup.OUTCOME)
    )
    told = card is not None and "account_timezone" in card.model_fields_set
    own = "account_timezone" in targets.values()
    return Setting(
        card.account_timezone if card else "UTC", units, stream and corrected, zone_known=told or own
    )


def _terms(decisions: Sequence[Decision], card: SourceCard | None) -> dict[str, Terms]:
    """Qualifiers of every outcome column; repeats of the same number under the same terms become repeats."""
    headline, network = terms_of.terms_of_headline(card), terms_of.terms_of_network(card)
    terms: dict[str, Terms] = {}
    groups = list(groups_by_target(decisions))
    said = {
        target: {each.evidence.name: terms_of.terms_of_name(each.evidence.reading, target) for each in group}
        for target, group in groups
    }
    beside = [each for names in said.values() for each in names.values()]
    for target, group in groups:
        own = said[target]
        totals = [each.evidence.name for each in group if terms_of.says_total(each.evidence.reading)]
        concepts = {each.evidence.name: each.evidence.reading.concepts() for each in group}
        own = terms_of.split_by_shop(terms_of.widen_total(own, totals, beside), concepts)
        for each in group:
            name = each.evidence.name
            others = _other_terms(each.evidence, target)
            joined = terms_of.join_terms(own[name], [*others, headline, network])
            terms[name] = terms_of.both_windows(joined, network)
        _mark_repeats(group, terms)
        _leave_implied(group, terms, {name: {**headline, **own[name]} for name in own})
    for each in decisions:
        if each.target == "viewable_impressions":
            terms[each.evidence.name] = _viewability(each.evidence, card)
    return terms


def _leave_implied(group: Sequence[Decision], terms: dict[str, Terms], told: Mapping[str, Terms]) -> None:
    """Leave out what the documentation alone says and the target or the bare number implies.

    `told`: what the name and the card say. What a person confirmed stays, and what tells two columns apart.
    """
    for each in group:
        name = each.evidence.name
        if each.repeat or each.evidence.rule_from != "builtin":
            continue
        implied = terms_of.implied_terms(each.target, terms[name])
        if terms_of.says_total(each.evidence.reading):
            implied.discard("sku_scope")
        bare = {key: value for key, value in terms[name].items() if key not in implied or key in told[name]}
        others = [terms[other.evidence.name] for other in group if other is not each and not other.repeat]
        if bare not in others:
            terms[name] = bare


def _other_terms(each: Evidence, target: str) -> list[Terms]:
    found: list[Terms] = []
    if each.rule is not None and each.rule.target == target:
        found.append(dict(each.rule.qualifiers))
    if each.document is not None:
        found.append(dict(terms_of.terms_of_name(each.document, target).items()))
    return found


def _viewability(each: Evidence, card: SourceCard | None) -> Terms:
    words = {*each.reading.words, *(each.document.words if each.document else ())}
    for standard in ("mrc", "groupm"):
        if standard in words:
            return {"viewability_standard": standard}
    if each.rule is not None and "viewability_standard" in each.rule.qualifiers:
        return {"viewability_standard": each.rule.qualifiers["viewability_standard"]}
    amazon = card is not None and "amazon" in card.network.casefold()
    return {"viewability_standard": "mrc"} if amazon else {}


def _mark_repeats(group: Sequence[Decision], terms: Mapping[str, Terms]) -> None:
    """Of columns that say the same number under the same terms, one is kept: the one with most evidence."""
    kept: dict[tuple[tuple[str, str], ...], Decision] = {}
    for each in sorted(group, key=lambda each: -round(each.points, 1)):
        name = each.evidence.name
        key = tuple(sorted((key, str(value)) for key, value in terms[name].items()))
        first = kept.setdefault(key, each)
        if first is not each:
            each.repeat = True
            each.because = f"«{first.evidence.name}» is the same number under the same terms"


def _suggestion(decision: Decision, terms: Terms, setting: Setting, weights: Sequence[float]) -> Suggestion:
    each = decision.evidence
    features = _features(decision)
    sure = confidence(features, weights)
    if not decision.known or sure < ABSTAIN_BELOW:
        sure = round(min(sure, NOT_SAID), 3)
        return Suggestion(
            each.name,
            None,
            {"op": "none"},
            {},
            sure,
            _why_not(decision),
            True,
            _alternatives(decision, sure),
            features,
        )
    transform = (
        Transform(op=TransformOp.DROP)
        if decision.repeat
        else choose_transform(each, decision.target, setting)
    )
    question = question_of(each.column, transform, decision.target, zone_known=setting.zone_known)
    sure = round(min(sure, ASKED_AT_MOST) if question else sure, 3)
    return Suggestion(
        source_field=each.name,
        target=decision.target or None,
        transform=transform.plain(),
        qualifiers=terms if transform.op is not TransformOp.DROP else {},
        confidence=sure,
        reason=_why(decision, setting.units.get(each.name)),
        alternatives=_alternatives(decision, sure),
        features=features,
        question=question,
    )


def _features(decision: Decision) -> Features:
    taken = {decision.target, *decision.blocked}
    others = [points for target, points in decision.evidence.points.items() if target not in taken]
    second = max([NOTHING, *others])
    return Features(decision.points - second, decision.points, decision.target == NO_PLACE, decision.forced)


def _alternatives(decision: Decision, sure: float) -> tuple[tuple[str | None, float], ...]:
    """The two best other targets, each with the chance it would have before the chosen one, and never above its."""
    found = []
    for target, points in decision.evidence.ranked():
        if target != decision.target or not decision.known:
            chance = confidence(Features(points - decision.points, points, target == NO_PLACE))
            found.append((target or None, round(min(chance, sure), 3)))
    return tuple(found[:2])


def _why(decision: Decision, unit: Unit | None) -> str:
    said = sorted(decision.evidence.said.get(decision.target, []), reverse=True)
    parts = list(dict.fromkeys(because for _, because in said))[:2]
    if decision.because:
        parts = [*parts[:1], decision.because]
    elif unit is not None:
        parts = [*parts[:1], unit.because]
    what = f"It is {decision.target}" if decision.target else "RMIS has no place for it"
    return f"{what}: {' and '.join(parts)}." if parts else f"{what}."


def _why_not(decision: Decision) -> str:
    best = [target or "no place in RMIS" for target, _ in decision.evidence.ranked()[:2]]
    if not best:
        return "Nothing in its name or its values says what it is."
    return f"The evidence is too weak to choose; it could be {' or '.join(best)}."
