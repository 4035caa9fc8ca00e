"""Conversations: messages and ShareGPT turns, with calls of tools, as question and answer."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from core.datasets.rows import WRONG_COLUMNS, WRONG_TYPE

ROLES = ("system", "user", "assistant", "tool")
#: Who speaks in ShareGPT files, and what that is called elsewhere.
SPEAKERS: Mapping[str, str] = MappingProxyType(
    {
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "assistant": "assistant",
        "chatgpt": "assistant",
        "model": "assistant",
        "function_call": "assistant",
        "tool": "tool",
        "observation": "tool",
        "function_response": "tool",
    }
)
#: Columns that hold a list; a CSV cell holds it as JSON text.
LISTS = frozenset({"messages", "conversations"})
_MESSAGES = re.compile(r'\s*\[\s*\{\s*"(?:role|content)"\s*:')
CALL_KEYS = frozenset({"tool_calls", "name", "tool_call_id"})


class RowFault(Exception):
    """Why a row does not fit its layout. `rule` is the kind of fault."""

    def __init__(self, reason: str, rule: str = WRONG_COLUMNS) -> None:
        super().__init__(reason)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """The last answer of a conversation, what was asked, and what came before."""

    system: str
    prompt: str
    completion: str
    history: tuple[tuple[str, str], ...] = ()


def exchange_of(turns: list[Turn]) -> Exchange:
    """A conversation that ends with an answer; what came before its last question is history. Raises RowFault."""
    roles = [turn.role for turn in turns]
    system = turns[0].text if roles[:1] == ["system"] else ""
    rest = turns[1:] if roles[:1] == ["system"] else turns
    if [turn.role for turn in rest] == ["user", "assistant"]:
        return Exchange(system, rest[0].text, rest[1].text)
    told = ", ".join(roles[:8]) or "none"
    if len(rest) < 2 or rest[-1].role != "assistant" or rest[0].role != "user":
        raise RowFault(f"its turns are {told}; they begin with the user and end with the assistant")
    if any(turn.role == "system" for turn in rest) or not _alternate(rest):
        raise RowFault(f"its turns are {told}; they do not take turns")
    history = tuple((turn.role, turn.text) for turn in rest[:-2])
    return Exchange(system, rest[-2].text, rest[-1].text, history)


def messages(name: str, value: Any, role_of_text: str = "user") -> list[Turn]:
    """The turns of a list of messages; a bare text is one turn of `role_of_text`. Raises RowFault."""
    if isinstance(value, str) and not (name in LISTS and value.lstrip().startswith("[")):
        return [Turn(role_of_text, value)]
    return [_turn(name, item) for item in listed(name, value)]


def written_turns(*values: Any) -> list[Any]:
    """Lists of messages that cells of a table hold as JSON text, as lists, if all are; else the values as they are.

    One text that looks like it is not enough: a question may be about a conversation.
    """
    read = [_written(value) for value in values]
    return (
        [value if turns is None else turns for value, turns in zip(values, read, strict=True)]
        if all(read)
        else [*values]
    )


def _written(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not _MESSAGES.match(value):
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    told = all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in parsed)
    return parsed if told else None


def listed(name: str, value: Any) -> list[Any]:
    """A list, also where a CSV cell holds it as JSON text. Raises RowFault."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(f"{name} is text that is no JSON list", WRONG_TYPE) from None
    if not isinstance(value, list):
        raise RowFault(f"{name} is not a list of messages", WRONG_TYPE)
    return value


def string(name: str, value: Any) -> str:
    """A text, "" for null. Raises RowFault."""
    if value is None:
        return ""
    if not isinstance(value, str):
        hint = " (write JSON answers as one text)" if isinstance(value, dict) else ""
        raise RowFault(f"{name} is {kind_of(value)}, not text{hint}", WRONG_TYPE)
    return value


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (dict, "an object"),
        (list, "a list"),
    )
    return next((word for kind, word in names if isinstance(value, kind)), "something else")


def calls_tools(turns: Any) -> bool:
    """Whether a raw list of messages holds a call of a tool or a tool's answer."""
    if not isinstance(turns, list):
        return False
    return any(isinstance(t, dict) and (bool(t.get("tool_calls")) or t.get("role") == "tool") for t in turns)


def offered_tools(value: Any) -> str:
    """The tools that a row offers, as compact JSON; "" where it offers none. Raises RowFault."""
    if value is None or value in ("", []):
        return ""
    tools = listed("tools", value)
    return json.dumps(tools, ensure_ascii=False, separators=(",", ":"))


def with_tools(system: str, tools: str) -> str:
    """The system turn, followed by the tools that are offered."""
    return "\n\n".join(part for part in (system, f"Tools: {tools}" if tools else "") if part)


def _turn(name: str, item: Any) -> Turn:
    if isinstance(item, dict) and "from" in item and "role" not in item:
        return _shared(name, item)
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise RowFault(f"a message of {name} has no role among {', '.join(ROLES)}")
    calls = item.get("tool_calls")
    allowed = {"role", "content"} | (CALL_KEYS if item["role"] in ("assistant", "tool") else set())
    others = {key for key in item if key not in allowed and item[key] is not None}
    if others:
        raise RowFault(f"a message of {name} has {sorted(others)[0][:40]}, which is not supported")
    text = string(f"a message of {name}", item.get("content"))
    if calls:
        text = "\n".join(
            part for part in (text, *(_call(name, call) for call in listed(name, calls))) if part
        )
    return Turn(item["role"], text)


def _shared(name: str, item: dict[str, Any]) -> Turn:
    speaker = SPEAKERS.get(str(item["from"]).lower())
    if speaker is None:
        raise RowFault(f"a turn of {name} comes from «{str(item['from'])[:40]}», which is nobody known")
    return Turn(speaker, string(f"a turn of {name}", item.get("value")))


def _call(name: str, call: Any) -> str:
    """A call as this house writes it: {"tool": …, "arguments": {…}}."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowFault(f"a tool call of {name} names no function", WRONG_TYPE)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RowFault(f"a tool call of {name} has arguments that are no JSON", WRONG_TYPE) from None
    if not isinstance(arguments, dict):
        raise RowFault(
            f"the arguments of a tool call of {name} are {kind_of(arguments)}, not an object", WRONG_TYPE
        )
    made = {"tool": function["name"], "arguments": arguments}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def _alternate(turns: list[Turn]) -> bool:
    """Whether nobody but tools speaks twice in a row, and every user turn is answered."""
    return all(
        (a.role != b.role or a.role == "tool") and (a.role != "user" or b.role == "assistant")
        for a, b in pairwise(turns)
    )
