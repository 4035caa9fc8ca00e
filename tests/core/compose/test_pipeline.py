import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.compose.contracts import answer_problem, schema_problem
from core.compose.pipeline import (
    StageFailedError,
    check_stages,
    checked_answer,
    fill,
    slots_of,
    stage_messages,
)
from core.compose.records import CompositionSpec, ContractKind, Method, Stage, StageContract
from core.engine.records import Generation, Message
from core.errors import InvalidInputError

RECORD = {
    "type": "object",
    "required": ["sku", "day"],
    "properties": {"sku": {"type": "string"}, "day": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}},
    "additionalProperties": False,
}


def stage(name: str = "plan", prompt: str = "{input}", **more: Any) -> Stage:
    return Stage(name=name, composition=CompositionSpec(), prompt=prompt, **more)


def of_schema(schema: dict[str, Any]) -> StageContract:
    return StageContract(kind=ContractKind.SCHEMA, schema=schema)  # type: ignore[call-arg]


def said(text: str, reason: Any = "stop") -> Generation:
    return Generation(text, reason, 3, 5, 0.0, 1.0, -0.1, "k")


def test_slots_are_filled_by_name() -> None:
    prompt = 'Records: {harmonize}\nAsked: {input}\n{harmonize} {"a": {"b": 1}} {Name} {} {1}'
    assert slots_of(prompt) == ("harmonize", "input")
    assert fill(prompt, {"harmonize": "R", "input": "Q"}) == (
        'Records: R\nAsked: Q\nR {"a": {"b": 1}} {Name} {} {1}'
    )


def test_doubled_braces_write_a_slot_as_text() -> None:
    assert fill("{{input}} is {input}", {"input": "x"}) == "{input} is x"
    assert slots_of("{{input}}") == ()


@given(st.text(), st.text())
def test_what_is_filled_in_is_never_looked_at_again(one: str, other: str) -> None:
    assert fill("{a}|{b}", {"a": one, "b": other}) == f"{one}|{other}"


@pytest.mark.parametrize(
    "answer",
    ["{input}", "{{b}}", "{b}{b}", "%s {0.__class__} ${input} \\1 \\g<0>", "{input!r:>9}", '{"x": "{b}"}'],
)
def test_an_answer_that_holds_a_slot_stays_text(answer: str) -> None:
    assert fill("{a}", {"a": answer, "b": "secret", "input": "secret"}) == answer


def test_a_slot_that_no_earlier_stage_fills_is_refused_by_name() -> None:
    check_stages([stage("one"), stage("two", "{one} {input}")])
    for prompt in ("{two}", "{three}", "{later}"):
        with pytest.raises(InvalidInputError, match=r"asks for \{\w+\}.*\{input\}, \{one\}"):
            check_stages([stage("one"), stage("two", prompt), stage("later")])


def test_a_stage_is_sent_its_own_system_turn_or_that_of_the_request() -> None:
    asked = [Message("system", "S"), Message("user", "old"), Message("assistant", "no"), Message("user", "Q")]
    assert stage_messages(stage(prompt="{input}+{one}"), asked, {"one": "A"}) == (
        Message("system", "S"),
        Message("user", "Q+A"),
    )
    own = stage(system="mine")
    assert stage_messages(own, asked, {}) == (Message("system", "mine"), Message("user", "Q"))
    with pytest.raises(InvalidInputError, match="one of the user"):
        stage_messages(own, asked[:3], {})


@pytest.mark.parametrize(
    ("contract", "text", "problem"),
    [
        (StageContract(), "anything at all", None),
        (StageContract(kind=ContractKind.JSON), ' {"a": [1, null]} ', None),
        (StageContract(kind=ContractKind.JSON), '{"a": 1', "no JSON"),
        (StageContract(kind=ContractKind.JSON), '{"a": NaN}', "NaN"),
        (StageContract(kind=ContractKind.JSON), "[" * 100_000, "no JSON"),
        (StageContract(kind=ContractKind.JSON), "", "no JSON"),
        (of_schema(RECORD), '{"sku": "A-1", "day": "2026-11-02"}', None),
        (of_schema(RECORD), '{"sku": 7, "day": "2026-11-02"}', r"'sku'.*not of type 'string'"),
        (of_schema(RECORD), '{"sku": "A-1", "day": "yesterday"}', "does not match"),
        (of_schema(RECORD), '{"sku": "A-1"}', "'day' is a required"),
        (of_schema(RECORD), '{"sku": "A", "day": "2026-11-02", "more": 1}', "more"),
    ],
)
def test_an_answer_keeps_its_contract_or_it_is_said_what_does_not(
    contract: StageContract, text: str, problem: str | None
) -> None:
    one = stage("harmonize", contract=contract)
    if problem is None:
        assert checked_answer(one, 1, 2, said(text)) == text.strip()
        return
    with pytest.raises(StageFailedError, match=f"(?s)Stage 1 of 2, «harmonize».*{problem}") as failed:
        checked_answer(one, 1, 2, said(text))
    assert failed.value.code == "stage_failed"
    assert (text[:50] or "nothing") in str(failed.value)


def test_an_answer_that_was_cut_off_says_so() -> None:
    with pytest.raises(StageFailedError, match="cut off after 5 tokens"):
        checked_answer(stage(contract=StageContract(kind=ContractKind.JSON)), 1, 1, said('{"a": ', "length"))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "nonsense"}, "not valid"),
        ({"$ref": "https://example.com/schema.json"}, "outside itself"),
        ({"$ref": "file:///etc/passwd"}, "outside itself"),
        ({"$ref": "#"}, "refers to itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"$ref": "#/$defs/none"}, "not in it"),
        ({"$id": "http://x", "$ref": "y"}, r"\$id"),
        ({"patternProperties": {"(a+)+$": {}}}, "patternProperties"),
        ({"properties": {"a": {"pattern": "("}}}, "regex"),
        ({"enum": ["x" * 60_000]}, "longer than"),
    ],
)
def test_a_schema_that_cannot_be_checked_safely_is_refused(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=f"(?s)contract of the stage «plan».*{problem}"):
        check_stages([stage(contract=of_schema(schema))])


def test_references_that_double_at_each_step_are_refused_at_once() -> None:
    parts: dict[str, Any] = {f"p{i}": {"allOf": [{"$ref": f"#/$defs/p{i + 1}"}] * 2} for i in range(40)}
    began = time.process_time()
    found = schema_problem(of_schema({"$defs": parts | {"p40": {}}, "$ref": "#/$defs/p0"}))
    assert found is not None
    assert "written out" in found
    assert time.process_time() - began < 1.0


def test_references_within_a_schema_are_followed() -> None:
    contract = of_schema(
        {
            "$defs": {"n": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}},
        }
    )
    assert schema_problem(contract) is None
    assert answer_problem(contract, '{"a": 1, "b": 2}') is None
    assert "'b'" in (answer_problem(contract, '{"a": 1, "b": "x"}') or "")


def test_a_pattern_that_explodes_is_given_up() -> None:
    contract = of_schema({"type": "string", "pattern": "^(a|a)*b$"})
    assert schema_problem(contract) is None
    began = time.perf_counter()
    assert answer_problem(contract, '"' + "a" * 4000 + '"')
    assert time.perf_counter() - began < 20  # to the end it would take longer than the world is old


def test_stages_of_a_pipeline_have_names_of_their_own_and_are_not_pipelines() -> None:
    for stages in ([stage("a"), stage("a")], [stage("input")]):
        with pytest.raises(ValidationError, match="name of its own"):
            CompositionSpec(method=Method.SEQUENTIAL, stages=tuple(stages))
    inner = CompositionSpec(method=Method.SEQUENTIAL, stages=(stage("a"),))
    with pytest.raises(ValidationError, match="cannot be sequential"):
        CompositionSpec(method=Method.SEQUENTIAL, stages=(Stage(name="b", composition=inner),))
