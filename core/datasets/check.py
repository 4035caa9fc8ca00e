"""The checks of a training set: what would spoil a run (errors) and what deserves a look (warnings).

rule                       severity   what it finds
few_training_rows          error      nothing to learn from, or fewer than 8 rows (warning below 50)
few_test_rows              warning    fewer than 30 rows to measure on
empty_prompt               error      a prompt of nothing but white space
empty_completion           error      an answer of nothing but white space; so for the chosen and rejected of a pair
test_leakage               error      a test prompt that is also a training prompt
validation_leakage         warning    a validation prompt that is also a training prompt
near_test_leakage          warning    a test prompt that is nearly a training prompt; so near_validation_leakage
too_long_tokens            error      an example longer than the run's limit, where a token count is given
equal_pair                 error      chosen and rejected are the same
duplicate_rows             warning    the same example again
near_duplicates            warning    the same numbers, and nearly the same words, as an earlier example
contradictions             warning    the same prompt with another answer; a pair and its reverse; liked and disliked
several_turns              warning    a conversation of more than one question
copied_prompt              warning    an answer that is its prompt
output_not_json            warning    an answer that is no JSON where most are, or begins as JSON and does not parse
odd_types                  warning    a value of another JSON type than nearly all of its name
rmis_record                warning    an answer that breaks the RMIS schema where most answers are RMIS records
unknown_target             warning    a mapping rule whose target is not a column of RMIS
bad_transform              warning    a mapping rule whose transform cannot be run
bad_qualifier              warning    a mapping rule with a qualifier or a word that there is not
tool_call                  warning    a call of a tool that is not offered, or without what the tool needs
one_answer_dominates       warning    more than two thirds of the training answers are the same
rare_answers               warning    a label 20 times rarer than the most frequent one
one_retailer_dominates     warning    nine of ten rows are of one retailer, where several are named
one_label_dominates        warning    nine of ten thumbs point the same way
length_bias                warning    the chosen answer is nearly always the longer (or shorter) one
too_long_characters        warning    an example of more than 20,000 characters
stray_space                warning    white space around a prompt or an answer
personal_data              warning    e-mail, phone, card, IBAN, social security number, IP address, a person's name
secrets                    warning    keys, tokens and passwords
broken_text                warning    replacement signs, control characters, UTF-8 read as Latin-1
boilerplate                warning    refusals of a chat assistant
placeholder                warning    an answer with a blank that nobody filled in
language_mix               warning    an answer in another language than nearly all
Rows that cannot be read or do not fit the layout are `parse_error`, `not_utf8`, `wrong_columns`, `wrong_type`.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from core.datasets import check_answers, check_pairs, check_prompts, check_records, check_text, score
from core.datasets.findings import ERROR, NOWHERE, Hit
from core.datasets.near import near_rows
from core.datasets.records import Example, Preference, Problem
from core.datasets.table import RowKind, Table, table_of
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
    table = table_of(examples)
    lengths = [count_tokens(each) for each in examples] if count_tokens and max_tokens is not None else None
    hits = check_table(table, lengths=lengths, max_tokens=max_tokens, max_characters=max_characters)
    return [each.problem(table.lines) for each in hits]


def check_preferences(pairs: Sequence[Preference], *, max_characters: int = MAX_CHARACTERS) -> list[Problem]:
    """Problems of a set of preference pairs, errors first."""
    table = table_of(pairs)
    if not pairs:
        table = Table(RowKind.PAIRS, table.frame)
    return [each.problem(table.lines) for each in check_table(table, max_characters=max_characters)]


def check_table(
    table: Table,
    *,
    lengths: Sequence[int] | None = None,
    max_tokens: int | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> list[Hit]:
    """What the rules find in a table, errors first. `lengths` are the tokens of each row."""
    near = near_rows(table)
    found: list[Hit | None] = [
        check_prompts.empty(table, "prompt", "prompt"),
        *_empty_answers(table),
        *check_prompts.leakage(table, near),
        *check_prompts.duplicates(table, near),
        check_prompts.several_turns(table),
        *_RULES_OF_KIND[table.kind](table),
        check_text.too_many_characters(table, max_characters),
        *check_text.content(table),
        check_text.stray_space(table),
        check_text.language_mix(table, check_text.answer_languages(table)),
    ]
    if lengths is not None and max_tokens is not None:
        found.append(check_text.too_many_tokens(lengths, max_tokens))
    hits = [each for each in found if each is not None]
    faulty = [each.places for each in hits if each.severity == ERROR]
    flawed = [each.places for each in hits if not each.of_set and score.WEIGHTS[each.rule]]
    too_few = check_prompts.enough_rows(
        table, np.concatenate([NOWHERE, *faulty]), np.concatenate([NOWHERE, *flawed])
    )
    hits = [*too_few, *hits]
    return sorted(hits, key=lambda each: each.severity != ERROR)


def require_trainable(name: str, problems: Iterable[Problem]) -> None:
    """Raise InvalidInputError that says why `name` cannot be trained on, if there is an error."""
    errors = [problem for problem in problems if problem.severity == ERROR]
    if errors:
        raise InvalidInputError(
            f"«{name}» cannot be trained on.",
            " ".join(problem.message + _places(problem) for problem in errors),
            "Correct the file and import it again.",
        )


def _empty_answers(table: Table) -> list[Hit | None]:
    if table.kind is not RowKind.PAIRS:
        return [check_prompts.empty(table, "answer", "completion")]
    return [
        check_prompts.empty(table, "answer", "chosen answer"),
        check_prompts.empty(table, "rejected", "rejected answer"),
    ]


def _of_examples(table: Table) -> list[Hit | None]:
    return [
        check_answers.contradictions(table),
        check_answers.copied_prompt(table),
        check_answers.output_not_json(table),
        check_answers.odd_types(table),
        *check_records.schemas(table),
        check_answers.one_answer_dominates(table),
        check_answers.rare_answers(table),
        check_answers.one_retailer_dominates(table),
    ]


def _of_pairs(table: Table) -> list[Hit | None]:
    return [
        check_pairs.equal_pairs(table),
        check_pairs.reversed_pairs(table),
        check_pairs.length_bias(table),
        check_answers.one_retailer_dominates(table),
    ]


def _of_judgements(table: Table) -> list[Hit | None]:
    return [
        check_pairs.disputed(table),
        check_answers.copied_prompt(table),
        check_answers.one_label_dominates(table),
        check_answers.one_retailer_dominates(table),
    ]


_RULES_OF_KIND: dict[RowKind, Callable[[Table], list[Hit | None]]] = {
    RowKind.EXAMPLES: _of_examples,
    RowKind.PAIRS: _of_pairs,
    RowKind.JUDGEMENTS: _of_judgements,
}


def _places(problem: Problem) -> str:
    if not problem.lines:
        return ""
    more = " and others" if problem.rows > len(problem.lines) else ""
    return f" (Lines {', '.join(map(str, problem.lines))}{more}.)"
