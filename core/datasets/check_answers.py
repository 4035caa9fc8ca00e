"""Checks of the answers: contradictions, form, balance; and of preference pairs."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from core.datasets.findings import ERROR, WARNING, finding, finding_of_set
from core.datasets.records import Example, Preference, Problem, Split
from core.datasets.splits import same_prompt
from core.rmis.facts import fact_column, validate_record

MOST = 0.8
LEAST_ROWS_TO_JUDGE = 20
MOST_LABELS = 20
RARE_TIMES = 20
LENGTH_BIAS = 0.9
DOMINANT = 2 / 3


def contradictions(examples: Sequence[Example]) -> Problem | None:
    """The same prompt with another answer, within one split (between splits it is leakage)."""
    answers: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in examples:
        answers[_asked(each)].add(each.completion.strip())
    return finding(
        "contradictions",
        WARNING,
        [each.line for each in examples if len(answers[_asked(each)]) > 1],
        "1 row contradicts another one.",
        "{rows} rows have a prompt that another row answers differently."
        " Keep the right answer, unless several are right.",
    )


def copied_prompt(examples: Sequence[Example]) -> Problem | None:
    """Answers that repeat their prompt."""
    return finding(
        "copied_prompt",
        WARNING,
        [e.line for e in examples if e.prompt.strip() and e.prompt.strip() == e.completion.strip()],
        "1 answer is the same as its prompt. Check that the columns are not mixed up.",
        "{rows} answers are the same as their prompts. Check that the columns are not mixed up.",
    )


def output_not_json(examples: Sequence[Example]) -> Problem | None:
    """Answers that are no JSON where at least 80 % of the answers are."""
    wrong = [each.line for each in examples if _parsed(each.completion) is None and each.completion.strip()]
    if not examples or len(wrong) > (1 - MOST) * len(examples):
        return None
    return finding(
        "output_not_json",
        WARNING,
        wrong,
        "1 answer is no JSON object or list, though nearly all are. Correct it.",
        "{rows} answers are no JSON object or list, though most are. Correct them.",
    )


def rmis_record(examples: Sequence[Example]) -> Problem | None:
    """Answers that break the RMIS schema where at least 80 % of the answers are RMIS records."""
    records = [
        (each.line, parsed) for each in examples if isinstance(parsed := _parsed(each.completion), dict)
    ]
    like_rmis = [(line, record) for line, record in records if _names_rmis(record)]
    if not like_rmis or len(like_rmis) < MOST * len(examples):
        return None
    wrong = [(line, problems[0]) for line, record in like_rmis if (problems := validate_record(record))]
    example = wrong[0][1][:200] if wrong else ""
    return finding(
        "rmis_record",
        WARNING,
        [line for line, _ in wrong],
        f"1 answer breaks the RMIS schema: {example} Correct it.",
        f"{{rows}} answers break the RMIS schema, the first one: {example} Correct them.",
    )


def one_answer_dominates(examples: Sequence[Example]) -> Problem | None:
    """More than two thirds of the training answers are the same."""
    counts = _training_answers(examples)
    if len(counts) < 2 or counts.total() < LEAST_ROWS_TO_JUDGE:
        return None
    answer, rows = counts.most_common(1)[0]
    if rows <= DOMINANT * counts.total():
        return None
    lines = [
        each.line for each in examples if each.split is Split.TRAIN and each.completion.strip() == answer
    ]
    message = (
        f"{rows:,} of {counts.total():,} training rows have the same answer: the adapter may give it always."
        " Balance the set."
    )
    return finding_of_set("one_answer_dominates", WARNING, message, rows, lines)


def rare_answers(examples: Sequence[Example]) -> Problem | None:
    """Where the answers are few labels: labels at least 20 times rarer than the most frequent one."""
    counts = _training_answers(examples)
    if not 2 <= len(counts) <= MOST_LABELS or counts.total() < LEAST_ROWS_TO_JUDGE * len(counts):
        return None
    largest = counts.most_common(1)[0][1]
    rare = {answer for answer, rows in counts.items() if rows * RARE_TIMES <= largest}
    return finding(
        "rare_answers",
        WARNING,
        [e.line for e in examples if e.split is Split.TRAIN and e.completion.strip() in rare],
        f"1 training row has a label at least {RARE_TIMES} times rarer than the most frequent one."
        " Add rows for it.",
        f"{{rows}} training rows have labels at least {RARE_TIMES} times rarer than the most frequent one."
        " Add rows for them.",
    )


def equal_pairs(pairs: Sequence[Preference]) -> Problem | None:
    """Pairs that prefer nothing."""
    return finding(
        "equal_pair",
        ERROR,
        [each.line for each in pairs if each.chosen.strip() == each.rejected.strip()],
        "1 pair has the same chosen and rejected answer. Remove it.",
        "{rows} pairs have the same chosen and rejected answer. Remove them.",
    )


def reversed_pairs(pairs: Sequence[Preference]) -> Problem | None:
    """Pairs that another pair turns round."""
    said = {(each.prompt, each.chosen, each.rejected) for each in pairs}
    return finding(
        "contradictions",
        WARNING,
        [p.line for p in pairs if p.chosen != p.rejected and (p.prompt, p.rejected, p.chosen) in said],
        "1 pair is the reverse of another one.",
        "{rows} pairs are the reverse of other pairs. Keep the right ones.",
    )


def length_bias(pairs: Sequence[Preference]) -> Problem | None:
    """The chosen answer is longer (or shorter) in at least 90 % of the pairs whose lengths differ."""
    differing = [p for p in pairs if len(p.chosen) != len(p.rejected)]
    if len(differing) < LEAST_ROWS_TO_JUDGE:
        return None
    longer = [p for p in differing if len(p.chosen) > len(p.rejected)]
    shorter = [p for p in differing if len(p.chosen) < len(p.rejected)]
    word, most = ("longer", longer) if len(longer) >= len(shorter) else ("shorter", shorter)
    if len(most) < LENGTH_BIAS * len(differing):
        return None
    message = (
        f"In {len(most):,} of {len(differing):,} pairs the chosen answer is the {word} one: the adapter"
        " may learn length instead of quality. Add pairs where it is not."
    )
    return finding_of_set("length_bias", WARNING, message, len(most), [p.line for p in most])


def _asked(example: Example) -> tuple[str, str, str]:
    return str(example.split), same_prompt(example.system), same_prompt(example.prompt)


def _training_answers(examples: Sequence[Example]) -> Counter[str]:
    return Counter(each.completion.strip() for each in examples if each.split is Split.TRAIN)


def _names_rmis(record: dict[str, Any]) -> bool:
    known = sum(fact_column(name) is not None for name in record)
    return known > 0 and known >= MOST * len(record)


def _parsed(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or list that a text is, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None
