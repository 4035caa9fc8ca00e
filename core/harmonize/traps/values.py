"""Cells that are not what they seem: unknown codes, held-back numbers, blanks beside zeros, foreign currencies, cuts."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import polars as pl

from core.harmonize.counted import agree
from core.harmonize.traps.evidence import Evidence, Finding, Severity, listed, probe_rows
from core.harmonize.traps.figures import SUPPRESSED
from core.rmis.facts import FactGroup, FactType, fact_column
from core.rmis.vocabularies import TransformOp

SIGNS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "€": frozenset({"EUR"}),
        "£": frozenset({"GBP", "EGP"}),
        "¥": frozenset({"JPY", "CNY"}),
        "₹": frozenset({"INR"}),
        "₩": frozenset({"KRW"}),
        "₺": frozenset({"TRY"}),
        "₽": frozenset({"RUB"}),
        "zł": frozenset({"PLN"}),
        "$": frozenset(["USD", "CAD", "AUD", "NZD", "MXN", "SGD", "HKD", "TWD", "BRL", "CLP", "COP", "ARS"]),
    }
)
_SIGN = r"([€£¥₹₩₺₽$]|zł|\b[A-Z]{3}\b)"
_ERROR_CELL = r"^(?:#{3,}|#(?:REF|VALUE|DIV/0|NAME|NUM|NULL)[!?]|#N/A)$"
#: Lengths at which databases, spreadsheets and forms cut text.
CUTS = frozenset(
    {30, 32, 40, 50, 60, 64, 80, 100, 120, 127, 128, 150, 200, 250, 254, 255, 256, 500, 512, 1000, 1024, 2000}
)
#: Rows at which spreadsheets and exports stop (a heading row may count).
LIMITS: Mapping[int, str] = MappingProxyType(
    {
        **dict.fromkeys((65_535, 65_536), "the row limit of old spreadsheets"),
        **dict.fromkeys((1_048_575, 1_048_576), "the row limit of spreadsheets"),
        **dict.fromkeys((10_000, 50_000, 100_000, 500_000, 1_000_000), "a round limit of an export"),
    }
)
ROUND_BELOW = 1_000_000
MIN_ROWS = 10


def value_traps(evidence: Evidence) -> Iterator[Finding]:
    yield from _truncated_file(evidence)
    for name in evidence.columns:
        yield from _unmapped(evidence, name)
        if evidence.frame.schema[name] == pl.String and not evidence.is_all_numbers(name):
            yield from _suppressed(evidence, name)
            yield from _error_cells(evidence, name)
            yield from _truncated_text(evidence, name)
    yield from _blank_and_zero(evidence)
    for name in evidence.measures:
        yield from _negative(evidence, name)
        yield from _currency_signs(evidence, name)
    yield from _several(evidence)


def _unmapped(evidence: Evidence, column: str) -> Iterator[Finding]:
    """Codes that the rule's map (or the closed list of the target) does not have."""
    rule = evidence.rule(column)
    if rule is None or rule.dropped or rule.target is None:
        return
    if rule.transform.op is TransformOp.ENUM_MAP and rule.transform.map:
        known = {key.strip().lower() for key in rule.transform.map}
        what = "has no entry in the map"
    else:
        target = fact_column(rule.target)
        if target is None or target.dtype is not FactType.WORD or rule.transform.op is not TransformOp.NONE:
            return
        known, what = set(target.words), f"is no word of {rule.target}"
    text = evidence.text(column)
    counted = text.drop_nulls().value_counts(sort=True)
    unknown = [(str(v), int(n)) for v, n in counted.iter_rows() if str(v).strip().lower() not in known]
    if not unknown:
        return
    rows = sum(count for _, count in unknown)
    shown = ", ".join(f"«{value[:40]}» ({count:,})" for value, count in unknown[:5])
    more = f" and {len(unknown) - 5:,} more values" if len(unknown) > 5 else ""
    sentence = (
        f"{evidence.share(rows)} of {listed([column])} {agree(rows, 'hold')} what {what}: {shown}{more}."
    )
    mask = text.is_in([value for value, _ in unknown]) & text.is_not_null()
    step = "Add these values to the rule's map; until then they stay empty in the result."
    yield Finding("value.unmapped", "warning", sentence, (column,), rows, evidence.lines_where(mask), step)


def _suppressed(evidence: Evidence, column: str) -> Iterator[Finding]:
    text = evidence.text(column)
    if evidence.number(column) is None and not _is_measure(evidence, column):
        return
    held = text.str.contains(SUPPRESSED).fill_null(value=False)
    if count := int(held.sum()):
        example = str(text.filter(held).first())[:30]
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'are')} held back for privacy (such as «{example}»)."
        )
        step = "They are kept and marked as suppressed, without a number; sums are that much too low."
        yield Finding(
            "value.suppressed", "note", sentence, (column,), count, evidence.lines_where(held), step
        )


def _is_measure(evidence: Evidence, column: str) -> bool:
    target = fact_column(evidence.roles.get(column, ""))
    return target is not None and target.dtype in (FactType.INTEGER, FactType.NUMBER)


def _error_cells(evidence: Evidence, column: str) -> Iterator[Finding]:
    text = evidence.text(column)
    odd = text.str.contains(_ERROR_CELL).fill_null(value=False)
    if count := int(odd.sum()):
        example = str(text.filter(odd).first())[:30]
        sentence = (
            f"{evidence.share(count)} of {listed([column])} "
            f"{agree(count, 'hold')} a spreadsheet's error («{example}»), not a value."
        )
        step = "Export the file again, straight from the retailer and not through a spreadsheet."
        yield Finding(
            "value.spreadsheet_error", "warning", sentence, (column,), count, evidence.lines_where(odd), step
        )


def _truncated_text(evidence: Evidence, column: str) -> Iterator[Finding]:
    """Many texts end at exactly the length where databases cut, and hardly any just before."""
    text = evidence.text(column)
    probe = text.gather(probe_rows(text.len())).str.len_chars()
    longest = probe.max()
    if not isinstance(longest, int) or longest < min(CUTS):
        return
    lengths = text.str.len_chars()
    most = lengths.max()
    if not isinstance(most, int) or most not in CUTS or lengths.n_unique() <= 5:
        return
    full = (lengths == most).fill_null(value=False)
    count, different = int(full.sum()), text.filter(full).n_unique()
    just_below = int(lengths.is_between(most - 5, most - 1).sum()) / 5
    if different < 3 or count < 3 * max(just_below, 1):
        return
    sentence = (
        f"{evidence.share(count)} of {listed([column])} "
        f"{agree(count, 'are')} exactly {most} letters long, the longest: probably cut."
    )
    step = "Do not join by this column; ask for the whole texts."
    yield Finding(
        "value.truncated_text", "warning", sentence, (column,), count, evidence.lines_where(full), step
    )


def _truncated_file(evidence: Evidence) -> Iterator[Finding]:
    why = LIMITS.get(evidence.total_rows)
    if why is None:
        return
    sure = evidence.total_rows >= ROUND_BELOW or evidence.total_rows in (65_535, 65_536)
    severity: Severity = "warning" if sure else "note"
    sentence = f"The file has exactly {evidence.total_rows:,} rows, {why}: the rest may be missing."
    step = "Compare the totals with the retailer's screen, or fetch the report in smaller pieces."
    last = (int(evidence.lines[-1]),)
    yield Finding("value.truncated_file", severity, sentence, (), evidence.total_rows, last, step)


def _blank_and_zero(evidence: Evidence) -> Iterator[Finding]:
    """Columns in which some cells are blank and others 0; all in one finding, there are often many."""
    both: dict[str, tuple[int, int]] = {}
    for name in evidence.measures:
        numbers = evidence.number(name)
        blanks = evidence.text(name).null_count()
        zeros = int((numbers == 0).sum()) if blanks and numbers is not None else 0
        if blanks and zeros and blanks + zeros >= MIN_ROWS:
            both[name] = (blanks, zeros)
    if not both:
        return
    first, (blanks, zeros) = max(both.items(), key=lambda item: item[1][0])
    verb = "is" if len(both) == 1 else "are each"
    sentence = f"{listed(list(both))} {verb} blank in some rows and 0 in others"
    sentence += f" («{first[:80]}»: {evidence.share(blanks)} blank, {zeros:,} with 0)."
    step = "Blank stays «not reported» and 0 stays nothing; ask what the retailer means by a blank."
    lines = evidence.lines_where(evidence.text(first).is_null())
    yield Finding("value.blank_and_zero", "note", sentence, tuple(both), blanks, lines, step)


def _negative(evidence: Evidence, column: str) -> Iterator[Finding]:
    numbers, target = evidence.number(column), fact_column(evidence.used.get(column, ""))
    if numbers is None:
        return
    below = (numbers < 0).fill_null(value=False)
    count = int(below.sum())
    if not count:
        return
    total = float(numbers.filter(below).sum() or 0)
    counts = target is not None and target.group is FactGroup.DELIVERY
    corrects = evidence.op(column) is TransformOp.SUM_DELTA
    many = count > 0.2 * (numbers.len() - numbers.null_count())
    severity: Severity = "warning" if (counts or many) and not corrects else "note"
    sentence = (
        f"{evidence.share(count)} of {listed([column])} "
        f"{agree(count, 'are')} below zero (together {total:,.2f}): corrections of earlier "
        "rows."
    )
    step = "They are kept and lower the sums; never compare single rows of this column."
    yield Finding("value.negative", severity, sentence, (column,), count, evidence.lines_where(below), step)


def _currency_signs(evidence: Evidence, column: str) -> Iterator[Finding]:
    """Signs beside amounts: another currency than the card's, or several."""
    if evidence.frame.schema[column] != pl.String:
        return
    text = evidence.text(column)
    probe = text.gather(probe_rows(text.len(), 400)).drop_nulls()
    if not probe.str.contains(_SIGN).any():
        return
    signs = text.str.extract(_SIGN)
    counted = [(str(s), int(n)) for s, n in signs.drop_nulls().value_counts(sort=True).iter_rows()]
    money = [(sign, count) for sign, count in counted if sign in SIGNS or sign.isalpha()]
    if len(money) > 1:
        said = ", ".join(f"{sign} ({count:,})" for sign, count in money[:4])
        sentence = f"{listed([column])} holds amounts in several currencies: {said}."
        other, rows = (signs != money[0][0]).fill_null(value=False), sum(n for _, n in money[1:])
        step = "Harmonize each currency on its own; amounts of two currencies are never added."
        lines = evidence.lines_where(other)
        yield Finding("money.several_currencies", "warning", sentence, (column,), rows, lines, step)
    card = evidence.currency
    foreign = [(sign, n) for sign, n in money if card and card not in SIGNS.get(sign, {sign})]
    if foreign:
        sign, rows = foreign[0]
        sentence = f"{listed([column])} says {sign} in {evidence.share(rows)}, the card says {card}."
        lines = evidence.lines_where((signs == sign).fill_null(value=False))
        step = "Correct the currency on the card; amounts are not converted."
        yield Finding("money.sign_differs", "warning", sentence, (column,), rows, lines, step)


def _several(evidence: Evidence) -> Iterator[Finding]:
    """More than one retailer or currency in the file, or one that is not the card's."""
    for target, rule, noun in (
        ("currency", "money.several_currencies", "currencies"),
        ("retailer", "value.several_retailers", "retailers"),
    ):
        for name in (each for each in evidence.columns if evidence.roles.get(each) == target):
            text = evidence.text(name)
            values = [str(value) for value in text.drop_nulls().value_counts(sort=True).get_column(name)]
            if len(values) > 1:
                yield _mixture(evidence, name, values, (target, rule, noun))
            elif target == "currency" and values and evidence.currency not in (None, values[0].upper()):
                sentence = f"{listed([name])} says {values[0][:10]}, the card says {evidence.currency}."
                step = "Correct the currency on the card."
                rows = text.len() - text.null_count()
                yield Finding("money.sign_differs", "warning", sentence, (name,), rows, (), step)


def _mixture(evidence: Evidence, column: str, values: list[str], kind: tuple[str, str, str]) -> Finding:
    target, rule, noun = kind
    lost = evidence.mapping is not None and evidence.is_dropped(column)
    said = ", ".join(value[:40] for value in values[:5]) + (", …" if len(values) > 5 else "")
    sentence = f"{listed([column])} names {len(values):,} {noun}: {said}."
    step = f"Sums over all rows would mix {noun}; group by {target}."
    if lost:
        step = f"Map {listed([column])} to {target}, or the rows cannot be told apart."
    other = (evidence.text(column) != values[0]).fill_null(value=False)
    severity: Severity = "warning" if lost else "note"
    return Finding(rule, severity, sentence, (column,), int(other.sum()), evidence.lines_where(other), step)
