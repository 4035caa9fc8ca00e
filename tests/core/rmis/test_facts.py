import pytest

from core.rmis.facts import FACT_COLUMNS, FactType, fact_column, validate_record
from core.rmis.vocabularies import QUALIFIERS, TRANSFORM_PARAMETERS, TransformOp


def test_no_fact_column_is_named_twice():
    names = [column.name for column in FACT_COLUMNS]
    assert len(names) == len(set(names))


def test_a_whole_record_is_valid():
    record = {
        "ts": "2026-03-04T05:06:07Z",
        "event_type": "click",
        "placement_type": "sponsored_brand",
        "campaign_id": "000123456789012345",
        "clicks": 3,
        "cost": 1.25,
        "currency": "USD",
        "attributed_sales": None,
        "cost_component.supply": 0.4,
    }
    assert validate_record(record) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ts", "2026-03-04T05:06:07+02:00"),
        ("ts", "2026-02-30T05:06:07Z"),
        ("date_local", "04.03.2026"),
        ("event_type", "tap"),
        ("campaign_id", 123),
        ("clicks", 1.5),
        ("clicks", True),
        ("cost", "1.25"),
        ("cost", float("nan")),
        ("currency", "usd"),
        ("suppressed", 1),
        ("plc", "K4"),
        ("cost_component.", 1.0),
    ],
)
def test_a_wrong_value_is_one_named_problem(name: str, value: object):
    problems = validate_record({name: value})
    assert len(problems) == 1
    assert problems[0].startswith(name)


def test_only_word_columns_have_words():
    assert all(bool(column.words) == (column.dtype is FactType.WORD) for column in FACT_COLUMNS)


def test_an_unknown_column_is_none():
    assert fact_column("spend") is None


def test_every_operation_names_its_parameters():
    assert set(TRANSFORM_PARAMETERS) == set(TransformOp)
    assert QUALIFIERS["window_click_days"] == ()
