"""What a plan itself gives to say: columns that are not there or not covered, choices, broken and repeated rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from core.harmonize.counted import agree, counted
from core.harmonize.findings import Finding
from core.harmonize.plan import Plan
from core.harmonize.source.records import Source


def column_counts(source: Source) -> list[pl.Expr]:
    """Aggregates over the source: values of every column."""
    return [pl.col(name).count().alias(f"column.{place}") for place, name in enumerate(source.columns)]


def coverage_of(source: Source, plan: Plan, sums: Mapping[str, Any]) -> tuple[float, tuple[str, ...]]:
    """(share of the columns with values that a rule covers, the columns with values that none does)."""
    filled = [name for place, name in enumerate(source.columns) if sums[f"column.{place}"]]
    uncovered = tuple(name for name in filled if name not in plan.covered)
    return (1 - len(uncovered) / len(filled) if filled else 1.0), uncovered


def plan_findings(source: Source, plan: Plan, *, repeated: int) -> Iterator[Finding]:
    """Findings that need no look at the values."""
    if plan.missing:
        names = tuple(rule.source_field for rule in plan.missing)
        shown = ", ".join(f"«{name[:60]}»" for name in names[:8])
        said = f"{counted(len(names), 'column')} of the mapping {agree(len(names), 'are')} not in {source.name}: {shown}."
        step = "Check that this is the report the mapping was made for."
        yield Finding("mapping.missing_column", "warning", said, names, 0, (), step)
    for field, column in plan.renamed:
        said = f"The rule of «{field[:60]}» was applied to «{column[:60]}», which differs in case or spaces."
        yield Finding(
            "mapping.loose_name", "note", said, (column,), 0, (), "Correct the name in the mapping."
        )
    for sentence in plan.headline.conflicts:
        step = "Name the headline in the source card or in the mapping."
        open_choice = "stay apart" in sentence
        yield Finding(
            "headline.open" if open_choice else "headline.mixed",
            "note" if open_choice else "warning",
            sentence,
            (),
            0,
            (),
            step,
        )
    if source.broken_count:
        lines = tuple(row.line for row in source.broken[:10])
        said = (
            f"{counted(source.broken_count, 'row')} cannot be read and "
            f"{agree(source.broken_count, 'are')} missing from every total."
        )
        step = "Look at the list of broken rows; export the file again if they matter."
        yield Finding("rows.broken", "warning", said, (), source.broken_count, lines, step)
    if repeated:
        said = (
            f"{counted(repeated, 'row')} came again under the same {' and '.join(plan.dedup_on)} and "
            f"{agree(repeated, 'were')} left out."
        )
        yield Finding("rows.repeated", "note", said, plan.dedup_on, repeated, (), "")
