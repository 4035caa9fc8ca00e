import pytest

from core.training.score import score_answer, score_slice


@pytest.mark.parametrize(
    ("answer", "expected", "exact", "valid", "right", "fields"),
    [
        ('{"a":1,"b":"x"}', '{"a":1,"b":"x"}', True, True, 2, 2),
        ('{ "b": "x", "a": 1.0 }', '{"a":1,"b":"x"}', True, True, 2, 2),
        ('{"a":1.50}', '{"a":1.5}', True, True, 1, 1),
        ('{"a":1,"b":"y"}', '{"a":1,"b":"x"}', False, True, 1, 2),
        ('{"a":1,"b":"x","z":0}', '{"a":1,"b":"x"}', False, True, 2, 2),
        ('{"a":true}', '{"a":1}', False, True, 0, 1),
        ('{"a":"1"}', '{"a":1}', False, True, 0, 1),
        ('{"a":null}', '{"a":0}', False, True, 0, 1),
        ('{"a":1', '{"a":1}', False, False, 0, 1),
        ('{"a":NaN}', '{"a":1}', False, False, 0, 1),
        ("", '{"a":1,"b":[1,{"c":2}],"d":{}}', False, False, 0, 4),
        ('{"b":[1,{"c":2}],"a":1,"d":{}}', '{"a":1,"b":[1,{"c":2}],"d":{}}', True, True, 4, 4),
        ('{"a":[1,2]}', '{"a":[2,1]}', False, True, 0, 2),
        ('{"a":12345678901234567.1}', '{"a":12345678901234567.2}', False, True, 0, 1),
        ("plain words ", "plain words", True, None, 1, 1),
        ("other words", "plain words", False, None, 0, 1),
        ("17.0", "17", False, None, 0, 1),
    ],
)
def test_an_answer_is_compared_as_json_where_json_is_expected(
    answer: str, expected: str, exact: bool, valid: bool | None, right: int, fields: int
) -> None:
    score = score_answer(answer, expected)
    assert (score.exact, score.valid_json, score.right_fields, score.fields) == (exact, valid, right, fields)


def test_a_deeply_nested_answer_is_not_valid_rather_than_an_accident() -> None:
    assert score_answer("[" * 100_000 + "]" * 100_000, '{"a":1}').valid_json is False


def test_a_slice_compares_base_and_adapter_on_the_same_rows() -> None:
    expected = ['{"a":1,"b":2}'] * 4
    base = [
        score_answer(a, e) for a, e in zip(['{"a":1}', "no", '{"a":1,"b":2}', "{}"], expected, strict=True)
    ]
    adapter = [score_answer(e, e) for e in expected]
    score = score_slice(base, adapter)
    assert score.n == 4
    assert score.base_exact_match.value == 0.25
    assert score.adapter_exact_match.value == 1.0
    value, low, high = score.exact_match_lift
    assert value == 0.75
    assert low < 0.75 < high <= 1.0
    assert score.base_json_validity is not None
    assert score.base_json_validity.value == 0.75
    assert score.base_field_accuracy is not None
    assert (score.base_field_accuracy.value, score.base_field_accuracy.n) == (3 / 8, 8)


def test_a_set_of_plain_texts_has_no_json_figures() -> None:
    rows = [score_answer("x", "x"), score_answer("x", "y")]
    score = score_slice(rows, rows)
    assert score.base_json_validity is None
    assert score.adapter_field_accuracy is None
    assert score.adapter_exact_match.value == 0.5
