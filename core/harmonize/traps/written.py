"""How numbers are written: a rule that reads a point where the file writes a comma, cells that can be read either way."""

from collections.abc import Iterator

import polars as pl

from core.harmonize.traps.evidence import Evidence, Finding, listed
from core.harmonize.values.numbers import decimal_comma
from core.harmonize.values.separators import (
    PATTERNS,
    Separators,
    count_separators,
    decimal_of_file,
    decimal_sign,
)
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

_READ = frozenset({TransformOp.NONE, TransformOp.PARSE_NUMBER})
_NAMES = {",": "comma", ".": "point"}


def written_traps(evidence: Evidence) -> Iterator[Finding]:
    """Columns of amounts whose rule does not fit how they are written, or where nothing tells how they are."""
    if evidence.mapping is None:
        return
    texts = [name for name in evidence.measures if evidence.frame.schema[name] == pl.String]
    seen = count_separators(evidence.frame.lazy(), texts)
    of_file = decimal_of_file(seen.values())
    for name, found in seen.items():
        if _is_amount(evidence, name):
            yield from _misread(evidence, name, found, of_file)


def _is_amount(evidence: Evidence, column: str) -> bool:
    """Whether a fraction may stand in it: in a count, what stands before three digits can only be a thousand."""
    rule = evidence.rule(column)
    fact = fact_column(rule.target) if rule is not None and rule.target else None
    read = rule is not None and not rule.dropped and rule.transform.op in _READ
    return read and fact is not None and fact.dtype is FactType.NUMBER


def _misread(evidence: Evidence, column: str, found: Separators, of_file: str) -> Iterator[Finding]:
    sign, asked = decimal_sign(found, of_file)
    rule = evidence.rule(column)
    strip = rule.transform.strip if rule else None
    read = "," if decimal_comma(strip) else "."
    if {".", ","} <= set(strip or ""):
        return  # the mapping says that this column has no fractions
    if asked:
        yield _either_way(evidence, column, found, read)
    elif sign and sign != read:
        yield from _other_sign(evidence, column, found, sign, read)


def _other_sign(
    evidence: Evidence, column: str, found: Separators, sign: str, read: str
) -> Iterator[Finding]:
    """The silent ones: «1.007» is a number for both, and not the same."""
    proof = "its own cells" if found.proved or found.by_thousands else "the other columns of the file"
    strip = "." if sign == "," else ","
    for field, letter in (("point_three", "."), ("comma_three", ",")):
        if letter == "," and evidence.op(column) is TransformOp.NONE:
            continue  # set aside, and listed there
        mask = evidence.text(column).str.contains(PATTERNS[field]).fill_null(value=False)
        if count := int(mask.sum()):
            example = str(evidence.text(column).filter(mask).first())[:40]
            sentence = (
                f"{evidence.share(count)} of {listed([column])} such as «{example}» are read with a decimal "
                f"{_NAMES[read]}, while {proof} show that the {_NAMES[sign]} is the decimal sign: they come out a "
                f"thousand times too {'small' if letter == read else 'large'}."
            )
            step = f"Use parse_number with strip «{strip}» for this column."
            lines = evidence.lines_where(mask)
            yield Finding("value.decimal_sign", "error", sentence, (column,), count, lines, step)


def _either_way(evidence: Evidence, column: str, found: Separators, read: str) -> Finding:
    if found.mixed:
        mask = evidence.text(column).str.contains(PATTERNS["comma"] if read == "." else PATTERNS["point"])
        said = f"Some cells of {listed([column])} write a decimal comma and others a decimal point."
        step = "Ask the source for one way of writing; cells that the rule does not fit are set aside."
        rows = min(found.comma, found.point) or min(found.comma_three, found.point_three)
        return Finding(
            "value.mixed_decimals", "warning", said, (column,), rows, evidence.lines_where(mask), step
        )
    field, sign = ("point_three", ".") if found.point_three else ("comma_three", ",")
    mask = evidence.text(column).str.contains(PATTERNS[field])
    example = str(evidence.text(column).filter(mask.fill_null(value=False)).first())[:40]
    rows = int(mask.sum())
    sentence = (
        f"{evidence.share(rows)} of {listed([column])} such as «{example}» can be a thousand or a fraction, and nothing "
        f"in the file tells which; the rule reads a {'fraction' if sign == read else 'thousand'}."
    )
    step = f"Ask the source. With parse_number and strip «{sign}» it is a thousand."
    return Finding("value.either_way", "warning", sentence, (column,), rows, evidence.lines_where(mask), step)
