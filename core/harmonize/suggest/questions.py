"""What a rule needs to know and neither the file nor its card tells: asked of a person, not guessed."""

from core.harmonize.records import Transform
from core.harmonize.suggest.profile import ColumnProfile
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

#: A rule with an open question is never sure enough to be accepted unseen.
ASKED_AT_MOST = 0.89


def question_of(column: ColumnProfile, transform: Transform, target: str, *, zone_known: bool) -> str:
    """The question that a rule leaves open, in one or two sentences; nothing where there is none."""
    fact = fact_column(target) if target else None
    if fact is None or transform.op is TransformOp.DROP:
        return ""
    if transform.op is TransformOp.ENUM_MAP and fact.words:
        return _which_words(column, transform)
    if transform.op is TransformOp.TO_UTC and fact.dtype is FactType.TIMESTAMP and not zone_known:
        return _which_zone(column, transform)
    if fact.dtype is FactType.NUMBER or (fact.dtype is FactType.INTEGER and column.separators.mixed):
        return _which_sign(column)
    return ""


def _which_zone(column: ColumnProfile, transform: Transform) -> str:
    if transform.source_tz != "account_timezone" or column.time is None or column.time.offset:
        return ""
    return (
        f"In which time zone is «{column.name}»? Its values say none and neither does the card; "
        "UTC is assumed until account_timezone is named."
    )


def _which_sign(column: ColumnProfile) -> str:
    if "either_way" not in column.marks:
        return ""
    if column.separators.mixed:
        return (
            f"Which sign is the decimal one in «{column.name}»? Some cells prove a comma and others a point; "
            "one rule cannot read both."
        )
    sign = "." if column.separators.point_three else ","
    example = next((value for value in column.values if sign in value), f"1{sign}007")[:40]
    return (
        f"Does «{example}» in «{column.name}» mean a thousand or a fraction? Nothing in the file tells; "
        f"with parse_number and strip «{sign}» it is a thousand."
    )


def _which_words(column: ColumnProfile, transform: Transform) -> str:
    open_codes = [
        code for code, word in (transform.map or {}).items() if word is None and code in column.values
    ]
    if not open_codes:
        return ""
    shown = ", ".join(f"«{code[:40]}»" for code in open_codes[:5])
    more = f" and {len(open_codes) - 5} more" if len(open_codes) > 5 else ""
    return f"What do {shown}{more} in «{column.name}» mean? They stand in the map with null: their rows get no word."
