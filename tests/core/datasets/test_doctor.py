"""A file is examined once: what it is, what is wrong and where, and how good it is."""

import gzip
import json
import random
import time
from pathlib import Path

import polars as pl
import pytest

from core.datasets.doctor import Examination, examine
from core.datasets.records import Fix, Layout
from core.datasets.score import Band
from core.errors import InvalidInputError, RefusedFileError

USER = {"role": "user", "content": "How many clicks?"}
FUNCTION = {"name": "count", "arguments": '{"what":"clicks"}'}
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": FUNCTION}]}
PARAMETERS = {"properties": {"what": {}}, "required": ["what"]}
TOOLS = [{"type": "function", "function": {"name": "count", "parameters": PARAMETERS}}]


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def shared(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def answer(n: int) -> str:
    return json.dumps({"ts": f"2026-01-02T03:{n % 60:02d}:00Z", "clicks": n})


def plain(rows: int) -> list[dict[str, object]]:
    splits = ["train"] * 7 + ["validation"] + ["test"] * 2
    return [
        {"prompt": f"Harmonize {n * 7919}", "completion": answer(n), "split": splits[n % 10]}
        for n in range(rows)
    ]


def written(tmp_path: Path, rows: list[object]) -> Path:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


def rules(seen: Examination) -> dict[str, int]:
    return {problem.rule: problem.rows for problem in seen.problems}


def test_a_clean_file_is_excellent_and_described(tmp_path) -> None:
    seen = examine(written(tmp_path, plain(200)))
    assert (seen.score, seen.band, seen.trainable, seen.lost, seen.problems) == (
        100.0,
        Band.EXCELLENT,
        True,
        (),
        (),
    )
    about = seen.summary
    assert (about.layout, about.file_format, about.rows, about.unusable_rows) == (
        Layout.PROMPT_COMPLETION,
        "JSONL",
        200,
        0,
    )
    assert (
        about.layout_reason
        == "The rows are prompts with their completions: the first one has completion, prompt."
    )
    assert about.splits == {"train": 140, "test": 40, "validation": 20}
    assert about.tokens is None
    assert about.characters is not None
    assert sum(about.characters.bars) == about.characters.measured == 200


def test_unusable_rows_are_listed_by_kind_with_lines_and_rows(tmp_path) -> None:
    rows: list[object] = [
        *plain(100),
        b'{"prompt": "cut',
        b'{"prompt": "\xff", "completion": "x"}',
        {"question": "a"},
    ]
    rows += [{"prompt": 7, "completion": "x", "split": "train"}, b"[1]", {**plain(1)[0], "prompt": "fine 1"}]
    seen = examine(written(tmp_path, rows))
    assert rules(seen) == {
        "parse_error": 2,
        "not_utf8": 1,
        "wrong_columns": 1,
        "wrong_type": 1,
        "few_test_rows": 20,
    }
    assert seen.rows_of == {
        "parse_error": (101, 105), "not_utf8": (102,), "wrong_columns": (103,), "wrong_type": (104,)
    }  # fmt: skip
    assert not seen.trainable
    assert seen.summary.unusable_rows == len(seen.faults) == 5
    broken = next(p for p in seen.problems if p.rule == "parse_error")
    assert broken.lines == (101, 105)
    assert broken.message.startswith("2 rows cannot be read, the first one in line 101: it is not valid JSON")
    assert {p.rule: p.fix for p in seen.problems}["not_utf8"] == Fix.REPAIR_ENCODING


def test_rows_are_counted_where_a_document_has_but_one_line(tmp_path) -> None:
    path = tmp_path / "set.json"
    rows = plain(60)
    rows[41]["completion"] = " "
    path.write_text(json.dumps(rows))
    seen = examine(path)
    assert seen.rows_of["empty_completion"] == (42,)
    assert next(p for p in seen.problems if p.rule == "empty_completion").lines == (1,)


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        (lambda n: {"messages": chat(f"{n} clicks?", f"{n} it is")}, "messages"),
        (lambda n: {"instruction": f"Add {n}", "input": f"and {n}", "output": f"{2 * n} it is"}, "alpaca"),
        (lambda n: {"conversations": shared(f"Add {n}", f"{n} done")}, "sharegpt"),
        (lambda n: {"prompt": f"Write {n}", "chosen": f"calm {n}" + "x" * (n % 3), "rejected": f"LOUD {n}"}, "preferences"),
        (lambda n: {"prompt": f"Write {n}", "completion": f"calm {n}", "label": n % 2 == 0}, "labels"),
        (lambda n: {"messages": [{**USER, "content": f"{n}?"}, CALL], "tools": TOOLS}, "tool_calls"),
        (lambda n: {"source_field": f"f{n}", "target": "cost", "transform": "none"}, "field_mappings"),
    ],
)  # fmt: skip
def test_every_layout_is_told_and_a_clean_set_of_it_loses_nothing(tmp_path, row, layout) -> None:
    seen = examine(written(tmp_path, [row(n) for n in range(600)]))
    assert seen.summary.layout == layout
    assert seen.summary.layout_reason
    assert seen.lost == ()
    assert not any(problem.severity == "error" for problem in seen.problems)


def test_what_a_mapping_rule_may_not_say_is_found(tmp_path) -> None:
    rows: list[object] = [
        {"source_field": f"f{n}", "target": "cost", "transform": "none", "qualifiers": {}} for n in range(100)
    ]
    rows.append({"source_field": "a", "target": "spend_usd", "transform": {"op": "none"}})
    rows.append({"source_field": "b", "target": "cost", "transform": {"op": "guess"}})
    rows.append(
        {
            "source_field": "c",
            "target": "clicks",
            "transform": {"op": "none"},
            "qualifiers": {"touch": "hover"},
        }
    )
    seen = examine(written(tmp_path, rows))
    found = {rule: seen.rows_of.get(rule) for rule in ("unknown_target", "bad_transform", "bad_qualifier")}
    assert found == {"unknown_target": (101,), "bad_transform": (102,), "bad_qualifier": (103,)}


def test_conversations_of_several_turns_are_examined_and_reported(tmp_path) -> None:
    rows = [{"messages": chat(f"{n}?", f"{n}.")} for n in range(100)]
    several = chat("How many clicks?", "Seven.", "And views?", "Nine.")
    seen = examine(written(tmp_path, [*rows, {"messages": several}]))
    assert seen.rows_of["several_turns"] == (101,)
    assert "several_turns" not in {lost.rule for lost in seen.lost}


def test_thumbs_of_the_same_answer_that_disagree_and_that_all_agree_are_found(tmp_path) -> None:
    rows = [{"prompt": f"Write {n}", "completion": f"line {n}", "label": n > 3} for n in range(200)]
    seen = examine(
        written(tmp_path, [*rows, {"prompt": "Write 50", "completion": "line 50", "label": False}])
    )
    assert seen.rows_of["contradictions"] == (51, 201)
    assert "one_label_dominates" in rules(seen)
    assert seen.summary.answers == {"up": 196, "down": 5}


def test_tokens_are_measured_by_the_function_that_is_given(tmp_path) -> None:
    rows = plain(100)
    rows[9]["prompt"] = "Harmonize " + "word " * 300
    seen = examine(
        written(tmp_path, rows),
        count_tokens=lambda examples: [len(e.prompt.split()) + 2 for e in examples],
        max_tokens=50,
    )
    assert seen.rows_of["too_long_tokens"] == (10,)
    tokens = seen.summary.tokens
    assert tokens is not None
    assert (tokens.p50, tokens.p99, tokens.longest, tokens.share_cut) == (4, 4, 303, 0.01)


def test_bytes_decide_the_format_gzip_and_parquet_too(tmp_path) -> None:
    packed = tmp_path / "a.bin"
    packed.write_bytes(gzip.compress("\n".join(map(json.dumps, plain(100))).encode()))
    assert examine(packed).summary.file_format == "JSONL, packed with gzip"
    parquet = tmp_path / "b.bin"
    messages = [
        [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}] for n in range(100)
    ]
    pl.DataFrame({"messages": messages}).write_parquet(parquet)
    seen = examine(parquet)
    assert (seen.summary.file_format, seen.summary.layout, seen.summary.rows) == (
        "PARQUET",
        Layout.MESSAGES,
        100,
    )
    table = tmp_path / "c.bin"
    table.write_text("prompt\tcompletion\n" + "".join(f"q {n}\ta {n}\n" for n in range(100)))
    assert examine(table).summary.file_format == "CSV separated by tab"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", RefusedFileError),
        (b"PAR1 and nothing", RefusedFileError),
        (b'{"question": 1}\n', InvalidInputError),
    ],
)
def test_what_is_no_training_file_is_refused_with_the_reason(tmp_path, raw, error) -> None:
    path = tmp_path / "set"
    path.write_bytes(raw)
    with pytest.raises(error) as caught:
        examine(path)
    assert caught.value.next_step


def test_planted_defects_are_found_and_clean_rows_are_left_alone(tmp_path) -> None:
    rng, rows = random.Random(20), plain(400)
    plant = {
        "empty_prompt": lambda row: {**row, "prompt": ""},
        "duplicate_rows": lambda row: row,
        "near_duplicates": lambda row: {**row, "prompt": row["prompt"].upper() + "!"},
        "output_not_json": lambda row: {
            **row,
            "prompt": f"p {rng.random()}",
            "completion": row["completion"][:-3],
        },
        "rmis_record": lambda row: {
            **row,
            "prompt": f"p {rng.random()}",
            "completion": '{"clicks": 1.5, "ts": 3}',
        },
        "personal_data": lambda row: {**row, "prompt": f"mail eva{rng.randrange(10**6)}@shop.example"},
        "secrets": lambda row: {**row, "prompt": f"ghp_{rng.randrange(10**40, 10**41)}"},
        "broken_text": lambda row: {**row, "prompt": f"lost \ufffd {rng.random()}"},
    }
    expected: dict[str, list[int]] = {}
    for rule, change in plant.items():
        for _ in range(4):
            rows.append(change(rng.choice(rows[:400])))
            expected.setdefault(rule, []).append(len(rows))
    seen = examine(written(tmp_path, rows))
    for rule, places in expected.items():
        assert set(places) <= set(seen.rows_of[rule]), rule
    alarms = {n for rule in seen.rows_of for n in seen.rows_of[rule] if n <= 400}
    assert len(alarms) <= 0.02 * 400
    assert seen.band is Band.POOR or seen.score < 95


def test_ten_thousand_rows_take_a_tenth_of_the_time_that_ten_times_as_many_may(tmp_path) -> None:
    path = written(tmp_path, plain(10_000))
    start = time.process_time()
    assert examine(path).score == 100
    # 10 s are the goal for 100,000 rows; a slow machine gets three times the tenth of that.
    assert time.process_time() - start < 3
