"""What a stage's answer has to be: text, JSON, or JSON of a given schema.

A schema comes from a tenant and an answer from a model, so neither may fetch anything, keep a thread busy or end it:
references stay inside the schema and may not go in circles, and a pattern has a time limit.
"""

import json
from collections.abc import Iterator
from typing import Any

import regex  # type: ignore[import-untyped]  # comes with transformers; unlike re it has a time limit
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from core.compose.records import ContractKind, StageContract

MAX_SCHEMA_LETTERS = 50_000
MAX_SCHEMA_PARTS = 2_000  # with every reference written out
PATTERN_SECONDS = 0.1
_FOREIGN = ("$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor", "patternProperties")


def schema_problem(contract: StageContract) -> str | None:
    """Why this contract cannot be used, or None when it can."""
    if contract.json_schema is None:
        return None
    try:
        if len(json.dumps(contract.json_schema)) > MAX_SCHEMA_LETTERS:
            return f"its schema is longer than {MAX_SCHEMA_LETTERS:,} signs"
        Draft202012Validator.check_schema(contract.json_schema)
        _count_parts(contract.json_schema, contract.json_schema, {}, ())
        for pattern in _patterns(contract.json_schema):
            regex.compile(pattern)
    except SchemaError as error:
        return f"its schema is not valid: {error.message[:200]}"
    except (ValueError, RecursionError, regex.error) as error:
        return str(error)[:200] or "its schema is nested too deep"
    return None


def answer_problem(contract: StageContract, text: str) -> str | None:
    """What of the contract an answer does not keep, or None when it keeps all of it."""
    if contract.kind is ContractKind.TEXT:
        return None
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({str(error)[:100]})"
    if contract.json_schema is None:
        return None
    try:
        _Validator(contract.json_schema, registry=Registry()).validate(value)
    except ValidationError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path) or "it"
        return f"{place[:100]}: {error.message[:200]}"
    except TimeoutError:
        return "a pattern of the schema takes too long on it"
    except RecursionError:
        return "it is nested too deep"
    return None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not regex.search(pattern, value, timeout=PATTERN_SECONDS):
        yield ValidationError(f"{value[:60]!r} does not match {pattern[:60]!r}")


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _pattern}
)


def _count_parts(part: Any, whole: Any, known: dict[int, int], inside: tuple[int, ...]) -> int:
    """How many parts a schema has with every reference written out. Raises ValueError for what may not be there."""
    if not isinstance(part, dict | list):
        return 1
    if id(part) in inside:
        raise ValueError("its schema refers to itself")
    if id(part) not in known:
        here, total = (*inside, id(part)), 1
        for key, child in part.items() if isinstance(part, dict) else enumerate(part):
            if key in _FOREIGN and not isinstance(child, dict | list):
                raise ValueError(f"its schema uses {key}, which is not supported")
            if key == "patternProperties":
                raise ValueError("its schema uses patternProperties, which is not supported")
            named = key == "$ref" and isinstance(child, str)
            total += _count_parts(_follow(child, whole) if named else child, whole, known, here)
        known[id(part)] = total
    if known[id(part)] > MAX_SCHEMA_PARTS:
        raise ValueError(
            f"its schema has more than {MAX_SCHEMA_PARTS:,} parts with its references written out"
        )
    return known[id(part)]


def _follow(reference: str, whole: Any) -> Any:
    """The part that «#/a/b» names."""
    if not reference.startswith("#"):
        raise ValueError("its schema refers to something outside itself")
    found = whole
    for written in reference[1:].split("/")[1:]:
        name = written.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name[:6]) < len(found):
            found = found[int(name)]
        else:
            raise ValueError(f"its schema refers to {reference[:60]}, which is not in it")
    return found


def _patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        for child in part.values():
            yield from _patterns(child)
    elif isinstance(part, list):
        for child in part:
            yield from _patterns(child)
