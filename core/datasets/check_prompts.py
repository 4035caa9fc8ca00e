"""Checks of how many rows there are, of empty and repeated ones, and of rows that leak between the splits."""

from collections.abc import Hashable, Iterable, Iterator, Sequence

from core.datasets.findings import ERROR, WARNING, finding, finding_of_set
from core.datasets.records import Example, Preference, Problem, Split
from core.datasets.splits import same_prompt

LEAST_TRAINING_ROWS = 8
FEW_TRAINING_ROWS = 50
FEW_TEST_ROWS = 30


def enough_rows(rows: Sequence[Example | Preference]) -> Iterator[Problem]:
    """Too few rows to learn from, or to measure on."""
    training = sum(row.split is Split.TRAIN for row in rows)
    test = sum(row.split is Split.TEST for row in rows)
    if training < FEW_TRAINING_ROWS:
        blocks = training < LEAST_TRAINING_ROWS
        needed = f"at least {LEAST_TRAINING_ROWS} are needed" if blocks else "that is little to learn from"
        message = f"The set has {training} training rows; {needed}. Add rows, best 200 or more."
        yield finding_of_set("few_training_rows", ERROR if blocks else WARNING, message, training)
    if test < FEW_TEST_ROWS:
        measured = "only be measured roughly" if test else "not be measured"
        message = f"The set has {test} test rows: the gain can {measured}. Add some, best 100 or more."
        yield finding_of_set("few_test_rows", WARNING, message, test)


def empty(name: str, texts: Iterable[tuple[int, str]]) -> Problem | None:
    """Texts of nothing but white space."""
    lines = [line for line, text in texts if not text.strip()]
    article = "an" if name[0] in "aeiou" else "a"
    return finding(
        f"empty_{name.replace(' ', '_')}",
        ERROR,
        lines,
        f"1 row has {article} {name} that is empty. Fill it in or remove the row.",
        f"{{rows}} rows have {article} {name} that is empty. Fill them in or remove the rows.",
    )


def leakage(rows: Sequence[Example | Preference]) -> Iterator[Problem]:
    """Test and validation prompts that are also trained on."""
    trained = {_key(row) for row in rows if row.split is Split.TRAIN}
    for split, severity, spoiled in (
        (Split.TEST, ERROR, "the result would look better than it is"),
        (Split.VALIDATION, WARNING, "the validation loss will look better than it is"),
    ):
        lines = [row.line for row in rows if row.split is split and _key(row) in trained]
        found = finding(
            f"{split}_leakage",
            severity,
            lines,
            f"1 {split} prompt is also a training prompt: {spoiled}. Remove it from one of the two,"
            " or leave out the split column.",
            f"{{rows}} {split} prompts are also training prompts: {spoiled}. Remove them from one of the two,"
            " or leave out the split column.",
        )
        if found:
            yield found


def duplicates(rows: Iterable[tuple[int, Hashable]]) -> Problem | None:
    """The same row again; the first one is not counted."""
    seen: set[Hashable] = set()
    lines = []
    for line, content in rows:
        if content in seen:
            lines.append(line)
        seen.add(content)
    return finding(
        "duplicate_rows",
        WARNING,
        lines,
        "1 row repeats an earlier one. It weighs double; remove it unless that is meant.",
        "{rows} rows repeat earlier ones. They weigh double; remove them unless that is meant.",
    )


def _key(row: Example | Preference) -> str:
    return f"{same_prompt(row.system)}\n{same_prompt(row.prompt)}"
