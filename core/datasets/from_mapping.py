"""«Make training set from mapping»: a raw file and a mapping that somebody confirmed become a retailer's examples.

Two kinds of rows: raw record → RMIS record, and column with sample values → its rule. The answers are what the
harmonizer made of the very rows, so they are as right as the mapping is. Rows that hold a code of an enum or a column
that no earlier row had come first, so that nothing rare is missing from the training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from random import Random
from typing import Any

import polars as pl

from core.datasets.records import Split
from core.errors import InvalidInputError
from core.harmonize.apply import harmonize
from core.harmonize.records import Mapping as RuleMapping
from core.harmonize.records import Rule, SourceCard
from core.harmonize.source.records import LINE, Source, SourceKind
from core.harmonize.wording import nested, write_flat, write_json, write_rmis
from core.rmis.vocabularies import TransformOp

SEPARATORS = {SourceKind.CSV: "|", SourceKind.TSV: "\t", SourceKind.XLSX: "|", SourceKind.PARQUET: "|"}
READ_ROWS = 50_000
COLUMN_QUESTIONS = 4
SHOWN_VALUES = 3
LEAST_RECORDS = 20

Row = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class SetPlan:
    """How many records of each split, whether columns are asked for too, and what chance starts from.

    `held_out` names source columns that training rows leave out: test rows with them make the claim apart
    (slice held_out_columns).
    """

    train: int = 400
    validation: int = 60
    test: int = 150
    columns: bool = True
    held_out: tuple[str, ...] = ()
    seed: int = 0


def build_rows(
    source: Source,
    mapping: RuleMapping,
    card: SourceCard | None = None,
    plan: SetPlan = SetPlan(),
    *,
    pseudonym_key: bytes | None = None,
) -> list[Row]:
    """Rows of a training set: prompt, completion, split, slice. Test records share no line with training.

    Raises InvalidInputError when the mapping makes too few records of the file.
    """
    retailer = (card.retailer if card is not None else "") or mapping.retailer
    if not retailer:
        raise InvalidInputError(
            "The mapping does not say whose file it reads.",
            "Each example names the retailer.",
            "Write the retailer into the source card.",
        )
    kept = [rule for rule in mapping.rules if not rule.dropped and rule.source_field in source.columns]
    records = _records(source, mapping, card, kept, pseudonym_key)
    if len(records) < LEAST_RECORDS:
        raise InvalidInputError(
            f"Only {len(records):,} records come out of this file.",
            f"An adapter needs at least {LEAST_RECORDS} to learn from and be measured on.",
            "Take a larger file, or correct the mapping.",
        )
    chosen = _chosen(records, kept, plan)
    writer = _Writer(source.kind, retailer, frozenset(plan.held_out))
    rows = [writer.record(record, split) for split, part in chosen.items() for record in part]
    if plan.held_out:
        rows += [writer.record(record, Split.TEST, whole=True) for record in chosen[Split.TEST]]
    if plan.columns:
        rows += _column_rows(source, mapping, retailer, plan)
    Random(plan.seed).shuffle(rows)
    return rows


@dataclass(frozen=True, slots=True)
class _Record:
    """One source row: its raw values, and what each source column became. `constants` come from the card."""

    raw: Mapping[str, Any]
    made: Mapping[str, tuple[str, Any]]  # source column -> (target, value)
    constants: Mapping[str, Any]


def _records(
    source: Source,
    mapping: RuleMapping,
    card: SourceCard | None,
    kept: Sequence[Rule],
    pseudonym_key: bytes | None,
) -> list[_Record]:
    """The file's first rows with their harmonized values; rows that became several or none are left out."""
    made = harmonize(source, mapping, card, pseudonym_key=pseudonym_key)
    apart = {rule.source_field for rule in made.plan.headline.apart}
    fields = [rule for rule in kept if rule.source_field not in apart and rule.target is not None]
    raw = (
        source.frame.select(LINE, *dict.fromkeys(rule.source_field for rule in fields))
        .head(READ_ROWS)
        .collect()
    )
    rows = made.frame.head(READ_ROWS).collect()
    alone = rows.filter(pl.len().over("lineage.line") == 1)
    of_line = {int(row["lineage.line"]): row for row in alone.iter_rows(named=True)}
    told = [name for name in ("currency",) if name in rows.columns and name not in {r.target for r in fields}]
    found = []
    for values in raw.iter_rows(named=True):
        harmonized = of_line.get(int(values[LINE]))
        if harmonized is None:
            continue
        pairs = {
            rule.source_field: (str(rule.target), _plain(harmonized.get(str(rule.target)))) for rule in fields
        }
        shown = {name: _plain(values[name]) for name in pairs if values[name] is not None}
        if any(pairs[name][1] is None for name in shown):
            continue  # a value that did not fit teaches nothing
        found.append(
            _Record(
                shown, {n: pairs[n] for n in shown}, {n: _plain(harmonized[n]) for n in told if harmonized[n]}
            )
        )
    return found


def _plain(value: Any) -> Any:
    """As JSON holds it: times in UTC with a Z."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if isinstance(value, date) else value


def _chosen(records: list[_Record], kept: Sequence[Rule], plan: SetPlan) -> dict[Split, list[_Record]]:
    """Records of each split. What is rare goes into the training first."""
    random = Random(plan.seed)
    order = list(records)
    random.shuffle(order)
    coded = [rule.source_field for rule in kept if rule.transform.op is TransformOp.ENUM_MAP]
    seen: set[tuple[str, Any]] = set()
    rare: list[_Record] = []
    rest: list[_Record] = []
    for record in order:
        new = {(name, None) for name in record.raw} | {(n, record.raw[n]) for n in coded if n in record.raw}
        (rest if new <= seen else rare).append(record)
        seen |= new
    # A small file is dealt out by the same shares.
    wanted = plan.train + plan.validation + plan.test
    scale = min(1.0, len(order) / wanted)
    test, validation = int(plan.test * scale), int(plan.validation * scale)
    held, pool = rest[: test + validation], [*rare, *rest[test + validation :]]
    return {
        Split.TRAIN: pool[: max(1, int(plan.train * scale))],
        Split.VALIDATION: held[test:],
        Split.TEST: held[:test],
    }


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes records in the words of the shipped base's own training."""

    kind: SourceKind
    retailer: str
    held_out: frozenset[str]

    def record(self, record: _Record, split: Split, *, whole: bool = False) -> Row:
        """One example; `whole` shows the columns that are held out, too."""
        names = [name for name in record.raw if whole or name not in self.held_out]
        raw = {name: record.raw[name] for name in names}
        answer = {record.made[name][0]: record.made[name][1] for name in names} | dict(record.constants)
        part = ("held_out_columns" if whole else "new_values") if split is Split.TEST else None
        return {
            "prompt": f"Harmonize: {self.retailer}\n{self._line(raw)}",
            "completion": write_rmis(answer),
            "split": str(split),
            "slice": part,
        }

    def _line(self, raw: Mapping[str, Any]) -> str:
        separator = SEPARATORS.get(self.kind)
        return write_json(nested(raw)) if separator is None else write_flat(raw, separator)


def _column_rows(source: Source, mapping: RuleMapping, retailer: str, plan: SetPlan) -> list[Row]:
    """Each column with some of its values, and its rule."""
    random = Random(f"{plan.seed}:columns")
    head = source.frame.head(READ_ROWS).collect()
    rows: list[Row] = []
    for rule in mapping.rules:
        if rule.source_field not in head.columns or rule.source_field in plan.held_out:
            continue
        values = [
            _plain(v) for v in head[rule.source_field].drop_nulls().unique(maintain_order=True).to_list()
        ]
        asked: set[str] = set()
        for _ in range(COLUMN_QUESTIONS * 3):
            shown = random.sample(values, min(SHOWN_VALUES, len(values)))
            prompt = column_question(retailer, rule.source_field, shown)
            if shown and prompt not in asked and len(asked) < COLUMN_QUESTIONS:
                asked.add(prompt)
                rows.append(
                    {
                        "prompt": prompt,
                        "completion": write_json(_told(rule, shown)),
                        "split": str(Split.TRAIN),
                        "slice": None,
                    }
                )
    return rows


def column_question(retailer: str, column: str, shown: Sequence[Any]) -> str:
    """What a retailer adapter is asked about a column: whose it is, its name, and some of its values."""
    return f"Map column: {retailer}\n{column} = {', '.join(map(str, shown))}"


def _told(rule: Rule, shown: Sequence[Any]) -> dict[str, Any]:
    """The rule as an answer; an enum's map covers the values that the question shows."""
    transform = rule.transform.plain()
    if rule.transform.map is not None:
        transform["map"] = {str(v): rule.transform.map[str(v)] for v in shown if str(v) in rule.transform.map}
    return {"target": rule.target, "transform": transform, "qualifiers": dict(rule.qualifiers)}
