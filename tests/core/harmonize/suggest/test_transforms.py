"""Which operation a column needs."""

import pytest

from core.harmonize.records import Rule
from core.harmonize.suggest.evidence import Evidence
from core.harmonize.suggest.names import read_name
from core.harmonize.suggest.profile import profile_values
from core.harmonize.suggest.transforms import Setting, choose_transform, written_signs
from core.harmonize.suggest.units import Unit

ZONE = "America/Los_Angeles"


def chosen(
    target: str, values: list[str], name: str = "x", rule: Rule | None = None, **setting: object
) -> dict[str, object]:
    each = Evidence(profile_values(name, values), read_name(name), rule=rule)
    given = Setting(account_timezone=ZONE, units=setting.pop("units", {}), **setting)  # type: ignore[arg-type]
    return choose_transform(each, target, given).plain()


@pytest.mark.parametrize(
    ("target", "values", "transform"),
    [
        ("", ["a"], {"op": "drop"}),
        ("derived.ctr", ["1.2"], {"op": "drop"}),
        ("campaign_id", ["0017"], {"op": "string_id"}),
        ("campaign_name", ["Spring"], {"op": "none"}),
        ("upc", ["036000291452"], {"op": "pad_gtin", "to": 14}),
        ("user_id", ["a1"], {"op": "pseudonymize"}),
        ("dedup_key", ["a1"], {"op": "dedup", "on": "x"}),
        ("device", ["PHON", "TBLT"], {"op": "enum_map", "map": {"PHON": "mobile", "TBLT": "tablet"}}),
        ("impressions", ["1200"], {"op": "none"}),
        ("impressions", ["1,200"], {"op": "parse_number", "strip": ","}),
        ("cost", ["$1,200.50"], {"op": "parse_number", "strip": "$,"}),
        ("cost", ["12,50"], {"op": "parse_number", "strip": "."}),
        ("clicks", ["1.007"], {"op": "parse_number", "strip": "."}),
        ("clicks", ["12.345.678", "7"], {"op": "parse_number", "strip": "."}),
        ("cost", ["1.007", "12,5"], {"op": "parse_number", "strip": "."}),
        ("cost", ["3\u00a0315,52"], {"op": "parse_number", "strip": "\u00a0."}),
        ("currency", ["EUR"], {"op": "none"}),
        ("currency", ["eur"], {"op": "enum_map", "map": {"eur": "EUR"}}),
        ("event_type", ['[{"id": 1}]'], {"op": "explode", "path": "x"}),
        ("search_term", ["shoes", "123456", "boots"], {"op": "regex_split", "numeric_goes_to": "product_id"}),
        ("date_local", ["2026-02-26"], {"op": "none"}),
    ],
)
def test_the_target_and_the_values_tell_the_operation(
    target: str, values: list[str], transform: dict[str, object]
) -> None:
    assert chosen(target, values) == transform


@pytest.mark.parametrize(
    ("name", "values", "pattern", "zone", "grain"),
    [
        ("day", ["2026-02-26"], "%Y-%m-%d", "account_timezone", "day"),
        ("time", ["2026-02-26T04:27:04-03:00"], "iso", "UTC", "event"),
        ("event_dt_utc", ["2026-02-26 04:27:04"], "%Y-%m-%d %H:%M:%S", "UTC", "event"),
        ("ts", ["1772064000000"], "epoch_ms", "UTC", "day"),
        ("hour", ["2026022613"], "%Y%m%d%H", "account_timezone", "hour"),
    ],
)
def test_a_time_is_put_into_utc_from_the_clock_it_is_of(name, values, pattern, zone, grain) -> None:
    assert chosen("ts", values, name) == {
        "op": "to_utc",
        "format": pattern,
        "source_tz": zone,
        "grain": grain,
    }


def test_an_ambiguous_day_is_read_as_the_account_writes_it() -> None:
    assert chosen("ts", ["03/02/2026"])["format"] == "%m/%d/%Y"


def test_a_unit_is_divided_and_thousands_are_multiplied() -> None:
    assert chosen("cost", ["7"], units={"x": Unit(1e6, "")}) == {"op": "divide", "by": 1_000_000}
    assert chosen("impressions", ["7"], units={"x": Unit(0.001, "")}) == {"op": "multiply", "by": 1000}


def test_measures_of_a_stream_of_corrections_are_summed_as_such() -> None:
    assert chosen("clicks", ["7"], stream=True) == {"op": "sum_delta"}
    assert chosen("campaign_id", ["7"], stream=True) == {"op": "string_id"}


def test_a_documented_operation_holds_where_it_fits_the_values() -> None:
    rule = Rule(source_field="x", target="cost", transform={"op": "divide", "by": 100})
    assert chosen("cost", ["1250"], rule=rule) == {"op": "divide", "by": 100}
    assert chosen("cost", ["12.50"], rule=rule) == {"op": "none"}
    assert chosen("budget", ["1250"], rule=rule) == {"op": "none"}


def test_a_confirmed_map_is_kept_and_new_values_are_added() -> None:
    rule = Rule(source_field="x", target="device", transform={"op": "enum_map", "map": {"K1": "kiosk"}})
    assert chosen("device", ["K1", "PHON"], rule=rule) == {
        "op": "enum_map",
        "map": {"K1": "kiosk", "PHON": "mobile"},
    }


def test_the_zone_of_a_documented_clock_is_kept_and_its_format_is_read_from_the_values() -> None:
    rule = Rule(
        source_field="x",
        target="ts",
        transform={"op": "to_utc", "format": "%d.%m.%Y", "source_tz": "UTC", "grain": "day"},
    )
    assert chosen("ts", ["2026-02-26"], rule=rule) == {
        "op": "to_utc",
        "format": "%Y-%m-%d",
        "source_tz": "UTC",
        "grain": "day",
    }


def test_signs_to_remove_are_only_those_that_stand_there() -> None:
    assert written_signs(profile_values("x", ["12.5"])) == ""
    assert written_signs(profile_values("x", ["1.234,5", "2,1"])) == "."
    assert written_signs(profile_values("x", ["€ 1,234"])) in ("€ ,", "€, ")
