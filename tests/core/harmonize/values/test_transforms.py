import hashlib
import hmac
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from core.errors import InvalidInputError
from core.harmonize.records import Rule, SourceCard
from core.harmonize.values.transforms import cells_of, values_of
from tests.core.harmonize.apply_files import values


def rule(target: str | None, **transform: Any) -> Rule:
    return Rule.model_validate({"source_field": "x", "target": target, "transform": transform})


def test_an_identifier_keeps_every_digit_and_leading_zero() -> None:
    assert values("campaign_id", {"op": "string_id"}, ["012345678901234567", " A1 "]) == [
        "012345678901234567",
        "A1",
    ]
    assert values("campaign_id", {"op": "string_id"}, [903403766774462919]) == ["903403766774462919"]
    assert values("campaign_id", {"op": "string_id"}, [12.0, 1.5]) == ["12", "1.5"]


def test_free_text_is_copied_as_it_is() -> None:
    assert values("campaign_name", {"op": "none"}, [" =Sale ", "N/A", None]) == [" =Sale ", "N/A", None]


def test_a_word_is_found_without_regard_to_case_and_spaces() -> None:
    assert values("placement_type", {"op": "none"}, ["Sponsored Product", "on-site display", "VIDEO"]) == [
        "sponsored_product",
        None,
        "video",
    ]


def test_codes_are_mapped_as_written_and_then_loosely() -> None:
    transform = {
        "op": "enum_map",
        "map": {"Imp": "impression", "IMP": "click", "Add  to cart": "add_to_cart", "x": None},
    }
    given = ["Imp", "IMP", "imp", " add to CART", "x", "other", None]
    assert values("event_type", transform, given) == [
        "impression",
        "click",
        "impression",
        "add_to_cart",
        None,
        None,
        None,
    ]


def test_a_code_may_stand_for_a_number_or_a_truth() -> None:
    assert values("position", {"op": "enum_map", "map": {"top": "1"}}, ["top", "low"]) == [1, None]
    assert values("suppressed", {"op": "enum_map", "map": {"S": "true", "-": "false"}}, ["S", "-"]) == [
        True,
        False,
    ]


def test_a_map_to_a_word_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="banner"):
        values("placement_type", {"op": "enum_map", "map": {"x": "banner"}}, ["x"])


@pytest.mark.parametrize(
    ("text", "gtin"),
    [
        ("774026326580", "00774026326580"),
        ("0774026326580", "00774026326580"),
        ("96385074", "00000096385074"),
        ("00774026326580", "00774026326580"),
        ("0000774026326580", "00774026326580"),
        ("7740 2632-6580", "00774026326580"),
        ("774026326580.0", "00774026326580"),
        ("74026326580", "00074026326580"),
        ("ABC123", None),
        ("123456789012345", None),
        ("7.7E+11", None),
    ],
)
def test_a_gtin_is_padded_and_what_is_none_is_refused(text: str, gtin: str | None) -> None:
    assert values("upc", {"op": "pad_gtin", "to": 14}, [text]) == [gtin]


def test_a_wrong_check_digit_is_marked_and_the_number_kept() -> None:
    [cell] = cells_of(rule("upc", op="pad_gtin"), "x", {"x": pl.String()}, SourceCard())
    [(finding, mark)] = cell.marks
    frame = pl.LazyFrame({"x": ["4006381333931", "4006381333932", "036000291452"]})
    for step in cell.steps:
        frame = frame.with_columns(**step)
    assert finding == "gtin.check_digit"
    assert frame.select(mark).collect().to_series().to_list() == [False, True, False]


def test_a_column_of_two_kinds_is_split_by_what_is_numeric() -> None:
    frame = pl.DataFrame({"x": ["0012", "abc", None]})
    made = values_of(rule("sku", op="regex_split", numeric_goes_to="upc"), frame)
    assert made.to_dict(as_series=False) == {"upc": ["0012", None, None], "sku": [None, "abc", None]}


def test_named_groups_of_a_pattern_are_columns_of_their_own_type() -> None:
    frame = pl.DataFrame({"x": ["ab-12", "zz", "cd-3"]})
    made = values_of(rule(None, op="regex_split", pattern=r"^(?P<sku>[a-z]+)-(?P<clicks>\d+)$"), frame)
    assert made.to_dict(as_series=False) == {"sku": ["ab", None, "cd"], "clicks": [12, None, 3]}


def test_the_first_group_fills_the_target_where_none_has_a_name() -> None:
    assert values("campaign_id", {"op": "regex_split", "pattern": r"\[(\d+)\]$"}, ["Sale [42]", "Sale"]) == [
        "42",
        None,
    ]


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "((a{1000}){1000}){1000}", "(", "a" * 501, r"(?P<nonsense>a)"]
)
def test_a_pattern_that_could_run_for_hours_or_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError):
        values("sku", {"op": "regex_split", "pattern": pattern}, ["a"])


def test_a_pattern_made_to_backtrack_is_read_in_no_time() -> None:
    assert values("sku", {"op": "regex_split", "pattern": r"^((a+)+)$"}, ["a" * 50_000 + "b"]) == [None]


def test_a_time_rule_gives_the_day_and_the_grain_too() -> None:
    frame = pl.DataFrame({"x": ["02/03/26", None]})
    made = values_of(
        rule("ts", op="to_utc", format="%d/%m/%y", source_tz="account_timezone"),
        frame,
        SourceCard(account_timezone="Europe/Berlin"),
    )
    assert made.row(0) == (datetime(2026, 3, 1, 23, tzinfo=UTC), date(2026, 3, 2), "day")
    assert made.row(1) == (None, None, None)


def test_a_date_keeps_the_day_that_is_written() -> None:
    assert values(
        "date_local",
        {"op": "to_utc", "format": "%Y%m%d"},
        ["20260302"],
        account_timezone="Pacific/Kiritimati",
    ) == [date(2026, 3, 2)]


def test_a_factor_may_stand_in_another_column() -> None:
    frame = pl.DataFrame({"x": ["100", "50", "7", "x"], "units": ["4", "0", None, "2"]})
    assert values_of(rule("price", op="divide", by_field="units"), frame)["price"].to_list() == [
        25.0,
        None,
        None,
        None,
    ]
    with pytest.raises(InvalidInputError, match="nowhere"):
        values_of(rule("price", op="divide", by_field="nowhere"), frame)


def test_persons_become_keyed_hashes_that_differ_by_key_and_name() -> None:
    def hashed(secret: bytes, **transform: Any) -> list[str]:
        cells = cells_of(
            rule("user_id", op="pseudonymize", **transform),
            "x",
            {"x": pl.String()},
            SourceCard(),
            pseudonym_key=secret,
        )
        assert cells[0].secret
        return (
            pl.DataFrame({"x": ["ann@example.com", " ann@example.com", None]})
            .select(cells[0].value)["x"]
            .to_list()
        )

    one, two, blank = hashed(b"k" * 32)
    assert one == two
    assert blank is None
    assert len(one) == 64
    assert len({one, hashed(b"l" * 32)[0], hashed(b"k" * 32, key="orders")[0]}) == 3
    own = hmac.new(b"k" * 32, b"pseudonym:", hashlib.sha256).digest()
    assert one == hmac.new(own, b"ann@example.com", hashlib.sha256).hexdigest()


def test_without_a_key_nobody_is_pseudonymized() -> None:
    with pytest.raises(InvalidInputError, match="no key"):
        values("user_id", {"op": "pseudonymize"}, ["ann"])


def test_an_operation_that_gives_another_type_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="is a time"):
        values("ts", {"op": "divide", "by": 2}, ["1"])
    with pytest.raises(InvalidInputError, match="takes no numbers"):
        values("sku", {"op": "parse_number"}, ["1"])


def test_a_currency_is_a_code_and_a_sign_is_none() -> None:
    assert values("currency", {"op": "none"}, ["usd", " EUR ", "$"]) == ["USD", "EUR", None]
