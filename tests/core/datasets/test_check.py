"""Each check finds what it is for, says so with lines, and keeps quiet on a sound set."""

import json
import time
from dataclasses import replace

import pytest

from core.datasets.check import check_examples, check_preferences, require_trainable
from core.datasets.records import Example, Preference, Problem, Split
from core.errors import InvalidInputError


def record(n: int) -> str:
    return json.dumps({"ts": f"2026-01-02T03:{n % 60:02d}:00Z", "clicks": n, "event_type": "click"})


def sound_set(rows: int = 200) -> list[Example]:
    splits = [Split.TRAIN] * 8 + [Split.VALIDATION, Split.TEST]
    rows_of_split = (splits[n % 10] if rows == 200 else Split.TRAIN for n in range(rows))
    return [
        Example(f"Harmonize: Retailer Zeta\nw={n}|c=K{n % 4}", record(n), split, None, n + 1)
        for n, split in enumerate(rows_of_split)
    ] + [Example(f"Harmonize: test {n}", record(n), Split.TEST, "new_values", 1000 + n) for n in range(30)]


def changed(index: int, **changes: object) -> list[Example]:
    examples = sound_set()
    examples[index] = replace(examples[index], **changes)
    return examples


def problem(problems: list[Problem], rule: str) -> Problem:
    found = [each for each in problems if each.rule == rule]
    assert len(found) == 1, f"{rule} not in {[each.rule for each in problems]}"
    return found[0]


def test_a_sound_set_has_no_problems() -> None:
    assert check_examples(sound_set(), count_tokens=lambda _: 100, max_tokens=100) == []
    require_trainable("set", [])


@pytest.mark.parametrize(
    ("index", "changes", "rule", "severity"),
    [
        (3, {"prompt": " \n"}, "empty_prompt", "error"),
        (3, {"completion": ""}, "empty_completion", "error"),
        (9, {"prompt": "Harmonize: Retailer Zeta\nw=0|c=k0 "}, "test_leakage", "error"),
        (8, {"prompt": "Harmonize: Retailer Zeta\nw=0|c=K0"}, "validation_leakage", "warning"),
        (
            3,
            {"prompt": "Harmonize: Retailer Zeta\nw=0|c=K0", "completion": record(0)},
            "duplicate_rows",
            "warning",
        ),
        (3, {"completion": "not JSON"}, "output_not_json", "warning"),
        (3, {"completion": '{"clicks": "many"}'}, "rmis_record", "warning"),
        (3, {"completion": '{"ts": "yesterday"}'}, "rmis_record", "warning"),
        (3, {"prompt": "same", "completion": "same"}, "copied_prompt", "warning"),
        (3, {"prompt": "x" * 20_001}, "too_long_characters", "warning"),
        (3, {"prompt": "mail jane.doe@shop.example now"}, "personal_data", "warning"),
        (3, {"prompt": "key AKIAABCDEFGHIJKLMNOP"}, "secrets", "warning"),
        (3, {"prompt": "CafÃ© au lait"}, "broken_text", "warning"),
        (3, {"prompt": "lost \ufffd sign"}, "broken_text", "warning"),
        (3, {"completion": "I'm sorry, but I cannot help."}, "boilerplate", "warning"),
    ],
)
def test_a_planted_defect_is_found_with_its_line(index, changes, rule, severity) -> None:
    found = problem(check_examples(changed(index, **changes)), rule)
    assert found.severity == severity
    assert found.rows == 1
    assert found.lines == (index + 1,)
    assert found.message.startswith("1 ")


def test_the_same_prompt_with_another_answer_is_a_contradiction_on_both_lines() -> None:
    found = problem(check_examples(changed(3, prompt="Harmonize: Retailer Zeta\nw=0|c=K0")), "contradictions")
    assert (found.rows, found.lines) == (2, (1, 4))


def test_the_same_prompt_after_another_system_turn_is_another_question() -> None:
    examples = changed(3, prompt="Harmonize: Retailer Zeta\nw=0|c=K0", system="Answer in French.")
    assert check_examples(examples) == []


@pytest.mark.parametrize(("rows", "severity"), [(0, "error"), (7, "error"), (8, "warning"), (49, "warning")])
def test_too_few_rows_block_and_few_warn(rows, severity) -> None:
    assert problem(check_examples(sound_set(rows)), "few_training_rows").severity == severity


def test_a_set_without_test_rows_is_warned_of() -> None:
    training = [each for each in sound_set() if each.split is Split.TRAIN]
    assert "cannot be measured" in problem(check_examples(training), "few_test_rows").message


def test_tokens_are_counted_by_the_function_that_is_given() -> None:
    examples = sound_set()
    found = check_examples(
        examples, count_tokens=lambda each: 600 if each.line in (5, 7) else 100, max_tokens=512
    )
    assert problem(found, "too_long_tokens") == Problem(
        "too_long_tokens",
        "error",
        "2 rows are longer than 512 tokens. Shorten them, or allow longer examples in the configuration.",
        2,
        (5, 7),
        "drop_rows",
    )


def test_one_answer_that_dominates_and_rare_labels_are_found() -> None:
    labels = ["yes"] * 200 + ["no"] * 50 + ["never"] * 5
    examples = [Example(f"q{n}", label, Split.TRAIN, None, n + 1) for n, label in enumerate(labels)]
    found = check_examples(examples)
    assert problem(found, "one_answer_dominates").rows == 200
    assert problem(found, "rare_answers").lines == (251, 252, 253, 254, 255)
    balanced = [replace(each, completion=("yes", "no")[each.line % 2]) for each in examples]
    assert {each.rule for each in check_examples(balanced)} == {"few_test_rows"}


def test_sets_of_text_or_of_other_json_are_not_held_to_rmis() -> None:
    text = [replace(each, completion=f"Copy number {each.line}.") for each in sound_set()]
    plans = [replace(each, completion=json.dumps({"tool": "plan", "n": each.line})) for each in sound_set()]
    mixed = [replace(each, completion="text") if each.line % 5 < 3 else each for each in sound_set()]
    assert check_examples(text) == check_examples(plans) == []
    assert "output_not_json" not in {each.rule for each in check_examples(mixed)}


def test_many_lines_are_counted_and_ten_are_shown() -> None:
    examples = [replace(each, completion=" ") if each.line <= 25 else each for each in sound_set()]
    found = problem(check_examples(examples), "empty_completion")
    assert (found.rows, found.lines) == (25, tuple(range(1, 11)))
    assert found.message.startswith("25 rows")


def test_errors_come_first_and_block_with_lines_and_what_next() -> None:
    problems = check_examples(changed(3, prompt="", completion="I'm sorry, but no."))
    severities = [each.severity for each in problems]
    assert severities == sorted(severities)
    with pytest.raises(InvalidInputError) as caught:
        require_trainable("my set", problems)
    assert "«my set» cannot be trained on" in caught.value.what
    assert "(Lines 4.)" in caught.value.why
    assert "boilerplate" not in caught.value.why
    assert caught.value.next_step
    require_trainable("my set", [each for each in problems if each.severity == "warning"])


def sound_pairs() -> list[Preference]:
    return [
        Preference(f"Write {n}", "Calm" + "x" * (n % 7), "LOUD" + "y" * (n % 5), split, None, n + 1)
        for n, split in enumerate([Split.TRAIN] * 170 + [Split.TEST] * 40)
    ]


@pytest.mark.parametrize(
    ("changes", "rule", "severity"),
    [
        ({"chosen": " "}, "empty_chosen_answer", "error"),
        ({"rejected": ""}, "empty_rejected_answer", "error"),
        ({"prompt": ""}, "empty_prompt", "error"),
        ({"chosen": "same", "rejected": "same "}, "equal_pair", "error"),
        ({"prompt": "Write 200"}, "test_leakage", "error"),
        ({"rejected": "call +49 171 2345678"}, "personal_data", "warning"),
    ],
)
def test_a_planted_defect_of_a_pair_is_found(changes, rule, severity) -> None:
    pairs = sound_pairs()
    assert check_preferences(pairs) == []
    pairs[3] = replace(pairs[3], **changes)
    assert problem(check_preferences(pairs), rule).severity == severity


def test_reversed_and_repeated_pairs_and_length_bias_are_found() -> None:
    pairs = sound_pairs()
    pairs[3] = replace(pairs[0], chosen=pairs[0].rejected, rejected=pairs[0].chosen, line=4)
    pairs[5] = replace(pairs[6], line=6)
    found = check_preferences(pairs)
    assert problem(found, "contradictions").lines == (1, 4)
    assert problem(found, "duplicate_rows").lines == (7,)
    longer = [replace(each, chosen=each.chosen + "z" * 9) for each in sound_pairs()]
    assert problem(check_preferences(longer), "length_bias").rows == len(longer)


def test_twenty_thousand_rows_take_seconds() -> None:
    examples = [Example(f"Harmonize {n}", record(n), Split.TRAIN, None, n + 1) for n in range(20_000)]
    start = time.process_time()
    check_examples(examples)
    # 10 s are the goal for 100,000 rows, so 2 s for these; a slow machine gets three times that.
    assert time.process_time() - start < 6
