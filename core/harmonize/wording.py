"""The words in which a model is asked for RMIS and answers: raw records on one line, compact RMIS JSON."""

import json
from collections.abc import Mapping

from core.rmis.facts import FactType, fact_column

Scalar = str | int | float | bool


def write_flat(raw: Mapping[str, Scalar], separator: str) -> str:
    """A raw record of a flat file on one line: `column=value` pairs."""
    return separator.join(f"{name}={value}" for name, value in raw.items())


def nested(raw: Mapping[str, Scalar]) -> dict[str, object]:
    """Dotted column names as nested objects: {"a.b": 1} -> {"a": {"b": 1}}."""
    tree: dict[str, object] = {}
    for name, value in raw.items():
        branch = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            child = branch.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ValueError(f"{name}: {parent} holds a value, so nothing can lie below it")
            branch = child
        branch[leaf] = value
    return tree


def write_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def write_rmis(record: Mapping[str, Scalar]) -> str:
    """A flat RMIS record as one line of JSON, numbers with two decimals: {"clicks":3,"cost":1.50}."""
    return "{" + ",".join(f'"{name}":{_rmis_value(name, value)}' for name, value in record.items()) + "}"


def _rmis_value(name: str, value: Scalar) -> str:
    column = fact_column(name)
    if column is None or column.dtype is not FactType.NUMBER or isinstance(value, str):
        return write_json(value)
    # A price of a tenth of a cent keeps its digits.
    return f"{value:.2f}" if round(value, 2) == value else write_json(value)
