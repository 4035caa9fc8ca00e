"""From a mapping, its card and a source: which cell of which rule goes where. Nothing is read here but the schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.fields import Field, Names, items_of, place_rules
from core.harmonize.headline import HeadlinePlan, is_measure, split_headline
from core.harmonize.mapping_files import card_of
from core.harmonize.records import Mapping as RuleMapping
from core.harmonize.records import Qualifier, Rule, SourceCard
from core.harmonize.row_shape import Items, Part
from core.harmonize.source.records import LINE, Source
from core.harmonize.values.cells import Cell, column_of
from core.harmonize.values.transforms import cells_of, grain_of
from core.rmis.facts import FACT_COLUMNS
from core.rmis.vocabularies import TransformOp

#: Where a word stands in two closed lists, the column that comes first here is meant.
_WORD_COLUMNS = ("event_type", "channel", "placement_type", "device", "match_type", "cost_model", "grain")
_SEVERAL_ALLOWED = frozenset({TransformOp.EXPLODE, TransformOp.REGEX_SPLIT})


@dataclass(frozen=True)
class Slot:
    """A cell in the wide frame, in the column `name`. `field`: the source column it reads, of
    type `dtype`.

    `part`: the row it stands in, where a source row becomes several. `apart`: its group of qualifiers, where it is
    kept apart from the headline. `item`: it comes from a nested list.
    """

    cell: Cell
    name: str
    field: str
    dtype: pl.DataType
    part: int | None = None
    apart: int | None = None
    item: bool = False

    @property
    def target(self) -> str:
        return self.cell.target

    @property
    def measure(self) -> bool:
        return is_measure(self.cell.target)


@dataclass(frozen=True)
class Plan:
    """All that is done with a source. `missing` are rules whose column the source does not have."""

    card: SourceCard
    headline: HeadlinePlan
    slots: tuple[Slot, ...]
    constants: Mapping[str, str]
    parts: tuple[Part, ...]
    items: Items | None
    dedup_on: tuple[str, ...]
    sum_over: tuple[str, ...]
    apart_groups: tuple[Mapping[str, Qualifier], ...]
    missing: tuple[Rule, ...]
    covered: frozenset[str]
    renamed: tuple[tuple[str, str], ...]

    @property
    def qualifiers(self) -> Mapping[str, Qualifier]:
        """Of the headline: what `find_result_traps` asks for."""
        return self.headline.qualifiers

    @property
    def plain_rows(self) -> bool:
        """Whether every source row is one row of RMIS."""
        return not (self.parts or self.items or self.dedup_on or self.sum_over)


def make_plan(
    source: Source,
    mapping: RuleMapping,
    card: SourceCard | None = None,
    *,
    pseudonym_key: bytes | None = None,
) -> Plan:
    """Raises InvalidInputError for a mapping that cannot be applied to this source."""
    known = card_of(mapping, card)
    dtypes = dict(source.frame.collect_schema())
    dtypes.pop(LINE, None)
    names = Names(source.columns)
    placed, missing = place_rules(mapping.rules, names)
    if mapping.rules and not placed:
        raise InvalidInputError(
            f"The mapping fits no column of {source.name}.",
            f"The file has {', '.join(source.columns[:8])[:300]}.",
            "Choose the mapping of this report, or have one suggested.",
        )
    rules = [rule for rule, _ in placed]
    headline = split_headline(mapping.model_copy(update={"rules": tuple(rules)}), known)
    items = items_of(placed)
    for name in items.fields if items else ():
        dtypes[name] = pl.String()
    parts = _parts(placed)
    groups = _apart_groups(headline.apart)
    slots: list[Slot] = []
    for number, (rule, field) in enumerate(placed):
        if _is_left_out(rule):
            continue
        by_field = names.find(rule.transform.by_field) if rule.transform.by_field else None
        scaled = _with_factor(rule, by_field)
        for cell in cells_of(
            scaled, field.name, dtypes, known, pseudonym_key=pseudonym_key, name=f"__{number}"
        ):
            place = len(slots)
            part = _part_of(rule, parts)
            apart = _apart_of(rule, headline.apart, groups)
            slots.append(
                Slot(
                    replace(cell, rule=rule),
                    f"__v{place}",
                    field.name,
                    dtypes[field.name],
                    part,
                    apart,
                    field.item is not None,
                )
            )
    slots = _without_doubled(slots)
    _refuse_doubled(slots)
    return Plan(
        card=known,
        headline=headline,
        slots=tuple(slots),
        constants=_constants(known, slots, rules),
        parts=parts,
        items=items,
        dedup_on=_dedup(placed, names),
        sum_over=_sum_keys(placed, names, slots),
        apart_groups=tuple(groups),
        missing=tuple(missing),
        covered=frozenset(field.column for rule, field in placed if not _says_nothing(rule)),
        renamed=tuple((rule.source_field, field.name) for rule, field in placed if field.loosely),
    )


def _constants_of(rule: Rule) -> tuple[tuple[str, str], ...] | None:
    """RMIS columns and values that an explode rule gives its rows; None for other rules."""
    if rule.transform.op is not TransformOp.EXPLODE or rule.transform.const is None:
        return None
    const = rule.transform.const
    if isinstance(const, str):
        column = next((name for name in _WORD_COLUMNS if const in column_of(name).words), None)
        if column is None:
            raise InvalidInputError(
                f"«{const[:60]}» is no word of a closed list of RMIS.",
                f"A single constant is one of {', '.join(_WORD_COLUMNS)}.",
                "Name the column too: {channel: online}.",
            )
        return ((column, const),)
    for name, value in const.items():
        words = column_of(name).words
        if words and value not in words:
            raise InvalidInputError(
                f"«{value[:60]}» is no {name}.", f"There are {', '.join(words)}.", "Correct const."
            )
    return tuple(sorted(const.items()))


def _parts(placed: Iterable[tuple[Rule, Field]]) -> tuple[Part, ...]:
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for rule, field in placed:
        constants = _constants_of(rule)
        if constants is not None:
            found.setdefault(constants, []).append(field.name)
    return tuple(Part(dict(constants), tuple(sources)) for constants, sources in found.items())


def _part_of(rule: Rule, parts: Sequence[Part]) -> int | None:
    constants = _constants_of(rule)
    if constants is None:
        return None
    return next(place for place, part in enumerate(parts) if part.constants == dict(constants))


def _apart_groups(apart: Iterable[Rule]) -> list[dict[str, Qualifier]]:
    """Sets of qualifiers of what is kept apart; a target comes once in each."""
    groups: list[tuple[dict[str, Qualifier], set[str]]] = []
    for rule in apart:
        said = _said(rule)
        target = rule.target or ""
        place = next((group for group in groups if group[0] == said and target not in group[1]), None)
        if place is None:
            groups.append((said, {target}))
        else:
            place[1].add(target)
    return [said for said, _ in groups]


def _apart_of(rule: Rule, apart: Sequence[Rule], groups: Sequence[Mapping[str, Qualifier]]) -> int | None:
    if rule not in apart:
        return None
    said = _said(rule)
    equal = [place for place, group in enumerate(groups) if group == said]
    same = [other for other in apart if other.target == rule.target and _said(other) == said]
    return equal[same.index(rule)]


def _said(rule: Rule) -> dict[str, Qualifier]:
    """Qualifiers that say something."""
    return {name: value for name, value in rule.qualifiers.items() if value is not None}


def _is_left_out(rule: Rule) -> bool:
    if rule.transform.op is TransformOp.DROP:
        return True
    return rule.target is None and rule.transform.op is not TransformOp.REGEX_SPLIT


def _says_nothing(rule: Rule) -> bool:
    """A rule that neither fills a column nor says that its own is left out on purpose."""
    return rule.target is None and rule.transform.op is TransformOp.NONE


def _with_factor(rule: Rule, by_field: str | None) -> Rule:
    if by_field is None or by_field == rule.transform.by_field:
        return rule
    return rule.model_copy(update={"transform": rule.transform.model_copy(update={"by_field": by_field})})


def _without_doubled(slots: list[Slot]) -> list[Slot]:
    """What a time rule gives beside ts yields to a rule that gives it outright."""
    outright = {slot.target for slot in slots if slot.cell.rule.target == slot.target}
    derived = [
        slot for slot in slots if slot.target in ("date_local", "grain") and slot.cell.rule.target == "ts"
    ]
    return [slot for slot in slots if slot not in derived or slot.target not in outright]


def _refuse_doubled(slots: Iterable[Slot]) -> None:
    """Two rules for one column: which value is meant cannot be guessed."""
    first: dict[str, Slot] = {}
    for slot in slots:
        if slot.apart is not None or slot.cell.rule.transform.op in _SEVERAL_ALLOWED:
            continue
        other = first.setdefault(slot.target, slot)
        if other is not slot and other.cell.rule is not slot.cell.rule:
            a, b = other.cell.rule.source_field, slot.cell.rule.source_field
            raise InvalidInputError(
                f"Two columns are to fill {slot.target}: «{a[:80]}» and «{b[:80]}».",
                "Only outcome numbers with different qualifiers can be kept apart.",
                "Drop one of the two.",
            )


def _constants(card: SourceCard, slots: Iterable[Slot], rules: Iterable[Rule]) -> dict[str, str]:
    """What the card says, where no rule gives it; rows of a report are of the event type aggregate."""
    given = {slot.target for slot in slots}
    told = {
        "retailer": card.retailer,
        "network": card.network,
        "currency": card.currency,
        "account_timezone": card.account_timezone,
    }
    grains = {grain_of(rule) for rule in rules if rule.target == "ts"}
    if grains & {"hour", "day", "aggregate"}:
        told["event_type"] = "aggregate"
    order = [column.name for column in FACT_COLUMNS]
    return {name: str(told[name]) for name in order if told.get(name) and name not in given}


def _dedup(placed: Iterable[tuple[Rule, Field]], names: Names) -> tuple[str, ...]:
    """Source columns whose repeats are dropped: named outright, by their target, or the rule's own."""
    rules = list(placed)
    by_target = {rule.target: field.column for rule, field in reversed(rules) if rule.target}
    found: dict[str, None] = {}
    for rule, field in rules:
        if rule.transform.op is TransformOp.DEDUP:
            on = rule.transform.on
            found[(names.find(on) or by_target.get(on) or field.column) if on else field.column] = None
    return tuple(found)


def _sum_keys(placed: Iterable[tuple[Rule, Field]], names: Names, slots: Sequence[Slot]) -> tuple[str, ...]:
    """RMIS columns over which corrections are summed; keys may be named by source or by target."""
    targets = {slot.field: slot.target for slot in reversed(slots) if not slot.measure}
    known = {slot.target for slot in slots}
    keys: dict[str, None] = {}
    for rule, _ in placed:
        key = rule.transform.key
        if rule.transform.op is not TransformOp.SUM_DELTA or not key:
            continue
        for name in [key] if isinstance(key, str) else key:
            target = name if name in known else targets.get(names.find(name) or "")
            if target is None:
                raise InvalidInputError(
                    f"Corrections of «{rule.source_field}» are to be summed over «{name[:60]}», which is no column.",
                    "A key is a source column that a rule maps, or the RMIS column itself.",
                    "Correct key.",
                )
            keys[target] = None
    return tuple(keys)
