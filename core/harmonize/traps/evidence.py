"""What traps are looked for in: a sample of raw columns, each read as text, numbers and times once, with its rule.

A trap is a number or clock that looks right and is not. `Finding` is what is told of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal, Protocol

import polars as pl

from core.harmonize.counted import counted
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.source.records import LINE
from core.harmonize.traps.figures import read_numbers
from core.harmonize.traps.roles import guess_roles, is_called_id
from core.rmis.vocabularies import TransformOp

FIRST_LINES = 10
TAIL_ROWS = 500
PROBE_ROWS = 4000

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap. `lines` are the first ten source lines that show it (none where it is about a whole column)."""

    rule: str
    severity: Severity
    sentence: str
    columns: tuple[str, ...] = ()
    rows: int = 0
    lines: tuple[int, ...] = ()
    next_step: str = ""


class RawSource(Protocol):
    """The part of an opened source that traps are looked for in: names and a lazy frame with a `__line` column."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def frame(self) -> pl.LazyFrame: ...


@dataclass(frozen=True)
class Evidence:
    """Rows to look at, with what the mapping and the card say of them. `total_rows` counts the whole file.

    Without a mapping, `role` goes by what a column is called. `frame` has the source columns and `__line`; of a file
    that is longer than the sample it holds the first rows and the last ones.
    """

    frame: pl.DataFrame
    columns: tuple[str, ...]
    total_rows: int
    mapping: Mapping | None = None
    card: SourceCard | None = None
    now: datetime | None = None
    _numbers: dict[str, pl.Series | None] = field(default_factory=dict, repr=False)
    _texts: dict[str, pl.Series] = field(default_factory=dict, repr=False)

    @cached_property
    def lines(self) -> pl.Series:
        return self.frame.get_column(LINE)

    @cached_property
    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """The rules of each source column."""
        found: dict[str, tuple[Rule, ...]] = {}
        for rule in self.mapping.rules if self.mapping else ():
            found[rule.source_field] = (*found.get(rule.source_field, ()), rule)
        return found

    @cached_property
    def roles(self) -> dict[str, str]:
        """RMIS column that each source column stands for: by its rule, without a mapping by its name."""
        if self.mapping is None:
            return guess_roles(self.columns)
        return {
            name: rules[0].target
            for name, rules in self.rules.items()
            if name in self.columns and rules[0].target is not None
        }

    @cached_property
    def used(self) -> dict[str, str]:
        """As `roles`, without the columns that the mapping leaves out."""
        return {name: target for name, target in self.roles.items() if not self.is_dropped(name)}

    @cached_property
    def currency(self) -> str | None:
        return (self.card and self.card.currency) or (self.mapping and self.mapping.currency) or None

    @cached_property
    def account_timezone(self) -> str:
        """The card's zone where it says one, else the mapping's."""
        told = self.card.account_timezone if self.card else "UTC"
        return told if told != "UTC" or self.mapping is None else self.mapping.account_timezone

    @cached_property
    def zone_known(self) -> bool:
        """Whether the card says the account's zone, or the mapping another one than the UTC of no answer."""
        said = self.card is not None and "account_timezone" in self.card.model_fields_set
        return said or self.account_timezone != "UTC" or "account_timezone" in self.used.values()

    def rule(self, column: str) -> Rule | None:
        found = self.rules.get(column)
        return found[0] if found else None

    def is_dropped(self, column: str) -> bool:
        rule = self.rule(column)
        return rule is not None and rule.dropped

    def columns_of(self, target: str) -> list[str]:
        """Source columns that feed `target`, in source order."""
        return [name for name in self.columns if self.used.get(name) == target]

    def op(self, column: str) -> TransformOp:
        rule = self.rule(column)
        return rule.transform.op if rule else TransformOp.NONE

    def text(self, column: str) -> pl.Series:
        """The cells as text without spaces around them; blank is null."""
        if column not in self._texts:
            series = self.frame.get_column(column)
            if series.dtype != pl.String:
                series = _as_text(series)
            stripped = series.str.strip_chars()
            self._texts[column] = stripped.set(stripped == "", None)
        return self._texts[column]

    def number(self, column: str) -> pl.Series | None:
        """The raw numbers (before any transform), or None where the column does not hold numbers."""
        if column not in self._numbers:
            series = self.frame.get_column(column)
            if series.dtype.is_numeric():
                self._numbers[column] = series.cast(pl.Float64)
            elif series.dtype in (pl.Boolean, pl.Date, pl.Time) or series.dtype.is_temporal():
                self._numbers[column] = None
            else:
                self._numbers[column] = read_numbers(self.text(column), self._strip(column))
        return self._numbers[column]

    def is_all_numbers(self, column: str) -> bool:
        """Whether every filled cell is a number, so that no word can stand in it."""
        numbers = self.number(column)
        return numbers is not None and numbers.null_count() == self.text(column).null_count()

    def amount(self, column: str) -> pl.Series | None:
        """The numbers as the mapping makes them: divided or multiplied."""
        numbers, rule = self.number(column), self.rule(column)
        if numbers is None or rule is None:
            return numbers
        by: float | pl.Series | None = rule.transform.by
        if rule.transform.by_field in self.columns and rule.transform.by_field is not None:
            by = self.number(rule.transform.by_field)
        if by is None:
            return numbers
        if rule.transform.op is TransformOp.DIVIDE:
            return numbers / by
        return numbers * by if rule.transform.op is TransformOp.MULTIPLY else numbers

    @cached_property
    def measures(self) -> list[str]:
        """Columns of numbers that can be summed: not identifiers, not times."""
        kept = []
        for name in self.columns:
            if not _is_summable(self.roles.get(name), name):
                continue
            numbers = self.number(name)
            if numbers is not None and numbers.drop_nulls().len():
                kept.append(name)
        return kept

    def lines_where(self, mask: pl.Series) -> tuple[int, ...]:
        """The first ten source lines for which `mask` is true."""
        return tuple(int(line) for line in self.lines.filter(mask.fill_null(value=False)).head(FIRST_LINES))

    def share(self, rows: int) -> str:
        """«12 rows», with the word «sampled» where the file is longer than what was looked at."""
        said = counted(rows, "row")
        return (
            said if self.frame.height >= self.total_rows else f"{said} of the {self.frame.height:,} looked at"
        )

    def _strip(self, column: str) -> str | None:
        rule = self.rule(column)
        return rule.transform.strip if rule and rule.transform.op is TransformOp.PARSE_NUMBER else None


def gather(
    source: RawSource,
    mapping: Mapping | None,
    card: SourceCard | None,
    *,
    sample_rows: int,
    now: datetime | None = None,
) -> Evidence:
    """Read the sample: the first rows and, of a longer file, its last ones (a total stands there, and the newest day)."""
    frame = source.frame
    names = set(frame.collect_schema().names())
    columns = tuple(name for name in source.columns if name in names)
    if LINE not in names:
        frame = frame.with_row_index(LINE, offset=1)
    frame = frame.select(*columns, LINE)
    head = frame.head(sample_rows).collect()
    total = head.height
    if total >= sample_rows:
        count, tail = pl.collect_all([frame.select(pl.len()), frame.tail(TAIL_ROWS)])
        total = int(count.item())
        extra = min(TAIL_ROWS, total - head.height)
        head = pl.concat([head, tail.tail(extra)]) if extra > 0 else head
    return Evidence(head, columns, total, mapping, card, now)


def probe_rows(height: int, rows: int = PROBE_ROWS) -> list[int]:
    """Row numbers spread evenly over a table: a first look that costs little."""
    if height <= rows:
        return list(range(height))
    return [i * height // rows for i in range(rows)]


def listed(names: Sequence[str], most: int = 4) -> str:
    """«a», «b» and «c», cut after a few."""
    shown = [f"«{name[:80]}»" for name in names[:most]]
    if len(names) > most:
        return ", ".join(shown) + f" and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


_NOT_SUMMABLE = frozenset(
    {"ts", "as_of", "ingested_at", "date_local", "campaign_id", "campaign_name", "position", "upc", "keyword"}
)


def _is_summable(role: str | None, name: str) -> bool:
    if role is not None:
        return not (
            role in _NOT_SUMMABLE or role.endswith(("_id", "_name", "_type")) or role in ("sku", "dedup_key")
        )
    return not is_called_id(name)


def _as_text(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, pl.List | pl.Struct | pl.Array | pl.Object):
        return pl.Series(
            series.name, [None if v is None else str(v) for v in series.to_list()], dtype=pl.String
        )
    if isinstance(series.dtype, pl.Datetime):
        zone = "Z" if series.dtype.time_zone else ""
        return series.dt.strftime(f"%Y-%m-%dT%H:%M:%S{zone}")
    if series.dtype == pl.Binary:
        return pl.Series(series.name, [None] * series.len(), dtype=pl.String)
    return series.cast(pl.String, strict=False)
