"""infer: ask the base, adapters, or a federation."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from app.actions import compositions
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, printable, tell
from core.compose.records import CompositionSpec, Term
from core.engine.records import Message
from core.errors import InvalidInputError
from core.serve.records import AdapterUsed, InferenceAnswer, InferenceRequest

WEIGHTED = re.compile(r"(?P<name>.+):(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))")


def infer(
    prompt: Annotated[str, typer.Option(help="What to ask; - reads it from standard input.")],
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="Id or name, with a weight if wanted: NAME or NAME:0.5. Repeat it to compose."),
    ] = None,
    federation: Annotated[
        str | None, typer.Option(help="Name, name@version or id of a saved composition, of whatever method.")
    ] = None,
    composition: Annotated[
        Path | None,
        typer.Option(help="A composition in full: a JSON file as in the API; - is standard input."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System turn before the prompt.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is the most likely answer.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes a sampled answer repeatable.")] = None,
    logprobs: Annotated[
        bool, typer.Option("--logprobs", help="Tell each token's log-probability, in --json.")
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt. Without --adapter, --federation and --composition the base answers alone."""
    if sum(each is not None and each != [] for each in (adapter, federation, composition)) > 1:
        raise typer.BadParameter("Give one of --adapter, --federation and --composition.")
    if prompt == "-" and str(composition) == "-":
        raise typer.BadParameter("Only one of --prompt and --composition can be standard input.")
    turns = [Message("system", system)] if system else []
    turns.append(Message("user", sys.stdin.read() if prompt == "-" else prompt))
    request = InferenceRequest(
        messages=tuple(turns),
        model=f"federation:{federation}" if federation else None,
        composition=read_composition(adapter, composition),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        logprobs=logprobs,
    )
    with local(tenant) as here:
        here.console.engine()  # loaded first, so that the time told is that of the answer
        given = compositions.answer(here.console, here.principal, request)
    answer(given, lambda: printable(given.text), as_json)
    if not as_json:
        for line in _remarks(given):
            tell(printable(line))


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


def read_composition(adapters: list[str] | None, file: Path | None) -> CompositionSpec | None:
    """Adapters with weights, or a composition in full from a JSON file (- is standard input)."""
    if adapters:
        return CompositionSpec(terms=tuple(term_of(each) for each in adapters))
    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        return CompositionSpec.model_validate_json(text)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            "The composition cannot be read.",
            f"{printable(str(error))[:600]}.",
            "GET /openapi.json describes CompositionSpec, with examples.",
        ) from None


def _remarks(given: InferenceAnswer) -> Iterator[str]:
    """What made the answer and what it cost, a line for each stage of a pipeline."""
    for number, stage in enumerate(given.stages, 1):
        yield (
            f"[stage {number}, {stage.name}: {_used(stage.adapters)}; {stage.completion_tokens} tokens out, "
            f"{stage.latency_ms / 1000:.2f} s]"
        )
    for routing in (given.routing, *(stage.routing for stage in given.stages)):
        if routing is not None:
            chosen = routing.chosen or f"the base ({routing.reason})"
            yield f"[{routing.gate} chose {chosen}, probability {routing.probability:.0%}]"
    yield (
        f"[{given.base_name}, {_used(given.adapters)}; {given.prompt_tokens} tokens in, "
        f"{given.completion_tokens} out, {given.latency_ms / 1000:.2f} s]"
    )


def _used(adapters: tuple[AdapterUsed, ...]) -> str:
    terms = (
        f"{a.weight:g}·{a.name} v{a.version}" + (f" [{a.layers[0]}–{a.layers[1]}]" if a.layers else "")
        for a in adapters
    )
    return " + ".join(terms) or "no adapter"
