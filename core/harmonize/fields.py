"""Where the rules of a mapping find their values: columns by name, and paths inside nested lists."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import InvalidInputError
from core.harmonize.records import Rule
from core.harmonize.row_shape import Items
from core.rmis.vocabularies import TransformOp


@dataclass(frozen=True)
class Field:
    """Where a rule finds its values: `name` in the frame, `column` of the source, `item` path inside a nested list."""

    name: str
    column: str
    item: str | None = None
    loosely: bool = False


class Names:
    """Columns of a source by name: as written, else without regard to case and spaces where that is one column."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = frozenset(columns)
        loose: dict[str, list[str]] = {}
        for column in columns:
            loose.setdefault(_loosely(column), []).append(column)
        self._loose = {key: found[0] for key, found in loose.items() if len(found) == 1}

    def find(self, name: str | None) -> str | None:
        if name is None or name in self._columns:
            return name
        return self._loose.get(_loosely(name))

    def prefix(self, name: str) -> str | None:
        """The longest column of which a dotted name is a part."""
        steps = name.split(".")
        heads = (".".join(steps[:length]) for length in range(len(steps) - 1, 0, -1))
        return next((found for head in heads if (found := self.find(head))), None)


def _loosely(name: str) -> str:
    return re.sub(r"\s+", " ", name.strip()).casefold()


def place_rules(rules: Iterable[Rule], names: Names) -> tuple[list[tuple[Rule, Field]], list[Rule]]:
    """Rules with their fields, and those whose field is not there."""
    all_rules = list(rules)
    lists = {
        column
        for rule in all_rules
        if rule.transform.op is TransformOp.EXPLODE
        and rule.transform.path is not None
        and (column := _list_column(rule, names))
    }
    placed: list[tuple[Rule, Field]] = []
    missing: list[Rule] = []
    for rule in all_rules:
        field = _field_of(rule, names, lists)
        if field is None:
            missing.append(rule)
        else:
            placed.append((rule, field))
    return placed, missing


def _bare_path(path: str) -> str:
    return re.sub(r"\[\*?\d*\]", "", path.strip().removeprefix("$.").removeprefix("$")).strip(".")


def _list_column(rule: Rule, names: Names) -> str | None:
    field, path = _bare_path(rule.source_field), _bare_path(rule.transform.path or "")
    found = names.find(rule.source_field) or names.find(field)
    return found or names.find(path) or names.prefix(field) or names.prefix(path)


def _field_of(rule: Rule, names: Names, lists: set[str]) -> Field | None:
    """A path of the list itself, of a part of its items, or of the whole document: all three are understood."""
    if rule.transform.op is TransformOp.EXPLODE and rule.transform.path is not None:
        column = _list_column(rule, names)
        if column is None:
            return None
        field, path = _bare_path(rule.source_field), _bare_path(rule.transform.path)
        item = field.removeprefix(column).strip(".") if field.startswith(f"{column}.") else path
        if item == column or item.startswith(f"{column}."):
            item = item.removeprefix(column).strip(".")
        return Field(f"{column}[].{item}", column, item)
    found = names.find(rule.source_field)
    if found is not None:
        return Field(found, found, loosely=found != rule.source_field)
    field = _bare_path(rule.source_field)
    head = names.prefix(field)
    if head in lists and head is not None:
        item = field[len(head) :].strip(".")
        return Field(f"{head}[].{item}", head, item)
    return None


def items_of(placed: Iterable[tuple[Rule, Field]]) -> Items | None:
    found: dict[str, dict[str, str]] = {}
    for _, field in placed:
        if field.item is not None:
            found.setdefault(field.column, {})[field.name] = field.item
    if len(found) > 1:
        raise InvalidInputError(
            f"The mapping makes rows of {len(found)} nested lists: {', '.join(found)[:200]}.",
            "Rows of one list times rows of another would count everything several times.",
            "Explode one list in a mapping, and write a second mapping for the other.",
        )
    return next((Items(column, fields) for column, fields in found.items()), None)
