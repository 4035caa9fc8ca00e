"""The checks of a training set: what would spoil a run (errors) and what deserves a look (warnings).

rule                   severity   what it finds
few_training_rows      error      nothing to learn from, or fewer than 8 rows (warning below 50)
empty_prompt           error      a prompt of nothing but white space
empty_completion       error      an answer of nothing but white space
test_leakage           error      a test prompt that is also a training prompt
too_long_tokens        error      an example longer than the run's limit, where a token count is given
equal_pair             error      chosen and rejected are the same
validation_leakage     warning    a validation prompt that is also a training prompt
few_test_rows          warning    fewer than 30 rows to measure on
duplicate_rows         warning    the same example again
contradictions         warning    the same prompt with another answer (or a pair and its reverse)
copied_prompt          warning    an answer that is its prompt
output_not_json        warning    an answer that is no JSON where most are
rmis_record            warning    an answer that breaks the RMIS schema where most answers are RMIS records
one_answer_dominates   warning    more than two thirds of the training answers are the same
rare_answers           warning    a label 20 times rarer than the most frequent one
too_long_characters    warning    an example of more than 20,000 characters
length_bias            warning    the chosen answer is nearly always the longer (or shorter) one
personal_data          warning    e-mail, phone, card, IBAN, social security number
secrets                warning    keys and tokens
broken_text            warning    replacement signs, control characters, UTF-8 read as Latin-1
boilerplate            warning    refusals of a chat assistant
"""

from collections.abc import Callable, Iterable, Sequence

from core.datasets import check_answers, check_prompts, check_text
from core.datasets.findings import ERROR
from core.datasets.records import Example, Preference, Problem
from core.errors import InvalidInputError

MAX_CHARACTERS = 20_000


def check_examples(
    examples: Sequence[Example],
    *,
    count_tokens: Callable[[Example], int] | None = None,
    max_tokens: int | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> list[Problem]:
    """Problems of a demonstration set, errors first.

    `count_tokens` gives the length of a whole example in tokens, with its chat template; with `max_tokens`
    every longer example is an error.
    """
    texts = [(each.line, (each.system, each.prompt, each.completion)) for each in examples]
    found = [
        *check_prompts.enough_rows(examples),
        check_prompts.empty("prompt", ((each.line, each.prompt) for each in examples)),
        check_prompts.empty("completion", ((each.line, each.completion) for each in examples)),
        *check_prompts.leakage(examples),
        check_prompts.duplicates(
            (each.line, (each.system, each.prompt, each.completion)) for each in examples
        ),
        check_answers.contradictions(examples),
        check_answers.copied_prompt(examples),
        check_answers.output_not_json(examples),
        check_answers.rmis_record(examples),
        check_answers.one_answer_dominates(examples),
        check_answers.rare_answers(examples),
        check_text.too_many_characters(texts, max_characters),
        *check_text.content(texts),
    ]
    if count_tokens is not None and max_tokens is not None:
        found.append(
            check_text.too_many_tokens(((each.line, count_tokens(each)) for each in examples), max_tokens)
        )
    return _sorted(found)


def check_preferences(pairs: Sequence[Preference], *, max_characters: int = MAX_CHARACTERS) -> list[Problem]:
    """Problems of a set of preference pairs, errors first."""
    texts = [(each.line, (each.system, each.prompt, each.chosen, each.rejected)) for each in pairs]
    found = [
        *check_prompts.enough_rows(pairs),
        check_prompts.empty("prompt", ((each.line, each.prompt) for each in pairs)),
        check_prompts.empty("chosen answer", ((each.line, each.chosen) for each in pairs)),
        check_prompts.empty("rejected answer", ((each.line, each.rejected) for each in pairs)),
        check_answers.equal_pairs(pairs),
        check_answers.reversed_pairs(pairs),
        check_answers.length_bias(pairs),
        *check_prompts.leakage(pairs),
        check_prompts.duplicates((each.line, (each.prompt, each.chosen, each.rejected)) for each in pairs),
        check_text.too_many_characters(texts, max_characters),
        *check_text.content(texts),
    ]
    return _sorted(found)


def require_trainable(name: str, problems: Iterable[Problem]) -> None:
    """Raise InvalidInputError that says why `name` cannot be trained on, if there is an error."""
    errors = [problem for problem in problems if problem.severity == ERROR]
    if errors:
        raise InvalidInputError(
            f"«{name}» cannot be trained on.",
            " ".join(problem.message + _places(problem) for problem in errors),
            "Correct the file and import it again.",
        )


def _places(problem: Problem) -> str:
    if not problem.lines:
        return ""
    more = " and others" if problem.rows > len(problem.lines) else ""
    return f" (Lines {', '.join(map(str, problem.lines))}{more}.)"


def _sorted(found: Iterable[Problem | None]) -> list[Problem]:
    problems = [problem for problem in found if problem is not None]
    return sorted(problems, key=lambda problem: problem.severity != ERROR)
