"""Mapping files and source cards: read, written, compared. YAML and JSON say the same."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import InvalidInputError
from core.harmonize.records import Mapping, Rule, SourceCard
from core.storage.files import write_atomically

Kind = Literal["yaml", "json"]
Spec = TypeVar("Spec", bound=BaseModel)

#: Bounds of what is read: a mapping of 5,000 rules has about 1 MB and lies five levels deep.
LONGEST_FILE = 8 << 20
DEEPEST = 24
MOST_NODES = 400_000

#: What a file may say beside the mapping: where it comes from, in words.
REASONS = frozenset({"confidence", "reason", "abstained", "alternatives"})
OTHER_KEYS = frozenset({"builtin", "source", "title", "description", "note"})


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule that differs between two mappings; `before` is None for a new one, `after` for a removed one."""

    source_field: str
    before: Rule | None
    after: Rule | None


def read_mapping(path: Path) -> Mapping:
    """The mapping of a YAML or JSON file. Raises InvalidInputError that names the place of the fault."""
    return parse_mapping(_text_of(path), kind_of(path), name=path.name)


def parse_mapping(text: str, kind: Kind = "yaml", *, name: str = "mapping") -> Mapping:
    """The mapping that a text says; a bare list is its rules, also one of suggestions. Raises InvalidInputError."""
    document = _document(text, kind, name)
    if isinstance(document, list):
        document = {"rules": [_without_reasons(rule) for rule in document]}
    if not isinstance(document, dict) or "rules" not in document:
        raise InvalidInputError(
            f"{name} is not a mapping.",
            "A mapping is an object with rules.",
            "Write it as in RMIS §3: retailer, network, report, version, rules.",
        )
    known = {key: value for key, value in document.items() if key in Mapping.model_fields}
    _refuse_unknown(document, known.keys() | OTHER_KEYS, name)
    return _validated(Mapping, known, name)


def _without_reasons(rule: Any) -> Any:
    """A rule of a list of suggestions, as `mapping suggest --json` prints it, is the rule without its reasons."""
    if not isinstance(rule, dict):
        return rule
    return {key: value for key, value in rule.items() if key not in REASONS}


def read_card(path: Path) -> SourceCard:
    """The source card of a YAML or JSON file; what it says beyond a card is passed over. Raises InvalidInputError."""
    document = _document(_text_of(path), kind_of(path), path.name)
    if not isinstance(document, dict):
        raise InvalidInputError(
            f"{path.name} is not a source card.",
            "A card is an object of names and values.",
            "It may say retailer, network, report, account_timezone, currency and headline.",
        )
    given = {key: value for key, value in document.items() if value is not None}
    return _validated(SourceCard, given, path.name)


def card_of(mapping: Mapping, card: SourceCard | None) -> SourceCard:
    """What is known of the source: the card where it says something, else the mapping."""
    told = mapping.card()
    if card is None:
        return told
    said = {name: getattr(card, name) for name in card.model_fields_set}
    return told.model_copy(update={name: value for name, value in said.items() if value not in (None, "")})


def write_mapping(mapping: Mapping, path: Path) -> None:
    """Write it as YAML or, where the name ends with .json, as JSON: wholly or not at all."""
    write_atomically(path, mapping_text(mapping, kind_of(path)).encode())


def mapping_text(mapping: Mapping, kind: Kind = "yaml") -> str:
    """The mapping as it stands in a file; equal mappings give equal text."""
    if kind == "json":
        return json.dumps(mapping.plain(), ensure_ascii=False, indent=2) + "\n"
    text: str = yaml.safe_dump(mapping.plain(), allow_unicode=True, sort_keys=False, width=1000)
    return text


def mapping_digest(mapping: Mapping) -> str:
    """Hex SHA-256 of all that the mapping does: everything but its version and the order of names."""
    plain = {key: value for key, value in mapping.plain().items() if key != "version"}
    canonical = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def mapping_label(mapping: Mapping) -> str:
    """How the lineage of a row names its mapping: `retailer/report@version digest`."""
    title = "/".join(part for part in (mapping.retailer or mapping.network, mapping.report) if part)
    return f"{title or 'mapping'}@{mapping.version} {mapping_digest(mapping)[:12]}"


def diff_mappings(old: Mapping, new: Mapping) -> list[RuleChange]:
    """Rules that were added, removed or changed, in the order of the new mapping, removed ones last."""
    before, after = _by_place(old), _by_place(new)
    changes = [
        RuleChange(place[0], before.get(place), rule)
        for place, rule in after.items()
        if before.get(place) != rule
    ]
    removed = [RuleChange(place[0], rule, None) for place, rule in before.items() if place not in after]
    return changes + removed


def kind_of(path: Path) -> Kind:
    return "json" if path.suffix.lower() == ".json" else "yaml"


def _by_place(mapping: Mapping) -> dict[tuple[str, int], Rule]:
    """Rules by source field and by their place among the rules of that field."""
    placed: dict[tuple[str, int], Rule] = {}
    seen: dict[str, int] = {}
    for rule in mapping.rules:
        ordinal = seen.get(rule.source_field, 0)
        seen[rule.source_field] = ordinal + 1
        placed[rule.source_field, ordinal] = rule
    return placed


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(f"{path.name} cannot be read.", f"{reason}.", "Check its path.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path.name} is not text in UTF-8.", f"Byte {error.start + 1} does not fit.", "Save it as UTF-8."
        ) from None


def _document(text: str, kind: Kind, name: str) -> Any:
    if len(text) > LONGEST_FILE:
        raise InvalidInputError(
            f"{name} is too long.", f"More than {LONGEST_FILE >> 20} MB are not read.", "Split it up."
        )
    return _json(text, name) if kind == "json" else _yaml(text, name)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _unreadable(name, "JSON", f"{error.msg} at {place}") from None
    except RecursionError:
        raise _unreadable(name, "JSON", "it is nested too deep") from None


def _yaml(text: str, name: str) -> Any:
    """Bounded before anything is built: a few aliases of aliases would unfold to gigabytes."""
    try:
        depth = 0
        for nodes, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise _unreadable(name, "YAML", f"an alias (*{event.anchor}) is not taken")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST or nodes > MOST_NODES:
                raise _unreadable(name, "YAML", "it is nested too deep or has too many parts")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _unreadable(name, "YAML", f"{error.problem or error.context}{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _unreadable(name, "YAML", str(error).splitlines()[0]) from None


def _validated(spec: type[Spec], given: Any, name: str) -> Spec:
    try:
        return spec.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        reason = str(first["msg"]).removeprefix("Value error, ")
        more = f" ({error.error_count() - 1} more faults follow)" if error.error_count() > 1 else ""
        raise InvalidInputError(
            f"{name} is not valid at {place}.", f"{reason}{more}.", "Correct that place and try again."
        ) from None


def _refuse_unknown(document: dict[Any, Any], known: set[str], name: str) -> None:
    if unknown := sorted(str(key) for key in document if key not in known):
        raise InvalidInputError(
            f"{name} says something that no mapping says: {', '.join(unknown[:5])[:200]}.",
            f"A mapping has {', '.join(Mapping.model_fields)}.",
            "Remove or rename it.",
        )


def _unreadable(name: str, kind: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name} cannot be read as {kind}.", f"{reason}.", "Correct that place and try again."
    )
