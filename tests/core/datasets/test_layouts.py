"""Prompt and completion, messages, preference pairs; splits and slices."""

import json
from collections import Counter
from pathlib import Path

import pytest

from core.datasets.examples import open_examples
from core.datasets.layouts import outline_of
from core.datasets.records import DatasetKind, Example, Layout, Preference, Split
from core.datasets.rows import Fault, Row
from core.datasets.splits import split_of_prompt
from core.errors import InvalidInputError

USER = {"role": "user", "content": "Harmonize this"}
ANSWER = {"role": "assistant", "content": "{}"}
SYSTEM = {"role": "system", "content": "You speak RMIS."}


def read(tmp_path: Path, *rows: dict[str, object]) -> list[Example | Preference | Fault]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(open_examples(path)[1])


@pytest.mark.parametrize(
    ("row", "system"),
    [
        ({"prompt": "Harmonize this", "completion": "{}"}, ""),
        ({"prompt": [USER], "completion": [ANSWER]}, ""),
        ({"prompt": [SYSTEM, USER], "completion": "{}"}, "You speak RMIS."),
        ({"prompt": "Harmonize this", "completion": [ANSWER], "source": "somewhere"}, ""),
        ({"messages": [USER, ANSWER]}, ""),
        ({"messages": [SYSTEM, USER, ANSWER]}, "You speak RMIS."),
    ],
)
def test_all_forms_of_a_demonstration_give_the_same_example(tmp_path, row, system) -> None:
    (example,) = read(tmp_path, {**row, "split": "test", "slice": "new_values"})
    assert example == Example("Harmonize this", "{}", Split.TEST, "new_values", 1, system)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Write", "chosen": "Calm.", "rejected": "LOUD!"},
        {
            "prompt": [{"role": "user", "content": "Write"}],
            "chosen": [{"role": "assistant", "content": "Calm."}],
            "rejected": [{"role": "assistant", "content": "LOUD!"}],
        },
        {
            "chosen": [{"role": "user", "content": "Write"}, {"role": "assistant", "content": "Calm."}],
            "rejected": [{"role": "user", "content": "Write"}, {"role": "assistant", "content": "LOUD!"}],
        },
    ],
)
def test_all_forms_of_a_pair_give_the_same_preference(tmp_path, row) -> None:
    (pair,) = read(tmp_path, {**row, "split": "train"})
    assert pair == Preference("Write", "Calm.", "LOUD!", Split.TRAIN, None, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": 5, "completion": "x"}, "prompt is a number, not text"),
        ({"prompt": True, "completion": "x"}, "prompt is true or false"),
        ({"prompt": "x", "completion": {"ts": 1}}, "write JSON answers as one text"),
        ({"question": "x", "completion": "y"}, "not those of the first row"),
        ({"prompt": [USER, USER], "completion": [ANSWER]}, "user, user, assistant; they do not take turns"),
        ({"prompt": [ANSWER], "completion": [USER]}, "assistant, user"),
        ({"prompt": [], "completion": [ANSWER]}, "its turns are assistant"),
        ({"prompt": [{"role": "robot", "content": "x"}], "completion": "y"}, "no role among"),
        ({"prompt": [{"role": "tool", "content": "x"}], "completion": "y"}, "its turns are tool, assistant"),
        ({"prompt": [{**USER, "tool_calls": []}], "completion": "y"}, "tool_calls, which is not supported"),
        ({"prompt": ["x"], "completion": "y"}, "no role among"),
        ({"prompt": "x", "completion": "y", "split": "train"}, "names a split, the first row does not"),
        ({"prompt": "x", "completion": "y", "slice": "s" * 65}, "more than 64 characters"),
    ],
)
def test_a_row_that_does_not_fit_is_listed_with_its_line(tmp_path, row, reason) -> None:
    good, fault = read(tmp_path, {"prompt": "a", "completion": "b"}, row)
    assert isinstance(good, Example)
    assert isinstance(fault, Fault)
    assert fault.line == 2
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "a", "rejected": "b"}, "a prompt is needed"),
        ({"chosen": [USER, ANSWER], "rejected": [SYSTEM, USER, ANSWER]}, "different prompts"),
        ({"messages": "text"}, "user"),
        ({"messages": {"role": "user"}}, "not a list of messages"),
    ],
)
def test_a_first_row_that_fits_no_example_is_listed_too(tmp_path, row, reason) -> None:
    (fault,) = read(tmp_path, row)
    assert isinstance(fault, Fault)
    assert reason in fault.reason


@pytest.mark.parametrize("columns", [{"question"}, {"prompt"}, {"instruction", "response"}, set()])
def test_rows_that_are_no_examples_are_named_by_their_columns(columns) -> None:
    with pytest.raises(InvalidInputError) as caught:
        outline_of(Row(1, dict.fromkeys(columns, "x")))
    assert all(name in caught.value.why for name in columns)
    assert "prompt and completion" in caught.value.next_step


def test_rows_that_fit_two_layouts_are_not_guessed_at() -> None:
    with pytest.raises(InvalidInputError, match="more than one layout"):
        outline_of(Row(1, {"prompt": "a", "completion": "b", "messages": []}))


def test_the_outline_says_kind_and_ignored_columns() -> None:
    outline = outline_of(Row(1, {"chosen": "a", "rejected": "b", "prompt": "c", "id": 7, "split": ""}))
    assert (outline.layout, outline.kind) == (Layout.PREFERENCES, DatasetKind.DPO)
    assert outline.ignored_columns == ("id",)
    assert not outline.names_splits


def test_split_words_are_read_and_unknown_ones_listed(tmp_path) -> None:
    words = ["train", "Validation", "val", "dev", "test", "holdout", ""]
    rows = read(tmp_path, *({"prompt": w, "completion": "x", "split": w} for w in words))
    assert [row.split if isinstance(row, Example) else "listed" for row in rows] == [
        *("train", "validation", "validation", "validation", "test"),
        *("listed", "listed"),
    ]


def test_splits_by_prompt_are_stable_fair_and_keep_equal_prompts_together() -> None:
    counts = Counter(split_of_prompt(f"prompt {n}") for n in range(20_000))
    assert abs(counts[Split.TRAIN] / 20_000 - 0.8) < 0.012
    assert abs(counts[Split.VALIDATION] / 20_000 - 0.1) < 0.009
    assert abs(counts[Split.TEST] / 20_000 - 0.1) < 0.009
    assert split_of_prompt(" A\nprompt ") is split_of_prompt("a Prompt")
    # Written down: these may never move, or a set's test rows would become training rows.
    assert [split_of_prompt(each) for each in "afgi"] == [*[Split.TRAIN] * 2, *[Split.VALIDATION] * 2]
    tests = [n for n in range(60) if split_of_prompt(f"prompt {n}") is Split.TEST]
    assert tests == [10, 11, 18, 38, 48, 53, 58, 59]


def test_a_csv_file_gives_examples_too(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt;completion;split\n"a;b";x;train\nc;;test\n')
    assert list(open_examples(path)[1]) == [
        Example("a;b", "x", Split.TRAIN, None, 2),
        Example("c", "", Split.TEST, None, 3),
    ]


def test_a_file_of_broken_lines_alone_is_refused_with_the_first_ones(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a"}\n' * 30)
    with pytest.raises(InvalidInputError) as caught:
        open_examples(path)
    assert "line 1: it is not valid JSON" in caught.value.why
