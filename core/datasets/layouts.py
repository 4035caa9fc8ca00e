"""Rows to examples: which layout a file has, and each row as a demonstration or a preference pair."""

from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from core.datasets.records import DatasetKind, Example, Layout, Preference, Split
from core.datasets.rows import Fault, Row
from core.datasets.splits import split_of_prompt
from core.errors import InvalidInputError

ROLES = ("system", "user", "assistant")
MAX_SLICE_CHARACTERS = 64
SPLIT_WORDS = MappingProxyType(
    {
        "train": Split.TRAIN,
        "training": Split.TRAIN,
        "validation": Split.VALIDATION,
        "valid": Split.VALIDATION,
        "val": Split.VALIDATION,
        "dev": Split.VALIDATION,
        "test": Split.TEST,
    }
)
KNOWN_COLUMNS = MappingProxyType(
    {
        Layout.PROMPT_COMPLETION: frozenset({"prompt", "completion", "split", "slice"}),
        Layout.MESSAGES: frozenset({"messages", "split", "slice"}),
        Layout.PREFERENCES: frozenset({"prompt", "chosen", "rejected", "split", "slice"}),
    }
)


class RowFault(Exception):
    """Why a row does not fit its layout."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What the first row says about all rows."""

    layout: Layout
    names_splits: bool
    ignored_columns: tuple[str, ...]

    @property
    def kind(self) -> DatasetKind:
        """What a dataset of this layout is for."""
        return DatasetKind.DPO if self.layout is Layout.PREFERENCES else DatasetKind.SFT


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    text: str


def outline_of(row: Row) -> Outline:
    """Layout of a file, from its first row. Raises InvalidInputError that names the columns found."""
    columns = row.values
    fits = [layout for layout in Layout if _fits(layout, columns)]
    if len(fits) == 1:
        ignored = tuple(sorted(set(columns) - KNOWN_COLUMNS[fits[0]]))
        return Outline(fits[0], _text(columns.get("split")) != "", ignored)
    shown = ", ".join(sorted(columns))[:300] or "none"
    raise InvalidInputError(
        "The rows fit more than one layout." if fits else "The rows are not training examples.",
        f"Columns found: {shown}.",
        "Use prompt and completion, or messages, or prompt, chosen and rejected; split and slice may follow.",
    )


def parse_row(outline: Outline, row: Row) -> Example | Preference | Fault:
    """The row as what its file's layout says, or why it is not that."""
    try:
        return _parse(outline, row)
    except RowFault as fault:
        return Fault(row.line, str(fault))


def _parse(outline: Outline, row: Row) -> Example | Preference:
    values = row.values
    if not _fits(outline.layout, values):
        raise RowFault("its columns are not those of the first row's layout")
    if outline.layout is Layout.PREFERENCES:
        return _preference(outline, row)
    if outline.layout is Layout.MESSAGES:
        system, prompt, completion = _demonstration(_turns("messages", values["messages"]))
    elif isinstance(values["prompt"], list) or isinstance(values["completion"], list):
        asked, answered = (
            _turns("prompt", values["prompt"]),
            _turns("completion", values["completion"], "assistant"),
        )
        system, prompt, completion = _demonstration([*asked, *answered])
    else:
        system, prompt = "", _string("prompt", values["prompt"])
        completion = _string("completion", values["completion"])
    split, part = _split(outline, values, prompt), _slice(values)
    return Example(prompt, completion, split, part, row.line, system)


def _preference(outline: Outline, row: Row) -> Preference:
    values = row.values
    if isinstance(values["chosen"], list) or isinstance(values["rejected"], list):
        asked = _turns("prompt", values["prompt"], "user") if "prompt" in values else []
        chosen = [*asked, *_turns("chosen", values["chosen"], "assistant")]
        rejected = [*asked, *_turns("rejected", values["rejected"], "assistant")]
        if chosen[:-1] != rejected[:-1]:
            raise RowFault("chosen and rejected answer different prompts")
        system, prompt, better = _demonstration(chosen)
        worse = _demonstration(rejected)[2]
    elif "prompt" not in values:
        raise RowFault("chosen and rejected are text, so a prompt is needed")
    else:
        system = ""
        prompt, better, worse = (_string(name, values[name]) for name in ("prompt", "chosen", "rejected"))
    split, part = _split(outline, values, prompt), _slice(values)
    return Preference(prompt, better, worse, split, part, row.line, system)


def _demonstration(turns: list[Turn]) -> tuple[str, str, str]:
    """(system, prompt, completion) of a conversation with one question and one answer."""
    system = turns[0].text if turns and turns[0].role == "system" else ""
    roles = [turn.role for turn in turns]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise RowFault(
            f"its turns are {', '.join(roles[:8]) or 'none'}; a row is one user turn and one assistant turn,"
            " with or without a system turn before"
        )
    return system, turns[-2].text, turns[-1].text


def _turns(name: str, value: Any, role_of_text: str = "user") -> list[Turn]:
    if isinstance(value, str):
        return [Turn(role_of_text, value)]
    if not isinstance(value, list):
        raise RowFault(f"{name} is not a list of messages")
    return [_turn(name, item) for item in value]


def _turn(name: str, item: Any) -> Turn:
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise RowFault(f"a message of {name} has no role among {', '.join(ROLES)}")
    others = set(item) - {"role", "content"}
    if others:
        raise RowFault(f"a message of {name} has {sorted(others)[0][:40]}, which is not supported")
    return Turn(item["role"], _string(f"a message of {name}", item.get("content")))


def _string(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowFault(f"{name} is {_kind(value)}, not text" + _hint(value))
    return value


def _split(outline: Outline, values: dict[str, Any], prompt: str) -> Split:
    word = _text(values.get("split"))
    if not outline.names_splits:
        if word:
            raise RowFault("it names a split, the first row does not")
        return split_of_prompt(prompt)
    if word.lower() not in SPLIT_WORDS:
        raise RowFault(f"its split is «{word[:40]}»; it must be train, validation or test")
    return SPLIT_WORDS[word.lower()]


def _slice(values: dict[str, Any]) -> str | None:
    text = _text(values.get("slice"))
    if len(text) > MAX_SLICE_CHARACTERS:
        raise RowFault(f"its slice has more than {MAX_SLICE_CHARACTERS} characters")
    return text or None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _fits(layout: Layout, columns: Collection[str]) -> bool:
    """Whether the columns are those of `layout` and of no other."""
    answers = {
        Layout.PROMPT_COMPLETION: {"prompt", "completion"},
        Layout.MESSAGES: {"messages"},
        Layout.PREFERENCES: {"chosen", "rejected"},
    }
    return answers[layout] <= set(columns)


def _kind(value: Any) -> str:
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (dict, "an object"),
        (list, "a list"),
    )
    return next((word for kind, word in names if isinstance(value, kind)), "something else")


def _hint(value: Any) -> str:
    return " (write JSON answers as one text)" if isinstance(value, dict) else ""
