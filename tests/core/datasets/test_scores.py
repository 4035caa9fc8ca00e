"""Scores that outlive the process that found them."""

import json

import pytest

from core.datasets import scores
from core.datasets.score import EDITION, Band
from core.datasets.scores import Verdict

VERDICT = Verdict(91.5, Band.GOOD, True)


def test_what_is_kept_is_found_by_the_content_it_is_about(tmp_path) -> None:
    scores.keep(tmp_path / "scores", "a" * 64, VERDICT)
    assert scores.find(tmp_path / "scores", "a" * 64) == VERDICT
    assert scores.find(tmp_path / "scores", "b" * 64) is None


def test_a_score_by_older_rules_is_not_shown(tmp_path) -> None:
    scores.keep(tmp_path, "a" * 64, VERDICT)
    file = tmp_path / f"{'a' * 64}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"edition": EDITION - 1}))
    assert scores.find(tmp_path, "a" * 64) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "\x00", '{"edition": 1, "score": "x"}', '{"edition": 1}']
)
def test_a_damaged_file_is_as_good_as_none(tmp_path, content) -> None:
    (tmp_path / "d.json").write_text(content)
    assert scores.find(tmp_path, "d") is None


def test_a_disk_that_refuses_is_no_error(tmp_path) -> None:
    (tmp_path / "scores").write_text("a file where the folder should be")
    scores.keep(tmp_path / "scores", "a" * 64, VERDICT)
    assert scores.find(tmp_path / "scores", "a" * 64) is None
