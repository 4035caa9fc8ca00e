"""What an evaluation says, and what is published beside an adapter. Pure parts; whole runs are in test_run.py."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.datasets.records import Dataset, DatasetKind, Example, Split
from core.errors import InvalidInputError
from core.registry.card import adapter_card
from core.registry.package import publish
from core.registry.records import Manifest
from core.registry.verify import check_manifest, verify_folder
from core.training.evaluate import compare, evaluate_adapter, evaluation_document, held_out_rows
from core.training.publish import library_versions, make_manifest
from core.training.score import Answered
from tests.core.training.tiny_base import small_spec

ROWS = [
    Example(
        f"p{i}", json.dumps({"a": i, "b": "x"}), Split.TEST, "new_values" if i < 6 else "held_out_columns", i
    )
    for i in range(10)
]


def document(rows: list[Example] = ROWS) -> dict[str, Any]:
    base = [Answered("no json", 30.0, 10)] * len(rows)
    adapter = [
        Answered(row.completion if i % 5 else '{"a":0,"b":"x"}', 2.0 + i, 10) for i, row in enumerate(rows)
    ]
    return evaluation_document(compare(rows, base, adapter, "d" * 64, 1.5))


def test_the_headline_is_new_values_and_other_slices_stand_apart() -> None:
    told = document()
    assert told["headline_slice"] == "new_values"
    assert set(told["slices"]) == {"new_values", "held_out_columns"}
    assert told["n"] == told["headline"]["n"] == 6
    assert told["adapter_exact_match"] == pytest.approx(
        5 / 6
    )  # row 0's wrong answer is {"a": 0}, which is right
    assert told["slices"]["held_out_columns"]["n"] == 4
    assert json.loads(json.dumps(told))["slices"]["held_out_columns"]["n"] == 4


def test_a_set_without_slices_is_told_as_one() -> None:
    told = document([replace(row, slice=None) for row in ROWS])
    assert told["headline_slice"] is None
    assert told["slices"] == {}
    assert told["n"] == 10


def test_free_text_is_told_by_its_loss_and_json_by_its_exact_match() -> None:
    told = document()
    assert told["main_figure"] == "exact_match"
    # Rows 0 to 5: 2 to 7 nats of the adapter, 30 of the base, over 10 tokens each.
    assert told["base_answer_loss"] == pytest.approx(3.0)
    assert told["adapter_answer_loss"] == pytest.approx(0.45)
    assert told["answer_loss_change"] == pytest.approx(-2.55)
    assert told["headline"]["adapter_answer_loss"]["tokens"] == 60
    prose = [replace(row, completion=f"Calm {row.line}.") for row in ROWS]
    told = document(prose)
    assert told["main_figure"] == "answer_loss"
    low, high = told["headline"]["answer_loss_change"][1:]
    assert low < -2.55 < high < 0
    assert json.loads(json.dumps(told))["headline"]["base_answer_loss"]["rows"] == 6


def test_rows_without_a_loss_or_a_single_one_make_no_loss() -> None:
    rows = [replace(row, completion="Calm.", slice=None) for row in ROWS]
    measured = [Answered("x", 3.0, 4), *[Answered("x", None, 4)] * 8, Answered("x", float("inf"), 4)]
    told = evaluation_document(compare(rows, measured, measured, "d" * 64, 1.0))
    assert (told["base_answer_loss"], told["answer_loss_change"]) == (None, None)
    assert told["main_figure"] == "exact_match"


def test_samples_show_wrong_answers_as_well_as_right_ones() -> None:
    samples = document()["samples"]
    assert len(samples) == 10
    assert any(sample["adapter"] != sample["expected"] for sample in samples)
    assert samples[0]["prompt"] == "p0"


def test_held_out_rows_are_test_rows_in_order_and_the_same_draw_for_a_seed() -> None:
    examples = [replace(row, split=Split.TRAIN) for row in ROWS] + [
        replace(row, line=row.line + 100) for row in ROWS
    ]
    drawn = held_out_rows(examples, 4, 3)
    assert len(drawn) == 4
    assert [row.line for row in drawn] == sorted(row.line for row in drawn)
    assert all(row.split is Split.TEST for row in drawn)
    assert drawn == held_out_rows(examples, 4, 3) != held_out_rows(examples, 4, 4)
    assert held_out_rows(examples, 99, 0) == examples[10:]


def test_an_evaluation_without_rows_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        evaluate_adapter(
            None,
            None,
            [],
            ends=frozenset(),
            dataset_digest="",
            stage=lambda _stage: None,
            alive=lambda _share: None,
        )


@pytest.fixture
def manifest(make_adapter: Any) -> tuple[Path, Manifest]:
    trained = make_adapter(3, rank=4)
    facts = verify_folder(trained)
    dataset = Dataset(
        "ds", "ten", "demo set", "Demo", DatasetKind.SFT, "retailer", "", True, "x", "e" * 64, 1, 10, {}, datetime.now(UTC)
    )  # fmt: skip
    training = {"steps": 12, "seconds": 3.5, "final_loss": 0.25, "finished_at": "2026-11-02T09:30:00+00:00"}
    made = make_manifest(
        trained,
        small_spec("ds", name="alpha"),
        dataset,
        base_name="tiny",
        base_digest="b" * 64,
        parameters=facts.parameters,
        training=training,
        evaluation=document(),
    )
    return trained, made


def test_the_manifest_tells_the_truth_about_the_files(manifest: tuple[Path, Manifest]) -> None:
    trained, made = manifest
    check_manifest(made, verify_folder(trained))
    assert made.simulated
    assert made.created_at == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    assert made.versions == library_versions()
    assert {"torch", "peft", "trl"} <= set(made.versions)


def test_publishing_twice_gives_one_folder(manifest: tuple[Path, Manifest], tmp_path: Path) -> None:
    trained, made = manifest
    first = publish(trained, made, tmp_path / "adapters")
    inode = first.stat().st_ino
    assert publish(trained, made, tmp_path / "adapters") == first
    assert first.stat().st_ino == inode
    assert [p.name for p in (tmp_path / "adapters").iterdir()] == [made.digest]
    assert verify_folder(first).digest == made.digest


def test_the_card_says_what_it_is_from_what_and_how_good(manifest: tuple[Path, Manifest]) -> None:
    card = adapter_card(manifest[1])
    for part in (
        "# alpha",
        "simulated data",
        "demo set",
        "new_values, n=6",
        "exact match",
        "held_out_columns",
        "answer loss | 3.000 (3.000–3.000) | 0.450 (",
        "12 steps, 4 s, final loss 0.250",
    ):
        assert part in card
    assert "0.833 (" in card
