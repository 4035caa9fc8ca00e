"""Near duplicates are found; rows of one template, with other numbers or other words in its blanks, are not."""

import random
import time

import pytest

from core.datasets.likeness import misspelled
from core.datasets.near import near_rows
from core.datasets.records import Example, Split
from core.datasets.table import table_of

PROSE = (
    "A campaign that spends its budget before noon loses the evening, when most baskets are filled.",
    "Viewable impressions are counted once half of the pixels were on screen for one second.",
    "Sales of the last three days will be restated, because orders are still being attributed.",
    "New to brand means that the shopper bought nothing of this brand during the last year.",
    "Click attribution of fourteen days credits an order to the last ad that was clicked.",
    "A suppressed row hides small counts so that nobody can be recognized from a report.",
)


def examples(
    prompts: list[str], answers: list[str] | None = None, split: Split = Split.TRAIN
) -> list[Example]:
    answers = answers or [
        f"answer {chr(97 + n % 26) * 6}{chr(97 + n // 26) * 5}" for n in range(len(prompts))
    ]
    return [
        Example(prompt, answer, split, None, n + 1)
        for n, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def repeats(prompts: list[str], answers: list[str] | None = None) -> list[int]:
    return near_rows(table_of(examples(prompts, answers))).repeats.tolist()


@pytest.mark.parametrize(
    "changed",
    [
        PROSE[0].upper(),
        PROSE[0].replace(" ", "  "),
        PROSE[0].rstrip(".") + " !!",
        "Kindly note: " + PROSE[0],
        PROSE[0] + " Thanks",
        PROSE[0].replace("evening", "evenign"),
        PROSE[0].replace("evening", "night"),
    ],
)
def test_a_question_with_a_small_change_and_the_same_answer_is_a_near_duplicate(changed) -> None:
    prompts = [*PROSE, changed]
    answers = [
        f"It is about {word}."
        for word in ("pace", "view", "restating", "newness", "credit", "privacy", "pace")
    ]
    assert repeats(prompts, answers) == [6]


def test_another_answer_is_no_near_duplicate() -> None:
    answers = [
        f"It is about {word}."
        for word in ("pace", "view", "restating", "newness", "credit", "privacy", "tigers")
    ]
    assert repeats([*PROSE, PROSE[0] + " Thanks"], answers) == []


def test_other_numbers_make_another_row() -> None:
    base = (
        "Harmonize: cost_micros=1250000 for campaign 445566 on the day 2026-03-04 in the account of the brand"
    )
    others = [
        base.replace("1250000", "1250001"),
        base.replace("445566", "445567"),
        base.replace("-04", "-05"),
    ]
    assert repeats([base, *others], ["same answer"] * 4) == []


def test_words_in_the_blanks_of_a_template_make_other_rows() -> None:
    adjectives = ("natural", "dark", "frozen", "rapid", "vegan", "ground", "cool", "calm")
    nouns = ("butter", "tea", "crackers", "sauce", "wipes", "diapers", "soap", "toothpaste")
    prompts = [
        f"Write one line of copy for Pomelia, {a} {n}, in her voice" for a in adjectives for n in nouns
    ]
    answers = [f"Slow morning, {a} {n}. Pomelia. No rush." for a in adjectives for n in nouns]
    assert repeats(prompts, answers) == []
    prompts.append(prompts[5].replace("Pomelia", "Pomleia"))
    answers.append(answers[5])
    assert repeats(prompts, answers) == [64]


def test_a_held_out_question_that_is_nearly_a_training_one_is_found_whichever_comes_first() -> None:
    train, held_out = examples(list(PROSE)), examples([PROSE[2] + " Cheers"], split=Split.TEST)
    for rows, place in ([*train, *held_out], 6), ([*held_out, *train], 0):
        assert near_rows(table_of(rows)).of_training.tolist() == [place]
    both_held_out = [*examples([PROSE[2]], split=Split.TEST), *held_out, *examples([PROSE[1]])]
    assert near_rows(table_of(both_held_out)).of_training.tolist() == []


@pytest.mark.parametrize("prompts", [[], ["one"], ["", ""], ["1 2 3", "!!!"], ["a", "a b"]])
def test_sets_with_little_in_them_have_no_near_duplicates_but_equal_forms(prompts) -> None:
    expected = [1] if prompts == ["", ""] else []
    assert repeats(prompts, ["x"] * len(prompts)) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("the evening", "the evenign", True),
        ("the evening", "the evning", True),
        ("the evening", "the eveninng", True),
        ("the evening", "the evenimg", True),
        ("the evening", "the morning", False),
        ("the tea", "the tee", False),
        ("the evening is", "a evenign is", False),
    ],
)
def test_one_letter_in_one_longer_word_is_a_misspelling(one, other, same) -> None:
    assert misspelled(one, other) is same
    assert misspelled(other, one) is same


def test_the_same_rows_give_the_same_findings_and_many_rows_take_seconds() -> None:
    rng = random.Random(4)
    words = ["".join(rng.choice("abcdefghijklmnop") for _ in range(6)) for _ in range(3000)]
    prompts = [" ".join(rng.choices(words, k=14)) for _ in range(10_000)]
    prompts[777] = prompts[3] + " thanks"
    answers = [str(n) for n in range(10_000)]
    answers[777] = answers[3]
    start = time.process_time()
    assert repeats(prompts, answers) == [777]
    # Ten times these rows may take 10 s in all; a slow machine gets three times that.
    assert time.process_time() - start < 3
    assert repeats(prompts, answers) == [777]
