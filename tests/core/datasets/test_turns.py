"""Conversations of every form become question, answer and history, or a fault that says why not."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.datasets.examples import open_examples
from core.datasets.layouts import outline_of
from core.datasets.records import DatasetKind, Example, Judgement, Layout
from core.datasets.rows import Fault, Row
from core.errors import InvalidInputError

RULE = {"source_field": "kost_ct", "target": "cost", "transform": {"op": "divide", "by": 100}}
CALL = {"type": "function", "function": {"name": "count", "arguments": '{"what": "clicks"}'}}


def read(tmp_path: Path, *rows: dict[str, Any], to_train: bool = False) -> list[Any]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(open_examples(path, to_train=to_train)[1])


def one(tmp_path: Path, row: dict[str, Any]) -> Example:
    (example,) = read(tmp_path, row)
    assert isinstance(example, Example), example
    return example


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def shared(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("row", "prompt", "completion", "system"),
    [
        ({"instruction": "Add", "input": "1 and 2", "output": "3"}, "Add\n\n1 and 2", "3", ""),
        ({"instruction": "Add", "input": "", "output": "3", "system": "Be brief."}, "Add", "3", "Be brief."),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "a", "b", ""),
        (
            {"conversations": [shared("system", "s"), shared("user", "a"), shared("model", "b")]},
            "a",
            "b",
            "s",
        ),
        ({"conversations": [user("a"), said("b")], "system": "s"}, "a", "b", "s"),
        (
            {"messages": [user("a"), {"role": "assistant", "content": None, "tool_calls": [CALL]}]},
            "a",
            '{"tool":"count","arguments":{"what":"clicks"}}',
            "",
        ),
        ({"messages": [user("a"), said("b")], "tools": [{"name": "count"}]}, "a", "b", 'Tools: [{"name":"count"}]'),
        (
            {**RULE, "retailer": "Zeta", "samples": ["6", "12"]},
            "Map column: Zeta\nkost_ct = 6, 12",
            '{"target":"cost","transform":{"op":"divide","by":100},"qualifiers":{}}',
            "",
        ),
        (
            {"source_field": "x", "target": None, "transform": "drop", "qualifiers": {"touch": None}},
            "Map column: \nx = ",
            '{"target":null,"transform":{"op":"drop"},"qualifiers":{}}',
            "",
        ),
    ],
)  # fmt: skip
def test_every_form_gives_question_answer_and_system_turn(tmp_path, row, prompt, completion, system) -> None:
    example = one(tmp_path, row)
    assert (example.prompt, example.completion, example.system) == (prompt, completion, system)
    assert example.history == ()


def test_earlier_turns_are_kept_as_history(tmp_path) -> None:
    answered = {"role": "tool", "content": "7", "tool_call_id": "x"}
    row = {"messages": [user("a"), {"role": "assistant", "tool_calls": [CALL]}, answered, said("Seven.")]}
    example = one(tmp_path, row)
    call = '{"tool":"count","arguments":{"what":"clicks"}}'
    assert (example.prompt, example.completion) == ("7", "Seven.")
    assert example.history == (("user", "a"), ("assistant", call))
    alpaca = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    assert one(tmp_path, alpaca).history == (("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([user("a"), user("b"), said("c")], "do not take turns"),
        ([said("a"), user("b"), said("c")], "begin with the user"),
        ([user("a"), said("b"), user("c")], "begin with the user and end with the assistant"),
        ([user("a"), said("b"), {"role": "system", "content": "s"}, said("c")], "do not take turns"),
        ([user("a"), {"role": "assistant", "tool_calls": [{"function": {}}]}], "names no function"),
        ([user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}], "no JSON"),
        (
            [user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": [1]}]}],
            "a list, not an object",
        ),
        ([user("a"), {"from": "ghost", "value": "b"}], "comes from «ghost»"),
        ([user("a"), {"from": "gpt", "value": 5}], "a number, not text"),
    ],
)
def test_turns_that_make_no_conversation_are_listed_with_the_reason(tmp_path, turns, reason) -> None:
    (fault,) = read(tmp_path, {"messages": turns})
    assert isinstance(fault, Fault)
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("row", "reason", "rule"),
    [
        (
            {"source_field": "x", "target": "cost", "transform": [1]},
            "transform is a list, not an object",
            "wrong_type",
        ),
        (
            {"source_field": "x", "target": 5, "transform": "none"},
            "target is a number, not text",
            "wrong_type",
        ),
        ({"source_field": "x", "transform": "none"}, "target is missing", "wrong_columns"),
    ],
)
def test_a_mapping_rule_of_other_types_is_listed(tmp_path, row, reason, rule) -> None:
    _, fault = read(tmp_path, {"source_field": "a", "target": "cost", "transform": "none"}, row)
    assert isinstance(fault, Fault)
    assert reason in fault.reason
    assert fault.rule == rule


@pytest.mark.parametrize(
    ("word", "liked"), [(True, True), (0, False), ("TRUE", True), ("undesirable", False)]
)
def test_a_label_is_a_thumb(tmp_path, word, liked) -> None:
    row = {"prompt": "a", "completion": "b", "label": word}
    (judged, wrong) = read(tmp_path, row, {**row, "label": "maybe"})
    assert isinstance(judged, Judgement)
    assert judged.liked is liked
    assert isinstance(wrong, Fault)
    assert "«maybe»" in wrong.reason


def test_a_label_that_is_no_thumb_is_a_column_of_its_own() -> None:
    outline = outline_of(Row(1, {"prompt": "a", "completion": "b", "label": "sports"}))
    assert (outline.layout, outline.ignored_columns) == (Layout.PROMPT_COMPLETION, ("label",))
    assert outline_of(Row(1, {"prompt": "a", "completion": "b", "label": 1})).kind is DatasetKind.KTO


def test_a_conversation_of_several_turns_is_taken_for_training(tmp_path) -> None:
    (row,) = read(tmp_path, {"messages": [user("a"), said("b"), user("c"), said("d")]}, to_train=True)
    assert (row.prompt, row.completion) == ("c", "d")
    assert row.history == (("user", "a"), ("assistant", "b"))


def test_thumbs_that_no_run_here_learns_from_are_not_taken_for_training(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="thumb"):
        read(tmp_path, {"prompt": "a", "completion": "b", "label": True}, to_train=True)
