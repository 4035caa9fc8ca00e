"""What is said of one event at different times becomes one impression, and what is there stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.experiments.complete import completed, names_of
from core.experiments.records import Impression

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
ANSWER = Impression(
    "event:r", "v1", "ann", NOW, success=True, latency_ms=120.0, metrics={"completion_tokens": 7.0}
)
RATING = Impression("event:r", "v1", "r", NOW, feedback_score=5.0, metrics={"cost": 2.0}, independent=True)


def test_a_rating_completes_what_the_answer_told_and_stays_of_its_unit() -> None:
    whole = completed(ANSWER, RATING)
    assert whole == replace(ANSWER, feedback_score=5.0, metrics={"completion_tokens": 7.0, "cost": 2.0})
    assert set(names_of(whole)) == {"success", "latency_ms", "feedback_score", "completion_tokens", "cost"}


def test_what_the_answer_tells_completes_a_rating_that_came_first_and_says_whose_it_is() -> None:
    whole = completed(RATING, replace(ANSWER, at=NOW + timedelta(seconds=1)), measured=True)
    assert (whole.unit, whole.independent, whole.variant) == ("ann", False, "v1")
    assert (whole.success, whole.latency_ms, whole.feedback_score) == (True, 120.0, 5.0)


@pytest.mark.parametrize(
    "again",
    [
        {"success": False, "latency_ms": 1.0, "feedback_score": None, "metrics": {}},
        {"success": None, "latency_ms": None, "feedback_score": None, "metrics": {"completion_tokens": 1.0}},
        {"feedback_score": 5.0, "variant": "v2"},
    ],
)
def test_what_is_there_is_not_changed_and_another_arm_adds_nothing(again: dict[str, Any]) -> None:
    assert completed(ANSWER, replace(RATING, **{"metrics": {}, **again})) == ANSWER


def test_the_answer_wins_over_what_a_client_said_of_it_unless_that_is_counted() -> None:
    said = replace(RATING, success=False, latency_ms=3.0, metrics={"completion_tokens": 99.0})
    whole = completed(said, ANSWER, measured=True)
    assert (whole.success, whole.latency_ms, whole.feedback_score) == (True, 120.0, 5.0)
    assert whole.metrics == {"completion_tokens": 7.0}
    late = completed(replace(said, latency_ms=None), ANSWER, ["success", "completion_tokens"], measured=True)
    assert (late.success, late.latency_ms, late.metrics) == (False, 120.0, {"completion_tokens": 99.0})


def test_an_exposure_with_an_outcome_is_an_exposure_no_more() -> None:
    exposed = Impression("event:r", "v1", "ann", NOW, exposure=True)
    assert not completed(exposed, RATING).exposure
    assert completed(exposed, replace(exposed, at=NOW + timedelta(days=1))) == exposed
