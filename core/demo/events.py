"""The shipped raw event files: simulated traffic as each fictitious retailer would export it."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from core.demo.cards import DEMO_SEED, CardColumn, write_with_card
from core.demo.draws import write_time
from core.demo.products import draw_products
from core.demo.prompts import nested, write_json
from core.demo.retailers import TEST_RETAILERS, FileShape, RetailerSpec, Scalar, SourceColumn
from core.demo.traffic import Fact, simulate_traffic
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

SUFFIX = MappingProxyType(
    {
        FileShape.CSV: ".csv",
        FileShape.TSV: ".tsv",
        FileShape.SEMICOLON_CSV: ".csv",
        FileShape.JSONL: ".jsonl",
        FileShape.NESTED_JSONL: ".jsonl",
    }
)
DELIMITER = MappingProxyType({FileShape.CSV: ",", FileShape.TSV: "\t", FileShape.SEMICOLON_CSV: ";"})
DIVISORS = MappingProxyType({100: "hundredths of", 1_000_000: "millionths of"})


def write_event_files(out_dir: Path, seed: int = DEMO_SEED) -> list[Path]:
    """Write the five event files with their cards to `out_dir`/events; returns the written paths."""
    written: list[Path] = []
    products = draw_products(seed)
    for spec in TEST_RETAILERS:
        facts = simulate_traffic(spec, products, seed)
        written += write_with_card(
            out_dir / "events" / f"retailer_{spec.slug}{SUFFIX[spec.shape]}",
            write_file(spec, facts).encode(),
            seed=seed,
            generator="core.demo.events.write_event_files",
            kind="events",
            name=f"retailer_{spec.slug}_events",
            title=f"{spec.name}: raw export",
            description=_describe(spec, facts),
            rows=len(facts),
            columns=[card_column(spec, column) for column in spec.columns],
        )
    return written


def write_file(spec: RetailerSpec, facts: Sequence[Fact]) -> str:
    """The facts as the retailer's file, in its shape, names, units and clock."""
    if spec.shape not in DELIMITER:
        return "".join(_json_line(spec, fact) for fact in facts)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=DELIMITER[spec.shape], lineterminator="\n")
    writer.writerow([column.name for column in spec.columns])
    for fact in facts:
        raw = raw_record(spec, fact)
        writer.writerow([raw.get(column.name, "") for column in spec.columns])
    return text.getvalue()


def raw_record(spec: RetailerSpec, fact: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """One fact in the retailer's words: source column to value. What the fact does not say is left out."""
    return {
        column.name: write_value(spec, column, fact[column.target])
        for column in spec.columns
        if column.target in fact
    }


def write_value(spec: RetailerSpec, column: SourceColumn, value: Scalar) -> Scalar:
    """An RMIS value as this retailer writes it: the inverse of the column's transform."""
    match column.op:
        case TransformOp.TO_UTC:
            moment = datetime.fromisoformat(str(value))
            return (
                int(moment.timestamp()) * 1000 if spec.time_format == "epoch_ms" else write_time(spec, moment)
            )
        case TransformOp.ENUM_MAP:
            return next(code for code, word in column.codes if word == value)
        case TransformOp.DIVIDE:
            return round(float(value) * column.by)
        case TransformOp.PAD_GTIN:
            return str(value)[-column.digits :]
        case TransformOp.PARSE_NUMBER:
            return f"{float(value):.2f}".replace(".", "," if spec.decimal_comma else ".")
    known = fact_column(column.target)
    if known is not None and known.dtype is FactType.NUMBER:
        return f"{float(value):.2f}"
    return value


def card_column(spec: RetailerSpec, column: SourceColumn) -> CardColumn:
    """What a source column means in RMIS words, and its unit."""
    meaning = column.target
    if column.codes:
        meaning += ": " + ", ".join(f"{code} = {word}" for code, word in column.codes)
    if column.qualifiers:
        meaning += " (" + ", ".join(f"{name} {value}" for name, value in column.qualifiers) + ")"
    return CardColumn(column.name, meaning, _unit(spec, column))


def _json_line(spec: RetailerSpec, fact: Fact) -> str:
    raw = raw_record(spec, fact)
    return write_json(nested(raw) if spec.shape is FileShape.NESTED_JSONL else raw) + "\n"


def _unit(spec: RetailerSpec, column: SourceColumn) -> str:
    if column.op is TransformOp.TO_UTC:
        return {
            "iso_offset": "ISO 8601 with offset",
            "iso_z": "ISO 8601, UTC",
            "epoch_ms": "ms since 1970",
        }.get(spec.time_format, f"{spec.time_format} in {spec.timezone}")
    known = fact_column(column.target)
    if known is None or column.codes:
        return ""
    if known.dtype is FactType.NUMBER:
        return f"{DIVISORS[column.by]} {spec.currency}" if column.by in DIVISORS else spec.currency
    return "count" if known.dtype is FactType.INTEGER else ""


def _describe(spec: RetailerSpec, facts: Sequence[Fact]) -> str:
    first, last = str(facts[0]["ts"])[:10], str(facts[-1]["ts"])[:10]
    what = "Single events" if "event_type" in facts[0] else "Counts by campaign and placement"
    return (
        f"{what} of the fictitious {spec.name} ({spec.network}) from {first} to {last}, as it exports them:"
        f" {spec.shape.replace('_', ' ')}, own column names, units, clock and codes."
    )
