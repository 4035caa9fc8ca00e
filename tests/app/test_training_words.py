"""What `train --wait` tells of a job that has ended."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.commands.training import _outcome, _text
from core.datasets.records import Example, Split
from core.jobs.records import Job, JobState
from core.training.evaluate import compare, evaluation_document
from core.training.score import Answered

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def ended(expected: str) -> Job:
    rows = [Example(f"p{i}", expected, Split.TEST, None, i) for i in range(4)]
    answers = [[Answered("x", nats + i, 10) for i in range(4)] for nats in (20.0, 5.0)]
    evaluation: dict[str, Any] = evaluation_document(compare(rows, *answers, "d" * 64, 1.0))
    result = {"adapter_id": "adp_1", "seconds": 12.0, "evaluation": evaluation}
    job = Job(
        "job_1", "t", "train", "calm", JobState.SUCCEEDED, {}, "", 1, 1, None, 1, "", False, "ann", result, None,
        NOW, NOW, NOW, NOW,
    )  # fmt: skip
    return replace(job, result=result)


def test_free_text_is_told_by_its_loss_before_its_exact_match() -> None:
    lines = _text(ended("Calm.")).splitlines()
    # 20, 21, 22, 23 nats of the base, 5, 6, 7, 8 of the adapter, over 10 tokens each.
    assert lines[1] == (
        "  loss per answer token: base 2.150 → adapter 0.650 "
        "(-1.500, 95 % interval -1.500 to -1.500) on 4 held-out rows"
    )
    assert lines[2].startswith("  exact match")


def test_json_is_told_by_its_exact_match() -> None:
    assert "loss per answer token" not in _text(ended('{"a": 1}'))


def test_the_json_answer_names_the_main_figure() -> None:
    evaluation = _outcome(ended("Calm."))["evaluation"]
    assert evaluation["main_figure"] == "answer_loss"
    assert (evaluation["base_answer_loss"], evaluation["adapter_answer_loss"]) == (2.15, 0.65)
    assert evaluation["answer_loss_change"] == -1.5
