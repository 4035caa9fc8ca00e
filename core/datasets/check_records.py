"""Checks of answers that have a schema: RMIS records, rules of a mapping, calls of tools."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from core.datasets.findings import WARNING, Hit, hit
from core.datasets.records import Fix
from core.datasets.table import Table
from core.harmonize.records import Transform, checked_qualifiers
from core.rmis.facts import FactType, fact_column, validate_record
from core.rmis.vocabularies import Grain, TransformOp

MOST = 0.5
MOST_NAMES = 0.8
MOST_SHOWN = 200
GTIN_LENGTHS = (8, 12, 13, 14)
_TOOLS = re.compile(r"(?:^|\n\n)Tools: (\[.*\])\Z", re.DOTALL)

Told = tuple[str, str]  # rule and reason


def schemas(table: Table) -> Iterator[Hit]:
    """Answers that break the schema that they claim to follow."""
    yield from _rmis_records(table)
    found: dict[str, dict[int, str]] = defaultdict(dict)
    mapping_faults: dict[str, list[Told]] = {}
    offered: dict[str, Mapping[str, Any] | None] = {}
    texts, systems = table.frame["answer"].to_list(), table.frame["system"].to_list()
    for place, answer in enumerate(table.parsed):
        if is_mapping(answer):
            if texts[place] not in mapping_faults:
                mapping_faults[texts[place]] = list(_faults_of_mapping(answer))
            for rule, reason in mapping_faults[texts[place]]:
                found[rule].setdefault(place, reason)
        elif is_call(answer):
            system = systems[place]
            if system not in offered:
                offered[system] = _offered(system)
            if reason := _fault_of_call(answer, offered[system]):
                found["tool_call"][place] = reason
    for rule, (one, many) in _SAID.items():
        reasons = found[rule]
        example = next(iter(reasons.values()), "")[:MOST_SHOWN]
        made = hit(
            rule, WARNING, reasons, f"1 {one}: {example} Correct it.", f"{{rows}} {many}, the first one: {example}"
            " Correct them.", Fix.DROP_ROWS,
        )  # fmt: skip
        if made:
            yield made


_SAID: dict[str, Told] = {
    "unknown_target": (
        "answer names a target that RMIS does not have",
        "answers name targets that RMIS does not have",
    ),
    "bad_transform": (
        "answer has a transform that cannot be run",
        "answers have transforms that cannot be run",
    ),
    "bad_qualifier": ("answer has a qualifier that is none", "answers have qualifiers that are none"),
    "tool_call": ("answer calls a tool wrongly", "answers call a tool wrongly"),
}


def is_mapping(answer: Any) -> bool:
    """Whether an answer is a rule of a mapping."""
    return isinstance(answer, dict) and "target" in answer and "transform" in answer


def is_call(answer: Any) -> bool:
    """Whether an answer is a call of a tool."""
    return isinstance(answer, dict) and "tool" in answer and "arguments" in answer


def _rmis_records(table: Table) -> Iterator[Hit]:
    """Answers that break the RMIS schema where most answers are RMIS records."""
    records = [
        (place, answer)
        for place, answer in enumerate(table.parsed)
        if isinstance(answer, dict) and not is_mapping(answer) and not is_call(answer)
    ]
    if sum(_names_rmis(record) for _, record in records) <= MOST * len(table):
        return
    wrong = {place: problems[0] for place, record in records if (problems := validate_record(record))}
    example = next(iter(wrong.values()), "")[:MOST_SHOWN]
    found = hit(
        "rmis_record",
        WARNING,
        wrong,
        f"1 answer breaks the RMIS schema: {example} Correct it.",
        f"{{rows}} answers break the RMIS schema, the first one: {example} Correct them.",
        Fix.DROP_ROWS,
    )
    if found:
        yield found


def _names_rmis(record: Mapping[str, Any]) -> bool:
    known = sum(fact_column(name) is not None for name in record)
    return known > 0 and known >= MOST_NAMES * len(record)


def _faults_of_mapping(rule: Mapping[str, Any]) -> Iterator[Told]:
    target = rule["target"]
    column = fact_column(target) if isinstance(target, str) else None
    if target is not None and column is None:
        yield "unknown_target", f"{target!r:.80} is not a column of RMIS."
    raw = rule["transform"]
    try:
        transform = Transform.model_validate({"op": raw} if isinstance(raw, str) else raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        yield "bad_transform", f"{place}: {first['msg'].removeprefix('Value error, ')}.".removeprefix(": ")
    else:
        words = column.words if column is not None and column.dtype is FactType.WORD else ()
        if reason := _fault_of_transform(transform, words):
            yield "bad_transform", reason
    try:
        checked_qualifiers(rule.get("qualifiers"))
    except ValueError as error:
        yield "bad_qualifier", f"{str(error)[:MOST_SHOWN]}."


def _fault_of_transform(transform: Transform, words: tuple[str, ...]) -> str:
    """What the operation would stumble over when it runs, or an empty string."""
    if transform.grain is not None and transform.grain not in tuple(Grain):
        return f"there is no grain {transform.grain!r:.40}."
    if transform.source_tz not in (None, "account_timezone") and not _is_zone(str(transform.source_tz)):
        return f"there is no time zone {transform.source_tz!r:.60}."
    if transform.to is not None and transform.to not in GTIN_LENGTHS:
        return f"a GTIN has 8, 12, 13 or 14 digits, not {transform.to}."
    if transform.pattern is not None and not _compiles(transform.pattern):
        return "its pattern is no regular expression."
    if transform.numeric_goes_to is not None and fact_column(transform.numeric_goes_to) is None:
        return f"{transform.numeric_goes_to!r:.80} is not a column of RMIS."
    if transform.op is TransformOp.ENUM_MAP and words:
        wrong = [word for word in (transform.map or {}).values() if word is not None and word not in words]
        return f"{wrong[0]!r:.40} is none of {', '.join(words)}." if wrong else ""
    return ""


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _offered(system: str) -> Mapping[str, Any] | None:
    """The tools that a system turn offers, by name, or None where it offers none."""
    said = _TOOLS.search(system)
    if said is None:
        return None
    try:
        tools = json.loads(said[1])
    except (ValueError, RecursionError):
        return None
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    return {str(each["name"]): each for each in functions if isinstance(each, dict) and "name" in each}


def _fault_of_call(call: Mapping[str, Any], offered: Mapping[str, Any] | None) -> str:
    name, arguments = call["tool"], call["arguments"]
    if not isinstance(name, str) or not name.strip():
        return "the tool has no name."
    if not isinstance(arguments, dict):
        return f"the arguments of {name[:40]} are no object."
    if offered is None:
        return ""
    if name not in offered:
        return f"no tool {name[:40]} is offered."
    schema = offered[name].get("parameters") or offered[name].get("input_schema") or {}
    schema = schema if isinstance(schema, dict) else {}
    required, known = schema.get("required"), schema.get("properties")
    missing = [key for key in required if key not in arguments] if isinstance(required, list) else []
    unknown = [key for key in arguments if key not in known] if isinstance(known, dict) and known else []
    if missing:
        return f"{name[:40]} needs {str(missing[0])[:40]}."
    return f"{name[:40]} knows no {unknown[0][:40]}." if unknown else ""
