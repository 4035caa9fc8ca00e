"""Training examples from a form: what a task adapter is to call, and how a brand is to sound. No JSON to type."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.datasets.splits import split_of_prompt
from core.errors import InvalidInputError

Argument = str | int | float | bool
TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MOST_CHARACTERS = 8000
MOST_ARGUMENTS = 50


@dataclass(frozen=True, slots=True)
class BuiltExample:
    """One demonstration made from a form."""

    prompt: str
    completion: str

    def row(self) -> dict[str, str]:
        """As it stands in a file; its split follows from its prompt, so that equal prompts stay together."""
        return {
            "prompt": self.prompt,
            "completion": self.completion,
            "split": str(split_of_prompt(self.prompt)),
        }


def task_example(objective: str, tool: str, arguments: Mapping[str, Argument]) -> BuiltExample:
    """An objective in words and the tool call that it should lead to. Raises InvalidInputError."""
    objective = _text("objective", objective)
    if not TOOL_NAME.fullmatch(tool):
        raise InvalidInputError(
            f"«{tool[:60]}» is no name of a tool.",
            "A name begins with a small letter and has small letters, digits and _.",
            "For example plan_budget.",
        )
    if len(arguments) > MOST_ARGUMENTS:
        raise InvalidInputError(
            "The tool call has too many arguments.", f"At most {MOST_ARGUMENTS} fit.", "Leave some out."
        )
    for name, value in arguments.items():
        if not TOOL_NAME.fullmatch(name):
            raise InvalidInputError(
                f"«{name[:60]}» is no name of an argument.",
                "A name begins with a small letter and has small letters, digits and _.",
                "For example total_budget.",
            )
        if isinstance(value, float) and not -1e15 < value < 1e15:
            raise InvalidInputError(f"{name} is too large a number.", "", "Check its digits.")
    call = {"tool": tool, "arguments": dict(arguments)}
    return BuiltExample(
        f"Plan: {objective}", json.dumps(call, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    )


def typed_argument(text: str, kind: str) -> Argument:
    """What a form field holds, as text, whole number, number or yes/no. Raises InvalidInputError."""
    bare = text.strip()
    try:
        match kind:
            case "text":
                return bare
            case "whole number":
                return int(bare.replace(",", ""))
            case "number":
                return float(bare.replace(",", ""))
            case "yes or no":
                return {"yes": True, "true": True, "no": False, "false": False}[bare.lower()]
    except (ValueError, KeyError):
        pass
    raise InvalidInputError(f"«{bare[:60]}» is no {kind}.", "", "Correct it, or choose another type.")


def brand_example(
    request: str, copy: str, tone: Sequence[str] = (), avoid: Sequence[str] = ()
) -> BuiltExample:
    """A request and copy in the brand's voice. `tone` is told in the prompt; the copy must hold no word of `avoid`.

    Raises InvalidInputError that names the words.
    """
    request, copy = _text("request", request), _text("copy", copy)
    shouted = [word for word in avoid if word.strip() and _holds(copy, word.strip())]
    if shouted:
        raise InvalidInputError(
            "The copy holds words that the brand avoids.",
            f"Found: {', '.join(shouted)[:200]}.",
            "Change the copy, or take the words off the list.",
        )
    told = ", ".join(word.strip() for word in tone if word.strip())
    return BuiltExample(f"{request} Tone: {told}." if told else request, copy)


def _holds(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()) is not None


def _text(what: str, text: str) -> str:
    text = text.strip()
    if not text:
        raise InvalidInputError(f"The {what} is empty.", "", "Write it down.")
    if len(text) > MOST_CHARACTERS:
        raise InvalidInputError(
            f"The {what} is too long.", f"It has more than {MOST_CHARACTERS:,} characters.", "Shorten it."
        )
    return text
