"""A mapping while it is being made: one entry for each rule, what was suggested and what a person decided. No screen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from core.errors import InvalidInputError
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.suggest.suggest import Suggestion
from core.rmis.vocabularies import TransformOp

#: Suggestions that are at least this sure can be accepted all at once.
SURE = 0.9


class EntryState(StrEnum):
    """Whether a person has looked at a rule."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CHANGED = "changed"


class Show(StrEnum):
    """Which entries the editor lists."""

    ATTENTION = "Needs attention"
    ALL = "All"
    DROPPED = "Left out"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule with what is known of it. `confidence` is None where it was not suggested but made or loaded."""

    rule: Rule
    confidence: float | None = None
    reason: str = ""
    abstained: bool = False
    alternatives: tuple[tuple[str | None, float], ...] = ()
    state: EntryState = EntryState.OPEN

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look at it before the mapping is used."""
        return self.state is EntryState.OPEN and (self.abstained or (self.confidence or 0) < SURE)


@dataclass(frozen=True, slots=True)
class MappingDraft:
    """A mapping for one raw file. `digest` is that of the file; a draft of another content is not taken up again."""

    dataset_id: str
    digest: str
    name: str
    card: SourceCard
    entries: tuple[Entry, ...]

    def mapping(self) -> Mapping:
        """As it would be saved. Raises InvalidInputError where two rules stand in each other's way."""
        try:
            return Mapping(
                retailer=self.card.retailer,
                network=self.card.network,
                report=self.card.report,
                account_timezone=self.card.account_timezone,
                currency=self.card.currency,
                headline=self.card.headline,
                rules=tuple(entry.rule for entry in self.entries),
            )
        except ValidationError as error:
            raise InvalidInputError(
                "These rules do not go together.", first_reason(error), "Change or leave out one of them."
            ) from None

    def with_rule(self, number: int, rule: Rule) -> "MappingDraft":
        """The draft with another rule in that place, marked as changed by a person."""
        entry = replace(self.entries[number], rule=rule, state=EntryState.CHANGED, abstained=False)
        return self._with(number, entry)

    def accepted(self, number: int) -> "MappingDraft":
        """The draft with the suggestion in that place accepted as it stands."""
        entry = self.entries[number]
        if entry.state is EntryState.CHANGED:
            return self
        return self._with(number, replace(entry, state=EntryState.ACCEPTED))

    def all_sure_accepted(self, limit: float = SURE) -> "MappingDraft":
        """The draft with every suggestion of at least that confidence accepted."""
        kept = tuple(
            replace(entry, state=EntryState.ACCEPTED) if _sure(entry, limit) else entry
            for entry in self.entries
        )
        return replace(self, entries=kept)

    def with_copy(self, number: int) -> "MappingDraft":
        """Another rule for the same column, after the first: a column that holds two kinds of thing."""
        source_field = self.entries[number].rule.source_field
        rule = Rule(source_field=source_field, target=None, transform=Transform(op=TransformOp.DROP))
        added = Entry(rule, None, "Added by hand.", state=EntryState.CHANGED)
        return replace(self, entries=(*self.entries[: number + 1], added, *self.entries[number + 1 :]))

    def without(self, number: int) -> "MappingDraft":
        """The draft without that rule; the last rule of a column stays."""
        field = self.entries[number].rule.source_field
        if sum(entry.rule.source_field == field for entry in self.entries) < 2:
            return self
        return replace(self, entries=(*self.entries[:number], *self.entries[number + 1 :]))

    def shown(self, show: Show) -> list[int]:
        """Places of the entries that a filter lets through; among all, those that need attention come first."""
        match show:
            case Show.ATTENTION:
                return [n for n, entry in enumerate(self.entries) if entry.needs_attention]
            case Show.DROPPED:
                return [n for n, entry in enumerate(self.entries) if entry.rule.dropped]
            case _:
                return sorted(
                    range(len(self.entries)), key=lambda n: (not self.entries[n].needs_attention, n)
                )

    def decided(self) -> int:
        """How many entries need nobody's attention any more."""
        return sum(not entry.needs_attention for entry in self.entries)

    def sure_and_open(self) -> int:
        """How many suggestions `all_sure_accepted` would accept."""
        return sum(_sure(entry, SURE) for entry in self.entries)

    def _with(self, number: int, entry: Entry) -> "MappingDraft":
        return replace(self, entries=(*self.entries[:number], entry, *self.entries[number + 1 :]))


def draft_of_suggestions(
    suggestions: Sequence[Suggestion], *, dataset_id: str, digest: str, name: str, card: SourceCard
) -> MappingDraft:
    """A draft in which nobody has decided anything yet. Where nothing is suggested the column is left out."""
    entries = []
    for each in suggestions:
        transform = Transform(op=TransformOp.DROP) if each.abstained else Transform(**each.transform)
        rule = Rule(
            source_field=each.source_field,
            target=each.target,
            transform=transform,
            qualifiers=each.qualifiers,
        )
        reason = " ".join(part for part in (each.reason, each.question) if part)
        entries.append(Entry(rule, each.confidence, reason, each.abstained, each.alternatives))
    return MappingDraft(dataset_id, digest, name, card, tuple(entries))


def draft_of_mapping(
    mapping: Mapping, columns: Sequence[str], *, dataset_id: str, digest: str, name: str, card: SourceCard
) -> MappingDraft:
    """A draft of a saved mapping for a file: its rules in the order of the file, columns without a rule to decide."""
    entries: list[Entry] = []
    for column in columns:
        rules = [rule for rule in mapping.rules if rule.source_field == column]
        entries += [Entry(rule, None, "As saved.", state=EntryState.ACCEPTED) for rule in rules]
        if not rules:
            rule = Rule(source_field=column, target=None, transform=Transform(op=TransformOp.DROP))
            entries.append(
                Entry(rule, None, "The saved mapping says nothing of this column.", abstained=True)
            )
    entries += [
        Entry(rule, None, "The file has no such column.", state=EntryState.ACCEPTED)
        for rule in mapping.rules
        if rule.source_field not in columns
    ]
    return MappingDraft(dataset_id, digest, name, card, tuple(entries))


def to_text(draft: MappingDraft) -> str:
    """The draft as JSON, to be kept over a reload."""
    return json.dumps(
        {
            "dataset_id": draft.dataset_id,
            "digest": draft.digest,
            "name": draft.name,
            "card": draft.card.model_dump(mode="json", exclude_unset=True),
            "entries": [
                {
                    "rule": entry.rule.plain(),
                    "confidence": entry.confidence,
                    "reason": entry.reason,
                    "abstained": entry.abstained,
                    "alternatives": [list(pair) for pair in entry.alternatives],
                    "state": entry.state.value,
                }
                for entry in draft.entries
            ],
        }
    )


def from_text(text: str) -> MappingDraft | None:
    """The draft that was kept; None where the text is no such draft (an older form, a damaged file)."""
    try:
        told = json.loads(text)
        entries = tuple(_entry(each) for each in told["entries"])
        card = SourceCard.model_validate(told["card"])
        return MappingDraft(str(told["dataset_id"]), str(told["digest"]), str(told["name"]), card, entries)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def first_reason(error: ValidationError) -> str:
    """The first reason of a refusal, in words."""
    told = error.errors(include_url=False, include_context=False)[0]
    return str(told["msg"]).removeprefix("Value error, ") + "."


def _entry(told: dict[str, Any]) -> Entry:
    return Entry(
        Rule.model_validate(told["rule"]),
        None if told["confidence"] is None else float(told["confidence"]),
        str(told["reason"]),
        bool(told["abstained"]),
        tuple((target, float(chance)) for target, chance in told["alternatives"]),
        EntryState(told["state"]),
    )


def _sure(entry: Entry, limit: float) -> bool:
    return entry.state is EntryState.OPEN and not entry.abstained and (entry.confidence or 0) >= limit
