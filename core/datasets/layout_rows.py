"""Each row as what its file's layout says: a demonstration, a preference pair or a judgement."""

import json
from typing import Any

from core.datasets import turns
from core.datasets.layouts import LIKED, NEEDED, SPLIT_WORDS, Outline, bare
from core.datasets.records import Example, Judgement, Layout, Preference, Split
from core.datasets.rows import WRONG_COLUMNS, WRONG_TYPE, Fault, Row
from core.datasets.splits import split_of_prompt
from core.datasets.turns import Exchange, RowFault, Turn

MAX_SLICE_CHARACTERS = 64

Parsed = Example | Preference | Judgement


def parse_row(outline: Outline, row: Row) -> Parsed | Fault:
    """The row as what its file's layout says, or why it is not that."""
    try:
        return _parse(outline, row)
    except RowFault as fault:
        return Fault(row.line, str(fault), fault.rule)


def _parse(outline: Outline, row: Row) -> Parsed:
    values = row.values
    missing = NEEDED[outline.layout] - values.keys()
    if missing:
        raise RowFault(
            f"its columns are not those of the first row's layout: {', '.join(sorted(missing))} is missing"
        )
    if outline.layout is Layout.PREFERENCES:
        return _preference(outline, row)
    made = _exchange(outline.layout, values)
    split, part = _split(outline, values, made.prompt), _slice(values)
    if outline.layout is Layout.LABELS:
        word = bare(values["label"]).lower()
        if word not in LIKED:
            raise RowFault(f"its label is «{word[:40]}»; it must be true or false", WRONG_TYPE)
        return Judgement(
            made.prompt, made.completion, LIKED[word], split, part, row.line, made.system, made.history
        )
    return Example(made.prompt, made.completion, split, part, row.line, made.system, made.history)


def _exchange(layout: Layout, values: dict[str, Any]) -> Exchange:
    match layout:
        case Layout.MESSAGES | Layout.TOOL_CALLS:
            made = turns.exchange_of(turns.messages("messages", values["messages"]))
            return _offered(made, values)
        case Layout.SHAREGPT:
            spoken = turns.messages("conversations", values["conversations"])
            said = turns.string("system", values.get("system"))
            if said and not (spoken and spoken[0].role == "system"):
                spoken = [Turn("system", said), *spoken]
            return _offered(turns.exchange_of(spoken), values)
        case Layout.ALPACA:
            return _alpaca(values)
        case Layout.FIELD_MAPPINGS:
            return _field_mapping(values)
    asked, answered = turns.written_turns(values["prompt"], values["completion"])
    if isinstance(asked, list) or isinstance(answered, list):
        spoken = [*turns.messages("prompt", asked), *turns.messages("completion", answered, "assistant")]
        return turns.exchange_of(spoken)
    return Exchange("", turns.string("prompt", asked), turns.string("completion", answered))


def _offered(made: Exchange, values: dict[str, Any]) -> Exchange:
    tools = turns.offered_tools(values.get("tools"))
    if not tools:
        return made
    return Exchange(turns.with_tools(made.system, tools), made.prompt, made.completion, made.history)


def _alpaca(values: dict[str, Any]) -> Exchange:
    instruction = turns.string("instruction", values["instruction"])
    given = turns.string("input", values.get("input"))
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    earlier: list[Turn] = []
    for pair in turns.listed("history", values["history"]) if values.get("history") else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowFault("history is not a list of questions with their answers", WRONG_TYPE)
        earlier += [
            Turn("user", turns.string("history", pair[0])),
            Turn("assistant", turns.string("history", pair[1])),
        ]
    system = turns.string("system", values.get("system"))
    answer = turns.string("output", values["output"])
    made = turns.exchange_of([*earlier, Turn("user", asked), Turn("assistant", answer)])
    return Exchange(system, made.prompt, made.completion, made.history)


def _field_mapping(values: dict[str, Any]) -> Exchange:
    """A rule of a mapping as question and answer, in the words in which retailer adapters are asked."""
    field = turns.string("source_field", values["source_field"])
    who = bare(values.get("retailer")) or bare(values.get("network"))
    samples = values.get("samples")
    shown = ", ".join(bare(each) for each in samples) if isinstance(samples, list) else bare(samples)
    answer = {
        "target": _target(values["target"]),
        "transform": _object("transform", values["transform"], op=True),
        "qualifiers": _object("qualifiers", values.get("qualifiers")),
    }
    prompt = f"Map column: {who}\n{field} = {shown}" if field.strip() else ""
    return Exchange("", prompt, json.dumps(answer, ensure_ascii=False, separators=(",", ":")))


def _target(value: Any) -> str | None:
    return turns.string("target", value).strip() or None


def _object(name: str, value: Any, *, op: bool = False) -> dict[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(f"{name} is text that is no JSON object", WRONG_TYPE) from None
    if op and isinstance(value, str) and value.strip():
        return {"op": value.strip()}
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise RowFault(f"{name} is {turns.kind_of(value)}, not an object", WRONG_TYPE)
    return {key: inner for key, inner in value.items() if inner is not None}


def _preference(outline: Outline, row: Row) -> Preference:
    values = dict(row.values)
    values["chosen"], values["rejected"] = turns.written_turns(values["chosen"], values["rejected"])
    if isinstance(values["chosen"], list) or isinstance(values["rejected"], list):
        (before,) = turns.written_turns(values.get("prompt"))
        asked = turns.messages("prompt", before) if before is not None else []
        chosen = [*asked, *turns.messages("chosen", values["chosen"], "assistant")]
        rejected = [*asked, *turns.messages("rejected", values["rejected"], "assistant")]
        if chosen[:-1] != rejected[:-1]:
            raise RowFault("chosen and rejected answer different prompts")
        made = turns.exchange_of(chosen)
        worse = turns.exchange_of(rejected).completion
    elif "prompt" not in values:
        raise RowFault("chosen and rejected are text, so a prompt is needed")
    else:
        made = Exchange(
            "", turns.string("prompt", values["prompt"]), turns.string("chosen", values["chosen"])
        )
        worse = turns.string("rejected", values["rejected"])
    split, part = _split(outline, values, made.prompt), _slice(values)
    return Preference(made.prompt, made.completion, worse, split, part, row.line, made.system, made.history)


def _split(outline: Outline, values: dict[str, Any], prompt: str) -> Split:
    word = bare(values.get("split"))
    if not outline.names_splits:
        if word:
            raise RowFault("it names a split, the first row does not")
        return split_of_prompt(prompt)
    if word.lower() not in SPLIT_WORDS:
        raise RowFault(f"its split is «{word[:40]}»; it must be train, validation or test", WRONG_COLUMNS)
    return SPLIT_WORDS[word.lower()]


def _slice(values: dict[str, Any]) -> str | None:
    text = bare(values.get("slice"))
    if len(text) > MAX_SLICE_CHARACTERS:
        raise RowFault(f"its slice has more than {MAX_SLICE_CHARACTERS} characters")
    return text or None
