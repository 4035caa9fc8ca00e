"""The dataset doctor: one file read once, with everything that can be said about it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from core.datasets.check import check_table
from core.datasets.check_answers import retailers
from core.datasets.check_text import all_text, answer_languages
from core.datasets.examples import open_examples
from core.datasets.findings import ERROR, SHOWN_LINES
from core.datasets.formats import FileShape, detect_format
from core.datasets.languages import UNKNOWN
from core.datasets.layout_rows import Parsed
from core.datasets.layouts import Outline
from core.datasets.lengths import Lengths, TokenCount, TokenLengths, lengths_of, measure_tokens
from core.datasets.records import Fix, Layout, Problem
from core.datasets.rows import BROKEN, NOT_UTF8, WRONG_COLUMNS, WRONG_TYPE, Fault, FileLimits
from core.datasets.score import Band, LostPoints, score_of
from core.datasets.table import RowKind, Table, table_of

MOST_ANSWERS = 20
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a file. Balance and languages are counts of rows, most frequent first (20 retailers)."""

    layout: Layout
    layout_reason: str
    file_format: str
    rows: int
    unusable_rows: int
    splits: Mapping[str, int]
    slices: Mapping[str, int]
    ignored_columns: tuple[str, ...]
    names_splits: bool
    characters: Lengths | None
    tokens: Lengths | None
    answers: Mapping[str, int]  # only where the answers are few labels
    retailers: Mapping[str, int]
    languages: Mapping[str, int]  # of answers that are sentences; others are not counted


@dataclass(frozen=True, slots=True)
class Examination:
    """Score, problems and summary of a file.

    `rows_of` lists for each rule all rows that it found, counted from 1 in the order of the file, broken rows included.
    """

    score: float
    band: Band
    trainable: bool
    lost: tuple[LostPoints, ...]
    problems: tuple[Problem, ...]
    summary: Summary
    rows_of: Mapping[str, tuple[int, ...]] = field(repr=False)
    faults: tuple[Fault, ...] = field(repr=False)


def examine(
    path: Path,
    *,
    name: str = "",
    limits: FileLimits = FileLimits(),
    count_tokens: TokenLengths | None = None,
    max_tokens: int | None = None,
) -> Examination:
    """Read a training file and say what it is, what is wrong with it, and how good it is.

    `count_tokens` measures examples as training will see them; with `max_tokens` every longer row is an error.
    Raises RefusedFileError (it cannot be read at all) or InvalidInputError (its rows are no training examples).
    """
    name = name or path.name
    outline, rows = open_examples(path, limits, name=name, to_train=False)
    reading = _Reading(rows)
    table = table_of(reading.usable(), reading.numbers)
    if not len(table):
        table = Table(_KIND_OF.get(outline.layout, RowKind.EXAMPLES), table.frame)
    tokens = None if count_tokens is None else measure_tokens(table, count_tokens, max_tokens)
    lengths = None if tokens is None else tokens.of_rows
    hits = check_table(table, lengths=lengths, max_tokens=max_tokens)
    faults = reading.by_rule()
    score = score_of(table, hits, faults)
    problems = [*(_problem_of(rule, found) for rule, found in faults.items())]
    problems += [each.problem(table.lines) for each in hits]
    problems.sort(key=lambda each: each.severity != ERROR)
    numbers = table.frame["row"].to_numpy()
    rows_of = {rule: tuple(reading.numbers_of_faults[rule]) for rule in faults}
    rows_of |= {each.rule: tuple(numbers[each.places].tolist()) for each in hits if len(each.places)}
    return Examination(
        score=score.value,
        band=score.band,
        trainable=not any(each.severity == ERROR for each in problems),
        lost=score.lost,
        problems=tuple(problems),
        summary=_summary(detect_format(path, name=name), outline, table, reading, tokens),
        rows_of=rows_of,
        faults=tuple(reading.faults),
    )


class _Reading:
    """The rows of a file while they are read: unusable ones are put aside."""

    def __init__(self, rows: Iterator[Parsed | Fault]) -> None:
        self._rows = rows
        self.numbers: list[int] = []
        self.faults: list[Fault] = []
        self.numbers_of_faults: dict[str, list[int]] = defaultdict(list)

    def usable(self) -> Iterator[Parsed]:
        """Every row that is an example."""
        for number, row in enumerate(self._rows, start=1):
            if isinstance(row, Fault):
                self.faults.append(row)
                self.numbers_of_faults[row.rule].append(number)
            else:
                self.numbers.append(number)
                yield row

    def by_rule(self) -> dict[str, list[Fault]]:
        """Unusable rows by the kind of their fault."""
        found: dict[str, list[Fault]] = defaultdict(list)
        for fault in self.faults:
            found[fault.rule].append(fault)
        return dict(found)


_KIND_OF: dict[Layout, RowKind] = {Layout.PREFERENCES: RowKind.PAIRS, Layout.LABELS: RowKind.JUDGEMENTS}
_SAID_OF_FAULTS: dict[str, tuple[str, str, Fix]] = {
    BROKEN: ("cannot be read", "Correct or remove", Fix.DROP_ROWS),
    NOT_UTF8: ("is not UTF-8", "Save the file as UTF-8, or repair", Fix.REPAIR_ENCODING),
    WRONG_COLUMNS: ("does not fit the layout", "Correct or remove", Fix.DROP_ROWS),
    WRONG_TYPE: ("has a value of the wrong type", "Correct or remove", Fix.DROP_ROWS),
}


def _problem_of(rule: str, faults: Sequence[Fault]) -> Problem:
    said, cure, fix = _SAID_OF_FAULTS[rule]
    first = f"line {faults[0].line}: {faults[0].reason}"
    if len(faults) == 1:
        message = f"1 row {said}: {first}. {cure} it."
    else:
        many = {"cannot be read": said, "is not UTF-8": "are not UTF-8"}.get(
            said, said.replace("does not", "do not").replace("has a", "have a")
        )
        message = f"{len(faults):,} rows {many}, the first one in {first}. {cure} them."
    lines = tuple(fault.line for fault in faults[:SHOWN_LINES])
    return Problem(rule, ERROR, message, len(faults), lines, str(fix))


def _summary(
    shape: FileShape, outline: Outline, table: Table, reading: _Reading, tokens: TokenCount | None
) -> Summary:
    slices = table.frame["slice"].drop_nulls()
    spoken = answer_languages(table)
    return Summary(
        layout=outline.layout,
        layout_reason=outline.why,
        file_format=str(shape),
        rows=len(table),
        unusable_rows=len(reading.faults),
        splits=_counts(table.frame["split"]),
        slices=_counts(slices),
        ignored_columns=outline.ignored_columns,
        names_splits=outline.names_splits,
        characters=lengths_of(all_text(table).str.len_chars().to_numpy(), "characters"),
        tokens=None if tokens is None else tokens.lengths,
        answers=_labels(table),
        retailers=dict(islice(retailers(table).items(), MOST_NAMED)),
        languages=_counts(spoken.filter(spoken != UNKNOWN)),
    )


def _labels(table: Table) -> dict[str, int]:
    """Answers and their rows, where they are few labels; thumbs of judgements."""
    if table.kind is RowKind.JUDGEMENTS:
        return _counts(
            table.frame["liked"].replace_strict({True: "up", False: "down"}, return_dtype=pl.String)
        )
    answers = table.frame["answer"].str.strip_chars()
    few = answers.n_unique() <= MOST_ANSWERS < len(table)
    return _counts(answers.str.slice(0, 80)) if few and table.kind is RowKind.EXAMPLES else {}


def _counts(values: pl.Series) -> dict[str, int]:
    counted = Counter(values.to_list())
    return dict(sorted(counted.items(), key=lambda each: (-each[1], each[0])))
