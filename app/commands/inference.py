"""infer: ask the base, adapters, or a federation."""

import re
import sys
from typing import Annotated

import typer

from app.actions import compositions
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, printable, tell
from core.compose.records import CompositionSpec, Term
from core.engine.records import Message
from core.errors import InvalidInputError
from core.serve.records import InferenceRequest

WEIGHTED = re.compile(r"(?P<name>.+):(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))")


def infer(
    prompt: Annotated[str, typer.Option(help="What to ask; - reads it from standard input.")],
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="Id or name, with a weight if wanted: NAME or NAME:0.5. Repeat it to compose."),
    ] = None,
    federation: Annotated[str | None, typer.Option(help="Name or id of a saved composition.")] = None,
    system: Annotated[str | None, typer.Option(help="System turn before the prompt.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is the most likely answer.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes a sampled answer repeatable.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt. Without --adapter and --federation the base answers alone."""
    if adapter and federation:
        raise typer.BadParameter("Give --adapter or --federation, not both.")
    turns = [Message("system", system)] if system else []
    turns.append(Message("user", sys.stdin.read() if prompt == "-" else prompt))
    request = InferenceRequest(
        messages=tuple(turns),
        model=f"federation:{federation}" if federation else None,
        composition=CompositionSpec(terms=tuple(term_of(each) for each in adapter)) if adapter else None,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    with local(tenant) as here:
        here.console.engine()  # loaded first, so that the time told is that of the answer
        given = compositions.answer(here.console, here.principal, request)
    answer(given, lambda: printable(given.text), as_json)
    if not as_json:
        used = " + ".join(f"{a.weight:g}·{a.name} v{a.version}" for a in given.adapters) or "no adapter"
        tell(
            f"[{given.base_name}, {used}; {given.prompt_tokens} tokens in, {given.completion_tokens} out, "
            f"{given.latency_ms / 1000:.2f} s]"
        )


def term_of(text: str) -> Term:
    """NAME or NAME:WEIGHT. Raises InvalidInputError for a weight that no adapter may have."""
    match = WEIGHTED.fullmatch(text)
    name, weight = (match["name"], float(match["weight"])) if match else (text, 1.0)
    if not name or not -8.0 <= weight <= 8.0:
        raise InvalidInputError(
            f"«{text[:100]}» is no adapter with a weight.",
            "It looks like NAME or NAME:0.5, with a weight from -8 to 8.",
            "Correct it.",
        )
    return Term(adapter=name, weight=weight)
