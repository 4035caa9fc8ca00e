"""A pipeline in plain values: slots of a prompt, how they are filled, and what a stage's answer has to be.

A slot is {input} or {name of an earlier stage}; {{name}} writes {name}. Everything else in a prompt is sent as it
stands. Slots are filled once, from left to right, and what is filled in is never looked at again: an answer that
holds «{input}» or any other brace is text and stays text.
"""

import re
from collections.abc import Mapping, Sequence

from core.compose.contracts import answer_problem, schema_problem
from core.compose.records import Stage
from core.engine.records import Generation, Message
from core.errors import InvalidInputError

INPUT = "input"
SHOWN = 300
_SLOT = re.compile(r"\{\{(?P<literal>[a-z][a-z0-9_]{0,39})\}\}|\{(?P<name>[a-z][a-z0-9_]{0,39})\}")


class StageFailedError(InvalidInputError):
    """The answer of a stage is not what its contract asks for; the stages after it did not run."""

    code = "stage_failed"


def slots_of(prompt: str) -> tuple[str, ...]:
    """The names of a prompt's slots, each once, in order."""
    return tuple(dict.fromkeys(match["name"] for match in _SLOT.finditer(prompt) if match["name"]))


def fill(prompt: str, values: Mapping[str, str]) -> str:
    """The prompt with its slots filled."""

    def put(match: re.Match[str]) -> str:
        if match["literal"]:
            return f"{{{match['literal']}}}"
        return values[match["name"]]

    return _SLOT.sub(put, prompt)


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise InvalidInputError for a slot that no earlier stage fills, or a contract that cannot be used."""
    filled = [INPUT]
    for stage in stages:
        for slot in slots_of(stage.prompt):
            if slot not in filled:
                raise InvalidInputError(
                    f"The stage «{stage.name}» asks for {{{slot}}}, which no earlier stage gives.",
                    f"It can use {', '.join(f'{{{name}}}' for name in filled)}.",
                    f"Name one of those, or write {{{{{slot}}}}} for a text in braces.",
                )
        problem = schema_problem(stage.contract)
        if problem is not None:
            raise InvalidInputError(
                f"The contract of the stage «{stage.name}» cannot be used.",
                f"{problem[:1].upper()}{problem[1:]}.",
                "Correct it.",
            )
        filled.append(stage.name)


def stage_messages(stage: Stage, asked: Sequence[Message], answers: Mapping[str, str]) -> tuple[Message, ...]:
    """What a stage is sent: its system turn (or else the request's own), and its prompt with the slots filled.

    Raises InvalidInputError when the request's last message is not one of the user.
    """
    if asked[-1].role != "user":
        raise InvalidInputError(
            "A pipeline needs a question.",
            "Its input is the last message, which has to be one of the user.",
            "Send one.",
        )
    values = {INPUT: asked[-1].content, **answers}
    system = (
        (Message("system", stage.system),)
        if stage.system is not None
        else tuple(message for message in asked[:-1] if message.role == "system")
    )
    return (*system, Message("user", fill(stage.prompt, values)))


def checked_answer(stage: Stage, position: int, count: int, generation: Generation) -> str:
    """The answer as it goes into the next stage, without space around it.

    Raises StageFailedError that names the stage (`position` of `count`, from 1) and shows what failed.
    """
    text = generation.text.strip()
    problem = answer_problem(stage.contract, text)
    if problem is None:
        return text
    cut = (
        f" It was cut off after {generation.completion_tokens} tokens."
        if generation.finish_reason == "length"
        else ""
    )
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    raise StageFailedError(
        f"Stage {position} of {count}, «{stage.name}», did not keep its contract ({stage.contract.kind}).",
        f"Of its answer, {problem}.{cut} It answered: {shown or 'nothing'}",
        "Change its prompt, adapters or contract, or give it more tokens.",
    )
