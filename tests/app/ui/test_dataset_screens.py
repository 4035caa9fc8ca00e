"""What the dataset screens draw and say, apart from Streamlit."""

from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import pytest

from app.ui import numbers
from app.ui.datasets.health import changed_values
from app.ui.datasets.list import found_by
from app.ui.datasets.read import Examined
from app.ui.datasets.rows import conversations
from app.ui.datasets.shape import balance_chart, length_chart
from app.ui.datasets.split import outcome_words
from app.ui.datasets.words import FIX_LABELS, as_text, fix_label, kind_word, rule_word
from core.datasets.doctor import Examination, Summary
from core.datasets.lengths import Lengths
from core.datasets.records import Dataset, DatasetKind, Example, Fix, Judgement, Layout, Preference, Split
from core.datasets.score import Band
from core.datasets.split_plan import SplitBy, SplitOutcome

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SUMMARY = Summary(
    layout=Layout.PROMPT_COMPLETION,
    layout_reason="",
    file_format="JSONL",
    rows=1,
    unusable_rows=0,
    splits={},
    slices={},
    ignored_columns=(),
    names_splits=True,
    characters=None,
    tokens=None,
    answers={},
    retailers={},
    languages={},
)


def seen(score: float) -> Examination:
    return Examination(score, Band.POOR, True, (), (), SUMMARY, {}, ())


def dataset(name: str, description: str = "", kind: DatasetKind = DatasetKind.SFT) -> Dataset:
    return Dataset(
        "d", "t", name, name.upper(), kind, "task", description, False, "p", "0" * 64, 1, 1, {}, NOW
    )


def test_the_least_used_examination_is_forgotten_first() -> None:
    kept = Examined(most=2)
    kept.keep("a", seen(1))
    kept.keep("b", seen(2))
    assert kept.find("a") == seen(1)
    kept.keep("c", seen(3))
    assert kept.find("b") is None
    assert kept.find("a") is not None
    assert kept.find("c") is not None


def test_examinations_are_kept_by_several_threads_at_once() -> None:
    kept = Examined(most=5)
    threads = [
        Thread(target=lambda at=at: [kept.keep(f"{at}{n}", seen(n)) for n in range(200)]) for at in "xyz"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kept.find(f"{at}{n}") is not None for at in "xyz" for n in range(200)) == 5


def test_the_bars_of_lengths_stand_where_their_rows_are() -> None:
    lengths = Lengths("tokens", 20, 90, 100, 0, 100, (3, *([0] * 18), 1), 4, limit=80, share_cut=0.25)
    chart = length_chart(lengths)
    bar = chart.data[0]
    assert list(bar.y) == [3, *([0] * 18), 1]
    assert (bar.x[0], bar.x[-1]) == (2.5, 97.5)
    assert [line.x0 for line in chart.layout.shapes] == [20, 90, 100, 80]


def test_examples_that_are_all_equally_long_are_one_bar_around_that_length() -> None:
    bars = tuple([0] * 10 + [7] + [0] * 9)
    bar = length_chart(Lengths("characters", 12, 12, 12, 12, 12, bars, 7)).data[0]
    assert list(bar.y) == [7]
    assert list(bar.x) == [12]


def test_the_balance_shows_the_most_frequent_values_and_the_rest_as_one() -> None:
    counts = {f"v{n}": 20 - n for n in range(14)}
    chart = balance_chart("Answers", counts)
    assert list(chart.data[0].x) == [*range(20, 8, -1), 8 + 7]
    assert chart.layout.yaxis.ticktext[-1] == "all others"


def test_values_from_files_are_no_markup_in_a_chart() -> None:
    chart = balance_chart("Answers", {"<a href='javascript:1'>x</a>": 3, " ": 1})
    assert chart.layout.yaxis.ticktext[0].startswith("&lt;a href=")
    assert "<" not in chart.layout.yaxis.ticktext[0]
    assert chart.layout.yaxis.ticktext[1] == "(empty)"


def test_only_the_columns_that_differ_are_shown() -> None:
    before = {"prompt": " a", "completion": "b", "slice": "s", "note": None}
    after = {"prompt": "a", "completion": "b", "split": "train", "note": None}
    assert changed_values(before, after) == (
        {"prompt": " a", "slice": "s"},
        {"prompt": "a", "split": "train"},
    )
    assert changed_values(before, None) == (before, None)
    assert changed_values({"n": None}, {}) == ({"n": None}, {})


def test_a_split_says_shares_groups_and_what_stayed_empty() -> None:
    rows = {Split.TRAIN: 9, Split.VALIDATION: 1, Split.TEST: 0}
    told = outcome_words(SplitOutcome((Split.TRAIN,) * 10, rows, 2, 9), SplitBy.RETAILER)
    assert "train 9 rows (90 %), validation 1 row (10 %), test 0 rows (0 %)" in told
    assert "2 groups" in told
    assert "the largest has 9 rows" in told
    assert told.endswith("Nothing fell to test: the groups are too large.")


def test_turns_before_the_answer_keep_their_order() -> None:
    example = Example("now?", "yes", Split.TRAIN, None, 1, "be kind", (("user", "hi"), ("assistant", "ho")))
    assert [turn["content"] for turn in conversations(example)[""]] == ["be kind", "hi", "ho", "now?", "yes"]
    pair = Preference("q", "good", "bad", Split.TRAIN, None, 1)
    assert [turns[-1]["content"] for turns in conversations(pair).values()] == ["good", "bad"]
    assert list(conversations(Judgement("q", "a", False, Split.TRAIN, None, 1))) == ["Disliked"]


def test_a_search_wants_every_word_somewhere() -> None:
    tea, pot = dataset("green tea", "Leaves of spring"), dataset("pot", kind=DatasetKind.KTO)
    assert found_by([tea, pot], "SPRING tea") == [tea]
    assert found_by([tea, pot], "disliked") == [pot]
    assert found_by([tea, pot], "spring pot") == []
    assert found_by([tea, pot], None) == [tea, pot]


@pytest.mark.parametrize("kind", DatasetKind)
def test_every_kind_has_a_word(kind: DatasetKind) -> None:
    assert kind_word(kind)[0].isupper()


@pytest.mark.parametrize("fix", [fix for fix in Fix if fix])
def test_every_fix_has_a_label(fix: Fix) -> None:
    assert fix in FIX_LABELS
    assert fix_label(str(fix)) == FIX_LABELS[fix]


def test_words() -> None:
    assert (numbers.rows(1), numbers.rows(2), numbers.rows(1200)) == ("1 row", "2 rows", "1,200 rows")
    assert rule_word("near_duplicates") == "Near duplicates"
    assert (as_text(None), as_text("é"), as_text([1, {"a": "é"}])) == ("", "é", '[1, {"a": "é"}]')


def test_an_examination_of_other_content_is_not_taken_for_this_one() -> None:
    kept = Examined()
    first = dataset("one")
    kept.keep(first.digest, seen(50))
    assert kept.find(replace(first, digest="1" * 64).digest) is None
