"""The report shapes are what they claim to be: valid rules, samples that parse, numbers that agree with each other."""

import copy
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from core.harmonize.records import Rule, SourceCard
from core.rmis.facts import FactColumn, FactGroup, FactType, fact_column

SHAPES = Path(__file__).parent / "shapes"
FILES = sorted(SHAPES.glob("*/*.json"))
EPOCHS = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
MONEY_SCALES = (1, 100, 1_000_000)

Shape = dict[str, Any]
Column = dict[str, Any]


def read_shape(path: Path) -> Shape:
    shape = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(shape, dict)
    return shape


def shape_named(name: str) -> Shape:
    return read_shape(SHAPES / f"{name}.json")


def outcome(column: Column) -> bool:
    target = fact_column(column["target"])
    return target is not None and target.group is FactGroup.OUTCOME


def kept(column: Column) -> bool:
    return column["target"] is not None and column["transform"]["op"] not in ("drop", "dedup")


def number(text: str, strip: str = "") -> Decimal:
    """The number that a person reads in the text; a single comma before one or two digits is a decimal comma."""
    for sign in strip:
        text = text.replace(sign, "")
    if re.fullmatch(r"-?\d+,\d{1,6}", text):
        text = text.replace(",", ".")
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise ValueError(f"{text!r} is no number")
    return Decimal(text)


def shown_rate(text: str) -> tuple[Decimal, Decimal]:
    """A rate as shown, and half a unit of its last digit."""
    value = number(text, "$₹% \u00a0")
    return value, Decimal(1).scaleb(int(value.as_tuple().exponent)) / 2


def moment(text: str, form: str) -> datetime:
    if form in EPOCHS:
        return datetime.fromtimestamp(int(text) / EPOCHS[form], UTC)
    return datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)


def read_value(column: Column, text: str) -> object:
    """The RMIS value of one sample under the column's rule; ValueError where there is none."""
    target = fact_column(column["target"])
    assert target is not None
    transform = column["transform"]
    match transform["op"]:
        case "to_utc":
            return moment(text, transform["format"])
        case "divide":
            return number(text) / Decimal(str(transform["by"]))
        case "parse_number":
            return whole_if_needed(target, number(text, transform.get("strip", "")))
        case "enum_map":
            return transform["map"][text]
        case "pad_gtin":
            return checked_gtin(text)
        case "none" if target.dtype in (FactType.INTEGER, FactType.NUMBER):
            if not re.fullmatch(r"-?\d+(\.\d+)?", text):
                raise ValueError(f"{text!r} is not plain")
            return whole_if_needed(target, Decimal(text))
        case "none" if target.dtype is FactType.DATE:
            return date.fromisoformat(text)
    return text


def whole_if_needed(target: FactColumn, value: Decimal) -> Decimal:
    if target.dtype is FactType.INTEGER and value != value.to_integral_value():
        raise ValueError(f"{value} is not whole")
    return value


def checked_gtin(text: str) -> str:
    if not re.fullmatch(r"\d{8,14}", text):
        raise ValueError(f"{text!r} is no GTIN")
    weighed = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(text)))
    if weighed % 10:
        raise ValueError(f"{text!r} has a wrong check digit")
    return text.zfill(14)


def form_faults(shape: Shape) -> Iterator[str]:
    for name in ("network", "report", "source_url"):
        if not shape[name].strip():
            yield f"{name} is empty"
    if not shape["source_url"].startswith("https://"):
        yield "source_url is no https address"
    card = SourceCard.model_validate(shape["card"])
    ZoneInfo(card.account_timezone)
    if (card.network, card.retailer, card.report) != (shape["network"], shape["retailer"], shape["report"]):
        yield "the card is of another report"
    if not 8 <= len(shape["columns"]) <= 30:
        yield f"{len(shape['columns'])} columns"
    for name, times in Counter(column["source_field"] for column in shape["columns"]).items():
        if times > 1:
            yield f"«{name}» stands {times} times"
    lengths = {len(column["samples"]) for column in shape["columns"]}
    if len(lengths) != 1 or not lengths <= set(range(8, 13)):
        yield f"samples of different or wrong lengths: {sorted(lengths)}"
    for column in shape["columns"]:
        if not any(column["samples"]) or not all(s is None or isinstance(s, str) for s in column["samples"]):
            yield f"«{column['source_field']}» has samples that are not text, or none at all"


def rule_faults(shape: Shape) -> Iterator[str]:
    allowed = {"source_field", "target", "transform", "qualifiers"}
    for column in shape["columns"]:
        name = column["source_field"]
        if extra := set(column) - allowed - {"samples", "description", "duplicate_of"}:
            yield f"«{name}» has {sorted(extra)}"
        try:
            rule = Rule.model_validate({key: column[key] for key in allowed})
        except ValidationError as fault:
            yield f"«{name}»: {fault.errors()[0]['msg']}"
            continue
        if rule.transform.plain() != column["transform"] or dict(rule.qualifiers) != column["qualifiers"]:
            yield f"«{name}» is not written as a mapping writes it"
        yield from (f"«{name}» {fault}" for fault in convention_faults(rule))


def convention_faults(rule: Rule) -> Iterator[str]:
    target = fact_column(rule.target) if rule.target else None
    op = str(rule.transform.op)
    if rule.dropped and rule.qualifiers:
        yield "is dropped and has qualifiers"
    if target is None:
        if op != "drop":
            yield "has no target and is not dropped"
        return
    if target.group is FactGroup.DERIVED and op != "drop":
        yield "is a rate and is not dropped"
    if op == "drop":
        return
    if target.dtype is FactType.IDENTIFIER and op not in ("string_id", "pad_gtin", "pseudonymize", "dedup"):
        yield f"is an identifier with {op}"
    if target.dtype is FactType.WORD and op != "enum_map":
        yield f"is a closed word with {op}"
    if target.name == "ts" and (rule.transform.grain is None or rule.transform.source_tz is None):
        yield "is a time without grain or zone"
    if rule.qualifiers and target.group is not FactGroup.OUTCOME and target.name != "viewable_impressions":
        yield "is no outcome and has qualifiers"
    words = set((rule.transform.map or {}).values()) - {None}
    if target.words and not words <= set(target.words):
        yield f"maps to {sorted(words - set(target.words))}"


def sample_faults(shape: Shape) -> Iterator[str]:
    for column in shape["columns"]:
        if not kept(column):
            continue
        for sample in filter(None, column["samples"]):
            try:
                read_value(column, sample)
            except (ValueError, KeyError, InvalidOperation) as fault:
                yield f"«{column['source_field']}»: {fault}"
            transform = column["transform"]
            if transform["op"] == "to_utc" and transform["source_tz"] != "UTC" and OFFSET.search(sample[10:]):
                yield f"«{column['source_field']}»: {sample} has an offset of its own"


def twice_faults(shape: Shape) -> Iterator[str]:
    """Only outcomes may fill their column twice, and only with different qualifiers."""
    keys = Counter(
        (column["target"], json.dumps(column["qualifiers"], sort_keys=True))
        if outcome(column)
        else (column["target"], "")
        for column in shape["columns"]
        if kept(column)
    )
    yield from (f"{key} is kept {times} times" for key, times in keys.items() if times > 1)


def numbers_in(column: Column) -> list[Decimal | None]:
    return [None if text is None else Decimal(str(read_value(column, text))) for text in column["samples"]]


def numbers_of(shape: Shape, *targets: str) -> list[list[Decimal | None]]:
    """The values of the kept columns of these targets, row by row."""
    return [numbers_in(column) for column in shape["columns"] if kept(column) and column["target"] in targets]


QUOTIENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "derived.ctr": (("clicks",), ("impressions",), 1),
    "derived.cpc": (("cost",), ("clicks",), 1),
    "derived.cpm": (("cost",), ("impressions",), 1000),
    "derived.cpa": (("cost",), ("attributed_conversions",), 1),
    "derived.cvr": (("attributed_conversions", "attributed_units"), ("clicks",), 1),
    "derived.roas": (("attributed_sales",), ("cost",), 1),
    "derived.acos": (("cost",), ("attributed_sales",), 1),
    "derived.ntb_rate": (("ntb_sales", "ntb_conversions"), ("attributed_sales", "attributed_conversions"), 1),
    "derived.viewability_rate": (("viewable_impressions",), ("measurable_impressions", "impressions"), 1),
    "derived.measurability": (("measurable_impressions",), ("impressions",), 1),
}


def agrees(
    samples: list[str | None],
    above: list[Decimal | None],
    below: list[Decimal | None],
    scale: int,
) -> bool:
    for sample, top, bottom in zip(samples, above, below, strict=True):
        if sample in (None, "--") or top is None or not bottom:
            continue
        value, half = shown_rate(sample)
        if abs(value - top * scale / bottom) > half * Decimal("1.000001"):
            return False
    return True


def rate_faults(shape: Shape) -> Iterator[str]:
    """A derived column is the quotient of two other columns in some unit, to its last shown digit."""
    for column in shape["columns"]:
        if column["target"] not in QUOTIENTS:
            continue
        above, below, factor = QUOTIENTS[column["target"]]
        tops, bottoms = numbers_of(shape, *above), numbers_of(shape, *below)
        if (
            tops
            and bottoms
            and not any(
                agrees(column["samples"], top, bottom, factor * scale)
                for top in tops
                for bottom in bottoms
                for scale in MONEY_SCALES
            )
        ):
            yield f"«{column['source_field']}» is no quotient of its columns"


def family_faults(shape: Shape) -> Iterator[str]:
    """Longer windows hold at least as much; the advertised and the other SKUs are the total; so are both touches."""
    families: dict[tuple[str, str], dict[object, list[Decimal | None]]] = defaultdict(dict)
    for column in shape["columns"]:
        if kept(column) and outcome(column):
            values = numbers_in(column)
            for by in ("window_click_days", "sku_scope", "touch"):
                rest = {name: value for name, value in column["qualifiers"].items() if name != by}
                key = (f"{column['target']} by {by}", json.dumps(rest, sort_keys=True))
                families[key][column["qualifiers"].get(by)] = values
    for (name, _), members in families.items():
        if name.endswith("window_click_days"):
            yield from _shrinking(name, members)
        for parts, whole in ((("same_sku", "other_sku"), "total"), (("click", "view"), None)):
            if all(part in members for part in parts) and whole in members:
                pairs = zip(*(members[part] for part in parts), strict=True)
                sums = [None if one is None or other is None else one + other for one, other in pairs]
                if sums != members[whole]:
                    yield f"{name}: {' + '.join(parts)} is not the total"


def _shrinking(name: str, members: dict[object, list[Decimal | None]]) -> Iterator[str]:
    windows = sorted(window for window in members if isinstance(window, int))
    for short, long in pairwise(windows):
        pairs = zip(members[short], members[long], strict=True)
        if any(a is not None and b is not None and a > b for a, b in pairs):
            yield f"{name}: {long} days hold less than {short}"


def duplicate_faults(shape: Shape) -> Iterator[str]:
    by_name = {column["source_field"]: column for column in shape["columns"]}
    for column in shape["columns"]:
        if "duplicate_of" not in column:
            continue
        other = by_name.get(column["duplicate_of"])
        if other is None or other["target"] != column["target"] or not kept(other):
            yield f"«{column['source_field']}» is a duplicate of nothing that is kept"
            continue
        as_told = {**column, "transform": {"op": "none"}}
        told = [text and read_value(as_told, text) for text in column["samples"]]
        if told != [text and read_value(other, text) for text in other["samples"]]:
            yield f"«{column['source_field']}» differs from «{other['source_field']}»"


CHECKS: tuple[Callable[[Shape], Iterator[str]], ...] = (
    form_faults,
    rule_faults,
    sample_faults,
    twice_faults,
    rate_faults,
    family_faults,
    duplicate_faults,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_shape_is_valid_and_its_numbers_agree(path: Path):
    shape = read_shape(path)
    assert [fault for check in CHECKS for fault in check(shape)] == []


def test_no_network_is_in_both_halves():
    halves = {
        half: {read_shape(path)["network"] for path in FILES if path.parent.name == half}
        for half in ("development", "locked")
    }
    assert {path.parent.name for path in FILES} == set(halves)
    assert halves["development"] & halves["locked"] == set()
    assert len(halves["development"]) == len(halves["locked"]) >= 10


def test_there_are_shapes_enough_and_none_stands_twice():
    shapes = [read_shape(path) for path in FILES]
    assert len(shapes) >= 30
    assert len({shape["network"] for shape in shapes}) >= 20
    assert len({(shape["network"], shape["report"]) for shape in shapes}) == len(shapes)


def test_what_makes_real_reports_hard_is_there():
    columns = [column for path in FILES for column in read_shape(path)["columns"]]
    divisors = {column["transform"].get("by") for column in columns}
    assert {100, 100_000, 1_000_000, 100_000_000} <= divisors
    formats = {column["transform"].get("format") for column in columns}
    assert {"iso", "epoch_ms", "epoch_us", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y"} <= formats
    assert sum(str(column["target"]).startswith("derived.") for column in columns) >= 100
    assert sum(column["target"] is None for column in columns) >= 80
    assert sum("duplicate_of" in column for column in columns) >= 3
    assert {"pseudonymize", "dedup", "pad_gtin", "parse_number"} <= {c["transform"]["op"] for c in columns}


def _change(field: str, **new: Any) -> Callable[[Shape], None]:
    def change(shape: Shape) -> None:
        next(column for column in shape["columns"] if column["source_field"] == field).update(new)

    return change


def _sample(field: str, text: str) -> Callable[[Shape], None]:
    def change(shape: Shape) -> None:
        next(column for column in shape["columns"] if column["source_field"] == field)["samples"][0] = text

    return change


AMAZON = "development/amazon_ads_sp_advertised_product"


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (AMAZON, _change("cost", target="money"), "not a column of RMIS"),
        (AMAZON, _change("cost", transform={"op": "divide"}), "needs either by"),
        (AMAZON, _change("spend", transform={"op": "none"}), "kept 2 times"),
        (AMAZON, _change("costPerClick", transform={"op": "none"}), "rate and is not dropped"),
        (AMAZON, _change("campaignId", transform={"op": "none"}), "identifier with none"),
        (AMAZON, _change("cost", samples=["1.00"] * 9), "wrong lengths"),
        (AMAZON, _sample("clickThroughRate", "99.1"), "no quotient"),
        (AMAZON, _sample("purchases7d", "100000"), "14 days hold less than 7"),
        (AMAZON, _sample("spend", "0.01"), "differs from «cost»"),
        (AMAZON, _sample("impressions", "12,5O0"), "is not plain"),
        (AMAZON, _sample("impressions", "12.5"), "is not whole"),
        (AMAZON, _sample("date", "26.02.2026"), "does not match format"),
        (
            "development/coupang_product_ads_keyword_report",
            _sample("간접 주문수(14일)", "0"),
            "is not the total",
        ),
        (
            "development/google_ads_keyword_view",
            _sample("ad_group_criterion.keyword.match_type", "AUTO"),
            "AUTO",
        ),
        ("development/uber_ads_product_performance", _sample("item_gtin", "012345678901"), "check digit"),
        ("development/xandr_network_analytics", _sample("total_convs", "0"), "click + view is not the total"),
    ],
)
def test_a_planted_fault_is_found(name: str, change: Callable[[Shape], None], fault: str):
    shape = copy.deepcopy(shape_named(name))
    change(shape)
    found: list[str] = []
    for check in CHECKS:
        found.extend(check(shape))
        if found:
            break
    assert any(fault in sentence for sentence in found), found
