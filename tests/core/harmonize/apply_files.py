"""Small sources and mappings for the tests of applying a mapping."""

import json
from collections.abc import Mapping as MappingOf
from pathlib import Path
from typing import Any

import polars as pl

from core.harmonize.apply import run_harmonize
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.source.open import Source, open_source
from core.harmonize.values.transforms import values_of


def source_of(tmp_path: Path, text: str, name: str = "report.csv") -> Source:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return open_source(path, work_dir=tmp_path / "work")


def lines_of(tmp_path: Path, rows: list[MappingOf[str, Any]]) -> Source:
    return source_of(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "report.jsonl")


def mapping_of(*rules: tuple[Any, ...], **more: Any) -> Mapping:
    """Rules as (source_field, target, transform, qualifiers)."""
    return Mapping.model_validate(
        {
            "rules": [
                {
                    "source_field": rule[0],
                    "target": rule[1],
                    "transform": rule[2] if len(rule) > 2 else {"op": "none"},
                    "qualifiers": rule[3] if len(rule) > 3 else {},
                }
                for rule in rules
            ],
            **more,
        }
    )


def harmonized(
    tmp_path: Path, source: Source, mapping: Mapping, card: SourceCard | None = None, **more: Any
) -> tuple[pl.DataFrame, HarmonizeReport]:
    """The rows that were written, and the report."""
    out = tmp_path / "out" / "rows.parquet"
    report = run_harmonize(source, mapping, card, out=out, work_dir=tmp_path / "work", **more)
    return pl.read_parquet(out), report


def values(target: str, transform: MappingOf[str, Any], given: list[Any], **card: Any) -> list[Any]:
    """What a rule makes of some values."""
    rule = Rule.model_validate({"source_field": "x", "target": target, "transform": transform})
    dtype = pl.String if all(each is None or isinstance(each, str) for each in given) else None
    frame = pl.DataFrame({"x": pl.Series(given, dtype=dtype)})
    return values_of(rule, frame, SourceCard(**card))[target].to_list()
