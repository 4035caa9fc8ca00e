"""The card of an adapter: facts and figures, whoever wrote its manifest."""

from datetime import datetime
from typing import Any

import pytest

from core.registry.card import adapter_card
from core.registry.records import AdapterType, Manifest


def made(now: datetime, **more: Any) -> Manifest:
    return Manifest(
        name="alpha",
        type=AdapterType.BRAND,
        digest="a" * 64,
        base_name="tiny",
        base_digest="b" * 64,
        rank=8,
        target_modules=["q_proj"],
        parameters=1234,
        created_at=now,
        **more,
    )


def test_the_card_shows_facts_and_figures_and_quotes_the_base(now: datetime) -> None:
    manifest = Manifest(
        name="alpha",
        type=AdapterType.RETAILER,
        digest="a" * 64,
        base_name='evil"\nmodel: x',
        base_digest="b" * 64,
        rank=8,
        target_modules=["q_proj"],
        parameters=1234,
        created_at=now,
        evaluation={"n": 240, "adapter_exact_match": 0.9125, "samples": ["x"], "ok": True},
    )
    card = adapter_card(manifest)
    assert card.startswith('---\nlibrary_name: peft\nbase_model: "evil\\"\\nmodel: x"\ntags: [lora]\n---\n')
    assert "- adapter exact match: 0.9125\n" in card
    assert "1,234" in card
    assert "simulated" not in card


def test_figures_with_intervals_stand_in_a_table_headline_first(now: datetime) -> None:
    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    score = {
        "n": 8,
        "base_answer_loss": figure(2.0),
        "adapter_answer_loss": figure(0.5),
        "base_json_validity": None,
    }
    evaluation = {
        "headline_slice": "new_values",
        "headline": score,
        "slices": {"new_values": score, "a|b": score},
    }
    lines = adapter_card(
        made(now, evaluation=evaluation, training={"steps": 1200, "seconds": 61.6})
    ).splitlines()
    rows = [line for line in lines if "answer loss |" in line]
    assert rows == [
        "| new_values, n=8 | answer loss | 2.000 (1.900–2.100) | 0.500 (0.400–0.600) |",
        "| a/b, n=8 | answer loss | 2.000 (1.900–2.100) | 0.500 (0.400–0.600) |",
    ]
    assert "- Training: 1,200 steps, 62 s" in lines
    assert not any("json validity" in line for line in lines)


@pytest.mark.parametrize(
    "evaluation",
    [
        {"headline": 3, "slices": [1]},
        {"headline": {"base_exact_match": 1, "adapter_exact_match": {"value": "x"}}, "slices": {"s": None}},
        {"headline": {"base_exact_match": {"value": 1.0, "low": float("nan"), "high": 1}}},
        {"n": float("inf"), "m": None, "o": True},
    ],
)
def test_a_strange_evaluation_makes_no_table_and_no_error(now: datetime, evaluation: dict[str, Any]) -> None:
    card = adapter_card(made(now, evaluation=evaluation, training={"steps": "many"}))
    assert "|---|" not in card
    assert "nan" not in card
    assert "inf" not in card
