"""Rules in words: what an operation does, what a transform and its qualifiers say in one line, targets by group."""

from collections.abc import Mapping

from app.ui.text import plain
from core.harmonize.records import Qualifier, Rule, Transform
from core.rmis.facts import FACT_COLUMNS, FactGroup, FactType, fact_column
from core.rmis.vocabularies import TransformOp

NO_TARGET = "–"
OP_WORDS: dict[TransformOp, str] = {
    TransformOp.NONE: "Copy",
    TransformOp.DROP: "Leave out",
    TransformOp.STRING_ID: "Keep as text",
    TransformOp.TO_UTC: "Read a time",
    TransformOp.DIVIDE: "Divide",
    TransformOp.MULTIPLY: "Multiply",
    TransformOp.PARSE_NUMBER: "Read a number",
    TransformOp.ENUM_MAP: "Translate words",
    TransformOp.PAD_GTIN: "Pad a GTIN",
    TransformOp.REGEX_SPLIT: "Split by pattern",
    TransformOp.EXPLODE: "List to rows",
    TransformOp.DEDUP: "Drop repeats",
    TransformOp.SUM_DELTA: "Add up corrections",
    TransformOp.PSEUDONYMIZE: "Pseudonymize",
}
OP_HELP: dict[TransformOp, str] = {
    TransformOp.NONE: "The value as it is, with the type of its target.",
    TransformOp.DROP: "Known and left out on purpose: a duplicate, a split, a rate that is computed anyway.",
    TransformOp.STRING_ID: "An id: every digit and leading zero is kept.",
    TransformOp.TO_UTC: "A local time becomes UTC; the local day is kept beside it.",
    TransformOp.DIVIDE: "Micros by 1,000,000, cents by 100, millicents by 100,000.",
    TransformOp.MULTIPLY: "A number in thousands, a share in percent.",
    TransformOp.PARSE_NUMBER: "$1,234.50, 1.234,50, (12.00): signs and separators are read.",
    TransformOp.ENUM_MAP: "Each word of the file becomes one of RMIS. Words without a line are listed, never lost.",
    TransformOp.PAD_GTIN: "A product code with all its leading zeros.",
    TransformOp.REGEX_SPLIT: "A column that holds two kinds of thing.",
    TransformOp.EXPLODE: "A nested list, or constants, becomes rows of its own.",
    TransformOp.DEDUP: "Rows that were sent twice count once.",
    TransformOp.SUM_DELTA: "A stream of corrections: later rows change earlier ones.",
    TransformOp.PSEUDONYMIZE: "A keyed hash; the raw value is not stored.",
}
UNIT_WORDS = {100.0: "cents", 1e5: "millicents", 1e6: "micros", 1e8: "microcents", 1000.0: "thousandths"}
QUALIFIER_WORDS: dict[str, str] = {
    "window_click_days": "Days after a click",
    "window_view_days": "Days after a view",
    "touch": "Touch",
    "model": "Attribution model",
    "sku_scope": "Products",
    "sales_channel": "Sales channel",
    "date_basis": "Dated by",
    "new_to_brand": "New to brand",
    "viewability_standard": "Viewability standard",
}
#: Columns that people map most, first in the list of targets.
GROUPS_FIRST = (
    FactGroup.TIME,
    FactGroup.DELIVERY,
    FactGroup.MONEY,
    FactGroup.OUTCOME,
    FactGroup.PAYER,
    FactGroup.PRODUCT,
    FactGroup.PLACE,
    FactGroup.REASON,
    FactGroup.EVENT,
    FactGroup.GOVERNANCE,
    FactGroup.DERIVED,
)


def targets() -> list[str]:
    """Every RMIS column, group by group."""
    return [column.name for group in GROUPS_FIRST for column in FACT_COLUMNS if column.group is group]


def target_words(target: str | None) -> str:
    """A target with its group, as the list of targets shows it."""
    if not target:
        return "No place in RMIS"
    column = fact_column(target)
    return plain(target, 80) if column is None else f"{plain(target, 80)} · {column.group.value}"


def transform_words(transform: Transform) -> str:
    """What a transform does, in one short line. Untrusted parts are plain text."""
    match transform.op:
        case TransformOp.TO_UTC:
            return f"time {transform.format or 'iso'}, {transform.source_tz or 'UTC'}"
        case TransformOp.DIVIDE | TransformOp.MULTIPLY:
            sign = "÷" if transform.op is TransformOp.DIVIDE else "×"
            if transform.by_field is not None:
                return f"{sign} {plain(transform.by_field, 40)}"
            unit = UNIT_WORDS.get(transform.by or 0) if sign == "÷" else None
            return f"{sign} {transform.by:,.15g}" + (f" ({unit})" if unit else "")
        case TransformOp.ENUM_MAP:
            words = len(transform.map or {})
            return f"{words} word{'' if words == 1 else 's'}"
        case TransformOp.PAD_GTIN:
            return f"GTIN, {transform.to or 14} digits"
        case TransformOp.EXPLODE if transform.path:
            return f"list {plain(transform.path, 40)} to rows"
        case TransformOp.DEDUP if transform.on:
            return f"once per {plain(transform.on, 40)}"
        case _:
            return OP_WORDS[transform.op].lower()


def qualifier_words(qualifiers: Mapping[str, Qualifier]) -> str:
    """Qualifiers in one line: 14 d click, total, …"""
    parts = []
    for name, value in qualifiers.items():
        if value is None or value == "unspecified":
            continue
        if name == "window_click_days":
            parts.append(f"{value} d click")
        elif name == "window_view_days":
            parts.append(f"{value} d view")
        elif name == "new_to_brand":
            parts.append("new to brand" if value else "not new to brand")
        else:
            parts.append(plain(str(value), 40).replace("_", " "))
    return ", ".join(parts)


def rule_words(rule: Rule | None) -> str:
    """A whole rule in one line, for differences between versions."""
    if rule is None:
        return NO_TARGET
    told = f"{plain(rule.target, 80) if rule.target else 'left out'} · {transform_words(rule.transform)}"
    qualifiers = qualifier_words(rule.qualifiers)
    return f"{told} · {qualifiers}" if qualifiers else told


def carries_qualifiers(target: str | None) -> bool:
    """Whether a number of this column means nothing without its qualifiers."""
    column = fact_column(target) if target else None
    return column is not None and (column.group is FactGroup.OUTCOME or column.name == "viewable_impressions")


def ops_for(target: str | None) -> list[TransformOp]:
    """Operations, those that usually fit the target first."""
    column = fact_column(target) if target else None
    likely: list[TransformOp] = []
    if column is not None:
        match column.dtype:
            case FactType.TIMESTAMP | FactType.DATE:
                likely = [TransformOp.TO_UTC, TransformOp.NONE]
            case FactType.IDENTIFIER:
                likely = [TransformOp.STRING_ID, TransformOp.PAD_GTIN, TransformOp.PSEUDONYMIZE]
            case FactType.WORD:
                likely = [TransformOp.ENUM_MAP, TransformOp.NONE]
            case FactType.NUMBER:
                likely = [TransformOp.PARSE_NUMBER, TransformOp.DIVIDE, TransformOp.NONE]
            case FactType.INTEGER:
                likely = [TransformOp.NONE, TransformOp.PARSE_NUMBER]
            case _:
                likely = [TransformOp.NONE]
    return [*likely, *(op for op in TransformOp if op not in likely)]


def default_transform(op: TransformOp, target: str | None, samples: list[str]) -> Transform:
    """A valid transform of this kind to begin with; words to translate are those that the samples hold."""
    match op:
        case TransformOp.DIVIDE | TransformOp.MULTIPLY:
            return Transform(op=op, by=1e6 if op is TransformOp.DIVIDE else 1000.0)
        case TransformOp.TO_UTC:
            return Transform(op=op, format="iso", source_tz="account_timezone", grain="day")
        case TransformOp.PAD_GTIN:
            return Transform(op=op, to=14)
        case TransformOp.ENUM_MAP:
            column = fact_column(target) if target else None
            words = column.words if column else ()
            guess = {
                each: each.strip().lower() if each.strip().lower() in words else None for each in samples
            }
            return Transform(op=op, map=guess or {"value": None})
        case TransformOp.PSEUDONYMIZE:
            return Transform(op=op, key="default")
        case _:
            return Transform(op=op)
