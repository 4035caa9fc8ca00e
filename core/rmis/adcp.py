"""The check of a document against AdCP (Ad Context Protocol) delivery metrics, the part that this product writes."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jsonschema import Draft7Validator, FormatChecker

SCHEMA_PATH = Path(__file__).with_name("adcp_delivery_schema.json")
MOST_PROBLEMS = 20


def adcp_problems(document: Mapping[str, object]) -> list[str]:
    """What is wrong with a delivery response, as «place: reason»; an empty list means that it is valid."""
    found = sorted(_validator().iter_errors(document), key=lambda error: str(list(error.absolute_path)))
    return [
        f"{'.'.join(map(str, error.absolute_path)) or 'document'}: {error.message[:300]}"
        for error in found[:MOST_PROBLEMS]
    ]


@cache
def _validator() -> Draft7Validator:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=FormatChecker())
