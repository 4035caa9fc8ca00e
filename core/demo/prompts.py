"""The words in which models are asked and answer: raw records, columns, field lists, compact RMIS JSON."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from core.demo.retailers import FileShape, RetailerSpec, Scalar, SourceColumn, transform_of
from core.harmonize.wording import nested, write_flat, write_json, write_rmis
from core.rmis.vocabularies import TransformOp

__all__ = ["nested", "write_json", "write_rmis"]

Message = dict[str, str]

FLAT_SEPARATOR: Mapping[FileShape, str] = MappingProxyType(
    {FileShape.CSV: "|", FileShape.TSV: "\t", FileShape.SEMICOLON_CSV: ";"}
)


def record_prompt(spec: RetailerSpec, raw: Mapping[str, Scalar], hints: str = "") -> str:
    """`Harmonize: <retailer>`, hints in brackets where there are any, and the record on the next line."""
    head = f"Harmonize: {spec.name}" + (f" [{hints}]" if hints else "")
    return f"{head}\n{write_raw(spec.shape, raw)}"


def write_raw(shape: FileShape, raw: Mapping[str, Scalar]) -> str:
    """A raw record on one line: `column=value` pairs of a flat file, or the JSON object of a JSON file."""
    if shape in FLAT_SEPARATOR:
        return write_flat(raw, FLAT_SEPARATOR[shape])
    return write_json(nested(raw) if shape is FileShape.NESTED_JSONL else raw)


def column_prompt(spec: RetailerSpec, column: SourceColumn, values: Sequence[Scalar]) -> str:
    shown = ", ".join(str(value) for value in values)
    return f"Map column: {spec.name}\n{column.name} = {shown}"


def column_answer(spec: RetailerSpec, column: SourceColumn, values: Sequence[Scalar]) -> str:
    """Target, transform and qualifiers of a column; an enum's map covers the values that the prompt shows."""
    transform = transform_of(spec, column)
    if column.op is TransformOp.ENUM_MAP:
        codes = dict(column.codes)
        transform["map"] = {str(value): codes[str(value)] for value in values}
    answer: dict[str, object] = {"target": column.target or None, "transform": transform}
    answer["qualifiers"] = dict(column.qualifiers)
    return write_json(answer)


def fields_prompt(spec: RetailerSpec, columns: Sequence[SourceColumn]) -> str:
    return f"Map fields: {spec.name}\n" + ", ".join(column.name for column in columns)


def fields_answer(columns: Sequence[SourceColumn]) -> str:
    return write_json({column.name: column.target or None for column in columns})


def chat(prompt: str, completion: str, system: str = "") -> list[Message]:
    """A conversation of one question and one answer, with the system turn where there is one."""
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, {"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
