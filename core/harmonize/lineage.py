"""Where a harmonized cell comes from: file, line, source column, raw value, rule, version of the mapping."""

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from core.errors import InvalidInputError, NotFoundError
from core.harmonize.mapping_files import mapping_digest
from core.harmonize.plan import Plan, Slot, make_plan
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.source.records import LINE, Source
from core.harmonize.stages import LINEAGE, Stages, build_stages, raw_of

_MOST_LINES = 1000


@dataclass(frozen=True)
class CellLineage:
    """One cell. `source_field` and `rule` are None for what the card or the mapping says of the whole file.

    `raw` is the source's text: None where it is blank, and where the rule keeps it secret. `lines` are all lines that
    were summed into the cell, where corrections are summed; else the one line.
    """

    file: str
    line: int
    lines: tuple[int, ...]
    target: str
    source_field: str | None
    raw: str | None
    rule: Rule | None
    mapping_version: int
    mapping_digest: str
    value: Any
    secret: bool = False


def explain_cell(
    source: Source,
    mapping: Mapping,
    card: SourceCard | None = None,
    *,
    line: int,
    target: str,
    row: int = 0,
    pseudonym_key: bytes | None = None,
) -> CellLineage:
    """Read the line again and apply the mapping to it. `row` counts the rows that this line became, from 0.

    Raises NotFoundError for a line that the source does not have, InvalidInputError for a column that the mapping
    does not give.
    """
    plan = make_plan(source, mapping, card, pseudonym_key=pseudonym_key)
    single = replace(plan, dedup_on=(), sum_over=())
    stages = build_stages(source.frame.filter(pl.col(LINE) == line), single, file=source.name, label="")
    rows = stages.rows.collect(engine="streaming")
    if not 0 <= row < rows.height:
        raise NotFoundError(
            f"{source.name} has no row {row + 1} of line {line}.",
            "The line is blank, broken or beyond the end.",
            "Take the line from lineage.line.",
        )
    if target not in rows.columns or target in LINEAGE:
        raise InvalidInputError(
            f"The mapping gives no «{target[:60]}».", "", f"It gives {', '.join(rows.columns)[:300]}."
        )
    slot, raw = _slot_of(stages, single, target, row)
    lines = _summed_lines(source, plan, rows, row) if plan.sum_over else (line,)
    secret = slot is not None and slot.cell.secret
    return CellLineage(
        file=source.name,
        line=line,
        lines=lines,
        target=target,
        source_field=slot.cell.rule.source_field if slot is not None else None,
        raw=None if secret else raw,
        rule=slot.cell.rule if slot is not None else None,
        mapping_version=mapping.version,
        mapping_digest=mapping_digest(mapping),
        value=rows[target][row],
        secret=secret,
    )


def _slot_of(stages: Stages, plan: Plan, target: str, row: int) -> tuple[Slot | None, str | None]:
    """The slot that filled the cell, and its raw value; of several the first that has one."""
    slots = [slot for slot in plan.slots if slot.target == target and slot.apart is None]
    if not slots:
        return None, None
    raws = stages.wide.select(**{slot.name: raw_of(slot, plan) for slot in slots}).collect(engine="streaming")
    filled = [slot for slot in slots if raws[slot.name][row] is not None]
    slot = (filled or slots)[0]
    return slot, raws[slot.name][row]


def _summed_lines(source: Source, plan: Plan, rows: pl.DataFrame, row: int) -> tuple[int, ...]:
    """All lines whose key is the key of this row; a blank key is summed with none."""
    keys = {key: rows[key][row] for key in plan.sum_over}
    line = int(rows[LINEAGE[1]][row])
    if any(value is None for value in keys.values()):
        return (line,)
    unsummed = build_stages(source.frame, replace(plan, sum_over=()), file=source.name, label="").rows
    equal = pl.all_horizontal(pl.col(key) == pl.lit(value) for key, value in keys.items())
    found = unsummed.filter(equal).select(LINEAGE[1]).head(_MOST_LINES).collect(engine="streaming")
    return tuple(sorted(int(each) for each in set(found[LINEAGE[1]])))
