"""What may be compared, added and divided: outcome numbers only where their qualifiers of RMIS §2 are equal.

Derived measures come from sums alone. A denominator of zero gives None: there is no such rate, and it is not 0.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from core.errors import InvalidInputError
from core.rmis.facts import FactGroup, fact_column
from core.rmis.vocabularies import QUALIFIERS

QualifierValue = str | int | bool | None
QualifierSet = Mapping[str, QualifierValue]

#: Derived measure -> (numerator, denominator, factor). Sources: IAB/MRC Retail Media Measurement Guidelines (2024).
DERIVED_MEASURES: Mapping[str, tuple[str, str, int]] = MappingProxyType(
    {
        "ctr": ("clicks", "impressions", 1),
        "cpc": ("cost", "clicks", 1),
        "cpm": ("cost", "impressions", 1000),
        "cpa": ("cost", "attributed_conversions", 1),
        "cvr": ("attributed_conversions", "clicks", 1),
        "roas": ("attributed_sales", "cost", 1),
        "acos": ("cost", "attributed_sales", 1),
        "ntb_rate": ("ntb_conversions", "attributed_conversions", 1),
        "viewability_rate": ("viewable_impressions", "measurable_impressions", 1),
        "measurability": ("measurable_impressions", "impressions", 1),
    }
)

#: How each difference is overcome, in words for the person who reads the refusal.
ALIGNMENT: Mapping[str, str] = MappingProxyType(
    {
        "window_click_days": "take both numbers with the same click window",
        "window_view_days": "take both numbers with the same view window",
        "touch": "take both numbers for the same kind of touch (click, view or both)",
        "model": "take both numbers under the same attribution model",
        "sku_scope": "take both numbers for the same scope of products",
        "sales_channel": "take both numbers for the same sales channel",
        "date_basis": "date both numbers by the interaction or both by the order",
        "new_to_brand": "take both numbers for all buyers or both for new buyers",
        "viewability_standard": "take both numbers under the same viewability standard",
        "currency": "convert both amounts to one currency",
    }
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One qualifier (or the currency) in which two numbers differ; None means that the source does not say."""

    qualifier: str
    left: QualifierValue
    right: QualifierValue

    @property
    def sentence(self) -> str:
        return f"{self.qualifier}: {_say(self.left)} against {_say(self.right)}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A sum of one RMIS column with what it means. `value` None: not reported, which is not zero."""

    column: str
    value: float | None
    qualifiers: QualifierSet = field(default_factory=dict)
    currency: str | None = None
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.column


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two comparable numbers: `change` is right minus left, `ratio` right over left (None where left is 0)."""

    left: Measured
    right: Measured
    change: float | None
    ratio: float | None


def differences(a: QualifierSet, b: QualifierSet) -> list[Difference]:
    """Qualifiers whose values differ, in the order of RMIS §2. «unspecified» and a missing value are the same."""
    known = [*QUALIFIERS, *sorted((set(a) | set(b)) - set(QUALIFIERS))]
    pairs = ((name, _meaning(a.get(name)), _meaning(b.get(name))) for name in known)
    return [Difference(name, left, right) for name, left, right in pairs if not _same(left, right)]


def differences_of(left: Measured, right: Measured) -> list[Difference]:
    """As `differences`, with the currency of two amounts of money."""
    found = differences(left.qualifiers, right.qualifiers)
    if _is_money(left.column) and _is_money(right.column) and left.currency != right.currency:
        found.append(Difference("currency", left.currency, right.currency))
    return found


def require_comparable(
    left: Measured, right: Measured, *, ignoring: AbstractSet[str] = frozenset(), act: str = "compared"
) -> None:
    """Raises InvalidInputError that names every difference and what has to be aligned."""
    found = [each for each in differences_of(left, right) if each.qualifier not in ignoring]
    if found:
        raise InvalidInputError(
            f"«{left.name}» and «{right.name}» cannot be {act}.",
            "They do not mean the same: " + "; ".join(each.sentence for each in found) + ".",
            "To align them: " + "; ".join(dict.fromkeys(alignment(each) for each in found)) + ".",
        )


def alignment(difference: Difference) -> str:
    """What has to be done before numbers with this difference can be compared."""
    return ALIGNMENT.get(difference.qualifier, f"take both numbers with the same {difference.qualifier}")


def compare(left: Measured, right: Measured) -> Comparison:
    """Change and ratio of two comparable numbers of one kind. Raises InvalidInputError with every difference."""
    if left.column != right.column:
        raise InvalidInputError(
            f"«{left.name}» and «{right.name}» cannot be compared.",
            f"One is {left.column}, the other {right.column}.",
            "Choose two numbers of the same column.",
        )
    require_comparable(left, right)
    if left.value is None or right.value is None:
        return Comparison(left, right, None, None)
    return Comparison(left, right, right.value - left.value, ratio(right.value, left.value))


def add(parts: Sequence[Measured]) -> Measured:
    """The sum of comparable numbers of one column; parts that were not reported are left out.

    Raises InvalidInputError where the parts differ in a qualifier or in the currency, and for no parts.
    """
    if not parts:
        raise InvalidInputError("There is nothing to add.", "No number was given.", "Choose at least one.")
    first = parts[0]
    for other in parts[1:]:
        if other.column != first.column:
            raise InvalidInputError(
                f"«{first.name}» and «{other.name}» cannot be added.",
                f"One is {first.column}, the other {other.column}.",
                "Add numbers of one column.",
            )
        require_comparable(first, other, act="added")
    values = [part.value for part in parts if part.value is not None]
    total = sum(values) if values else None
    return Measured(first.column, total, first.qualifiers, first.currency, first.label)


def ratio(numerator: float | None, denominator: float | None, factor: float = 1) -> float | None:
    """numerator / denominator × factor; None where either is not reported or the denominator is 0."""
    if numerator is None or denominator is None or denominator == 0:
        return None
    return numerator / denominator * factor


def derive(measure: str, numerator: Measured, denominator: Measured) -> float | None:
    """A derived measure of RMIS §1 from its two sums.

    Raises InvalidInputError for an unknown measure, for other columns than it is made of, for two currencies,
    and for two outcome numbers that are not comparable (new_to_brand is what ntb_rate asks about, so it may differ).
    """
    if measure not in DERIVED_MEASURES:
        raise InvalidInputError(
            f"«{measure}» is not a derived measure.", "", f"There are {', '.join(DERIVED_MEASURES)}."
        )
    top, bottom, factor = DERIVED_MEASURES[measure]
    if (numerator.column, denominator.column) != (top, bottom):
        raise InvalidInputError(
            f"{measure} cannot be computed from {numerator.column} and {denominator.column}.",
            f"It is {top} over {bottom}.",
            "Give the two sums that it is made of.",
        )
    _require_divisible(measure, numerator, denominator)
    return ratio(numerator.value, denominator.value, factor)


def roas(sales: Sequence[Measured], cost: Sequence[Measured]) -> float | None:
    """Attributed sales over cost of several lines, from sums.

    Raises InvalidInputError where the sales differ in any qualifier, or where there are two currencies.
    """
    return derive("roas", add(sales), add(cost))


def derive_all(sums: Mapping[str, Measured]) -> dict[str, float | None]:
    """Every derived measure whose two sums are given. Raises InvalidInputError as `derive`."""
    return {
        measure: derive(measure, sums[top], sums[bottom])
        for measure, (top, bottom, _) in DERIVED_MEASURES.items()
        if top in sums and bottom in sums
    }


def _require_divisible(measure: str, numerator: Measured, denominator: Measured) -> None:
    both_outcomes = _is_outcome(numerator.column) and _is_outcome(denominator.column)
    if both_outcomes or (numerator.qualifiers and denominator.qualifiers):
        ignored = frozenset({"new_to_brand"}) if measure == "ntb_rate" else frozenset()
        require_comparable(numerator, denominator, ignoring=ignored, act=f"divided into {measure}")
    elif _is_money(numerator.column) and _is_money(denominator.column):
        bare = [Measured(each.column, each.value, {}, each.currency) for each in (numerator, denominator)]
        require_comparable(bare[0], bare[1], act=f"divided into {measure}")


def _is_outcome(column: str) -> bool:
    known = fact_column(column)
    return known is not None and known.group is FactGroup.OUTCOME


def _is_money(column: str) -> bool:
    known = fact_column(column)
    return known is not None and (
        (known.group is FactGroup.MONEY and column != "currency") or column.endswith("_sales")
    )


def _meaning(value: QualifierValue) -> QualifierValue:
    return None if value == "unspecified" else value


def _same(left: QualifierValue, right: QualifierValue) -> bool:
    # True == 1 in Python; a flag and a number of days are never the same.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _say(value: QualifierValue) -> str:
    if value is None:
        return "not said"
    return str(value).lower() if isinstance(value, bool) else str(value)
