import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.demo.retailers import TEST_RETAILERS, RetailerSpec, transform_of
from core.errors import InvalidInputError, RefusedFileError
from core.harmonize.apply import harmonize, run_harmonize
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.source.open import open_source
from core.rmis.facts import validate_record
from core.settings import PROJECT_ROOT
from tests.core.harmonize.apply_files import harmonized, lines_of, mapping_of, source_of

NONE = {"op": "none"}
CLICK_14 = {"window_click_days": 14, "touch": "click"}
DAY = ("day", "ts", {"op": "to_utc", "format": "%Y-%m-%d", "source_tz": "account_timezone", "grain": "day"})


def rules_of(report: HarmonizeReport) -> list[str]:
    return [each.rule for each in report.findings]


def test_a_report_becomes_rmis(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        "day,campaign,spend,clicks,sales,place\n"
        '2026-03-08,012345678901234567,1500000,3,"1,234.50",Top\n'
        "2026-03-09,7,,0,,top\n",
    )
    mapping = mapping_of(
        DAY,
        ("campaign", "campaign_id", {"op": "string_id"}),
        ("spend", "cost", {"op": "divide", "by": 1_000_000}),
        ("clicks", "clicks"),
        ("sales", "attributed_sales", {"op": "parse_number", "strip": ","}, CLICK_14),
        ("place", "placement_type", {"op": "enum_map", "map": {"Top": "sponsored_product"}}),
        retailer="Shop",
        network="Shop Ads",
        currency="USD",
        account_timezone="America/Los_Angeles",
        version=3,
    )
    rows, report = harmonized(tmp_path, source, mapping)
    first = rows.row(0, named=True)
    assert first == {
        "ts": datetime(2026, 3, 8, 8, tzinfo=UTC),
        "grain": "day",
        "date_local": date(2026, 3, 8),
        "account_timezone": "America/Los_Angeles",
        "event_type": "aggregate",
        "retailer": "Shop",
        "network": "Shop Ads",
        "placement_type": "sponsored_product",
        "campaign_id": "012345678901234567",
        "clicks": 3,
        "cost": 1.5,
        "currency": "USD",
        "attributed_sales": 1234.5,
        "suppressed": False,
        "window_click_days": 14,
        "touch": "click",
        "lineage.file": "report.csv",
        "lineage.line": 2,
        "lineage.mapping": f"Shop@3 {report.mapping_digest[:12]}",
    }
    assert rows["cost"].to_list() == [1.5, None], "blank is not zero"
    assert rows["placement_type"].to_list() == ["sponsored_product"] * 2
    assert (report.rows_in, report.rows_out, report.coverage, report.unmapped_columns) == (2, 2, 1.0, ())
    assert report.conserved
    assert report.qualifiers == CLICK_14


def test_csv_has_times_in_utc_with_z_and_the_same_rows(tmp_path: Path) -> None:
    source = source_of(tmp_path, "t,c\n2026-03-02T00:16:26+02:00,5\n2026-03-02T00:16:26.5Z,\n")
    mapping = mapping_of(("t", "ts", {"op": "to_utc", "format": "iso"}), ("c", "clicks"))
    out = tmp_path / "rows.csv"
    run_harmonize(source, mapping, None, out=out, format="csv", work_dir=tmp_path)
    rows = pl.read_csv(out, infer_schema=False)
    assert rows["ts"].to_list() == ["2026-03-01T22:16:26Z", "2026-03-02T00:16:26.500Z"]
    assert rows["clicks"].to_list() == ["5", None]
    assert rows["date_local"].to_list() == ["2026-03-01", "2026-03-02"]


def test_what_comes_out_is_valid_rmis(tmp_path: Path) -> None:
    source = source_of(tmp_path, "t,c,p\n2026-03-02T00:16:26+02:00,5,video\n,x,\n")
    mapping = mapping_of(
        ("t", "ts", {"op": "to_utc"}), ("c", "clicks"), ("p", "placement_type"), currency="EUR"
    )
    out = tmp_path / "rows.csv"
    run_harmonize(source, mapping, None, out=out, work_dir=tmp_path)
    for row in pl.read_csv(out, schema_overrides={"ts": pl.String}).to_dicts():
        facts = {name: value for name, value in row.items() if not name.startswith("lineage.")}
        assert validate_record(facts) == []


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_running_again_gives_the_same_bytes(tmp_path: Path, format: Any) -> None:
    lines = "".join(
        f"2026-03-{1 + n % 28:02}T0{n % 10}:00:00Z,{n},{n * 37 % 1000},K{n % 3}\n" for n in range(20_000)
    )
    source = source_of(tmp_path, "t,id,cost,p\n" + lines)
    mapping = mapping_of(
        ("t", "ts", {"op": "to_utc"}),
        ("id", "campaign_id"),
        ("cost", "cost", {"op": "divide", "by": 100}),
        ("p", "placement_type", {"op": "enum_map", "map": {"K1": "video", "K2": "audio"}}),
    )
    digests = set()
    for attempt in range(3):
        out = tmp_path / f"{attempt}" / f"rows.{format}"
        digests.add(
            run_harmonize(source, mapping, None, out=out, format=format, work_dir=tmp_path).out_digest
        )
        digests.add((out.parent / "rows.rejected.csv").read_bytes())
    assert len(digests) == 2


def test_values_that_do_not_fit_are_counted_listed_and_never_silent(tmp_path: Path) -> None:
    source = source_of(
        tmp_path, "c,p,t\n5,video,2026-03-01\n1.5,billboard,yesterday\n-,,\nn/a,billboard,2026-03-02\n"
    )
    mapping = mapping_of(("c", "clicks"), ("p", "placement_type"), ("t", "ts"))
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows["clicks"].to_list() == [5, None, None, None]
    assert rows["placement_type"].to_list() == ["video", "unknown", None, "unknown"]
    assert report.rejected_values == 4
    assert report.rejected_path is not None
    listed = pl.read_csv(report.rejected_path, infer_schema=False)
    assert sorted(listed.select("line", "column", "raw").rows()) == [
        ("3", "c", "1.5"),
        ("3", "p", "billboard"),
        ("3", "t", "yesterday"),
        ("5", "p", "billboard"),
    ]
    assert all(listed["reason"].to_list())
    by_column = {each.columns[0]: each for each in report.findings if each.rule == "value.unreadable"}
    assert by_column["c"].lines == (3,)
    assert "«billboard» (2)" in by_column["p"].sentence
    assert "value.blank_word" in rules_of(report)


def test_a_column_of_which_most_is_wrong_is_an_error(tmp_path: Path) -> None:
    source = source_of(tmp_path, "c\nx\ny\n3\n")
    _, report = harmonized(tmp_path, source, mapping_of(("c", "clicks")))
    assert [each.severity for each in report.findings if each.rule == "value.unreadable"] == ["error"]


def test_a_list_of_rejected_values_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    mapping = mapping_of(("c", "clicks"))
    _, first = harmonized(tmp_path, source_of(tmp_path, "c\nx\n1\n2\n"), mapping)
    assert first.rejected_path is not None
    _, second = harmonized(tmp_path, source_of(tmp_path, "c\n1\n"), mapping)
    assert second.rejected_path is None
    assert not first.rejected_path.exists()


def test_withheld_numbers_stay_blank_and_their_rows_are_marked(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,s\na,<10\nb,12\nc,\nd,N/A (privacy)\n")
    rows, report = harmonized(tmp_path, source, mapping_of(("id", "campaign_id"), ("s", "attributed_units")))
    assert rows["suppressed"].to_list() == [True, False, False, True]
    assert rows["attributed_units"].to_list() == [None, 12, None, None]
    assert report.suppressed_rows == 2
    assert report.rejected_values == 0
    assert "value.suppressed" in rules_of(report)


def test_other_windows_go_to_a_file_of_their_own_and_never_into_the_same_column(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,clicks,s7,s14,u14,s14_same\na,3,70,140,14,100\nb,4,,8,,\n")
    mapping = mapping_of(
        ("id", "campaign_id"),
        ("clicks", "clicks"),
        ("s7", "attributed_sales", NONE, {"window_click_days": 7}),
        ("s14", "attributed_sales", NONE, {"window_click_days": 14}),
        ("u14", "attributed_units", NONE, {"window_click_days": 14}),
        ("s14_same", "attributed_sales", NONE, {"window_click_days": 14, "sku_scope": "same_sku"}),
        headline="14d",
    )
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows["attributed_sales"].to_list() == [140.0, 8.0]
    assert report.apart_path == tmp_path / "out" / "rows.other_windows.parquet"
    apart = pl.read_parquet(report.apart_path)
    assert "clicks" not in apart.columns, "amounts of the headline are not repeated"
    kept = apart.select(
        "campaign_id", "attributed_sales", "window_click_days", "sku_scope", "lineage.line"
    ).rows()
    assert kept == [("a", 70.0, 7, None, 2), ("a", 100.0, 14, "same_sku", 2)]
    assert report.apart_rows == 2
    assert {each.source_field: each.apart for each in report.conservation} == {
        "clicks": False,
        "s7": True,
        "s14": False,
        "u14": False,
        "s14_same": True,
    }
    assert report.conserved


def test_two_columns_for_one_target_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="«a» and «b»"):
        harmonize(source, mapping_of(("a", "cost"), ("b", "cost")))
    made = harmonize(source, mapping_of(("a", "cost"), ("b", "cost", {"op": "drop"})))
    assert made.frame.collect()["cost"].to_list() == [1.0]


def test_a_mapping_of_another_report_is_refused_and_missing_columns_are_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="fits no column"):
        harmonize(source, mapping_of(("x", "cost")))
    _, report = harmonized(tmp_path, source, mapping_of(("a", "cost"), ("gone", "clicks")))
    [missing] = [each for each in report.findings if each.rule == "mapping.missing_column"]
    assert missing.columns == ("gone",)


def test_a_column_is_found_without_regard_to_case_and_spaces_and_that_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, "Total  Spend,b\n1,2\n")
    rows, report = harmonized(tmp_path, source, mapping_of(("total spend", "cost")))
    assert rows["cost"].to_list() == [1.0]
    assert "mapping.loose_name" in rules_of(report)
    assert (report.coverage, report.unmapped_columns) == (0.5, ("b",))


def test_a_rule_without_target_covers_its_column_only_when_it_drops_it_on_purpose(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b,c,empty\n1,2,3,\n")
    mapping = mapping_of(("a", "cost"), ("b", None, {"op": "drop"}), ("c", None))
    _, report = harmonized(tmp_path, source, mapping)
    assert report.unmapped_columns == ("c",)
    assert report.coverage == pytest.approx(2 / 3)


def test_what_the_card_says_fills_columns_that_no_rule_gives(tmp_path: Path) -> None:
    source = source_of(tmp_path, "shop,a\nNorth,1\nSouth,2\n")
    mapping = mapping_of(("shop", "retailer"), ("a", "cost"), retailer="Mapped", currency="USD")
    rows, _ = harmonized(tmp_path, source, mapping, SourceCard(currency="EUR", network="Net"))
    assert rows["retailer"].to_list() == ["North", "South"], "several retailers in one file"
    assert rows.select("network", "currency").row(0) == ("Net", "EUR")


def test_repeats_of_an_event_are_removed_before_any_sum(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,cost\ne1,1.10\ne2,2.20\ne1,1.10\n,5\n,6\n e2,9\n")
    rows, report = harmonized(
        tmp_path, source, mapping_of(("id", "event_id", {"op": "dedup"}), ("cost", "cost"))
    )
    assert rows["cost"].to_list() == [1.1, 2.2, 5.0, 6.0], "a blank key is never a repeat"
    assert rows["lineage.line"].to_list() == [2, 3, 5, 6]
    assert report.duplicates_removed == 2
    [total] = report.conservation
    assert (total.input_total, total.duplicates_total, total.output_total, total.difference) == (
        "24.40",
        "10.10",
        "14.30",
        "0.00",
    )


def test_dedup_may_name_a_column_or_the_target_of_another_rule(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,id,c\nx,1,1\nx,2,1\ny,2,1\n")
    for on, left in (("id", [2, 3]), ("event_id", [2, 3]), ("a", [2, 4]), (None, [2, 4])):
        mapping = mapping_of(("a", "sku", {"op": "dedup", "on": on}), ("id", "event_id"), ("c", "clicks"))
        assert harmonize(source, mapping).frame.collect()["lineage.line"].to_list() == left


def test_corrections_are_kept_as_rows_or_summed_over_their_key(tmp_path: Path) -> None:
    source = source_of(tmp_path, "k,cost,clicks,bid\na,0.1,5,1\nb,1,1,2\na,0.2,-2,3\na,-0.3,,\n,7,1,\n")
    kept = mapping_of(
        ("k", "campaign_id"), ("cost", "cost", {"op": "sum_delta"}), ("clicks", "clicks"), ("bid", "bid")
    )
    rows, report = harmonized(tmp_path, source, kept)
    assert rows["cost"].to_list() == [0.1, 1.0, 0.2, -0.3, 7.0]
    summed = mapping_of(
        ("k", "campaign_id"),
        ("cost", "cost", {"op": "sum_delta", "key": ["k"]}),
        ("clicks", "clicks"),
        ("bid", "bid"),
    )
    rows, report = harmonized(tmp_path, source, summed)
    assert rows.select("campaign_id", "cost", "clicks", "bid", "lineage.line").rows() == [
        ("a", 0.0, 3, 3.0, 2),
        ("b", 1.0, 1, 2.0, 3),
        (None, 7.0, 1, None, 6),
    ]
    assert (report.rows_in, report.rows_out) == (5, 3)
    assert report.conserved


def test_a_key_of_corrections_that_is_no_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="«nothing»"):
        harmonize(
            source_of(tmp_path, "a\n1\n"), mapping_of(("a", "cost", {"op": "sum_delta", "key": "nothing"}))
        )


def test_items_of_a_list_become_rows_and_amounts_of_the_order_are_not_multiplied(tmp_path: Path) -> None:
    source = lines_of(
        tmp_path,
        [
            {
                "order": "o1",
                "cost": 3,
                "items": [{"sku": "A", "sales": 1.10, "tag": {"b": "x"}}, {"sku": "B", "sales": 2}],
            },
            {"order": "o2", "cost": 4, "items": []},
            {"order": "o3", "cost": 5, "items": [{"sku": "C", "sales": 123456789012345678}]},
        ],
    )
    mapping = mapping_of(
        ("order", "order_id"),
        ("cost", "cost"),
        ("items", "sku", {"op": "explode", "path": "sku"}),
        ("items.sales", "attributed_sales"),
        ("items.tag.b", "brand"),
    )
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows.select("order_id", "sku", "brand", "cost", "attributed_sales").rows() == [
        ("o1", "A", "x", 3.0, 1.1),
        ("o1", "B", None, None, 2.0),
        ("o2", None, None, 4.0, None),
        ("o3", "C", None, 5.0, 123456789012345680.0),
    ]
    assert (report.rows_in, report.rows_out, report.coverage) == (3, 4, 1.0)
    by_field = {each.source_field: each for each in report.conservation}
    assert by_field["cost"].output_total == "12.00"
    assert by_field["cost"].difference == "0.00"


def test_a_list_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,i\na,[1\nb,[]\n")
    mapping = mapping_of(("id", "campaign_id"), ("i.s", "sku", {"op": "explode", "path": "i"}))
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows.height == 2
    [unread] = [each for each in report.findings if each.rule == "value.unreadable_list"]
    assert unread.lines == (2,)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("items", "items.sku"),
        ("items", "$.items[*].sku"),
        ("items.sku", "items"),
        ("items[].sku", "items"),
        ("items", "sku"),
    ],
)
def test_a_path_may_be_written_in_any_usual_way(tmp_path: Path, field: str, path: str) -> None:
    source = lines_of(tmp_path, [{"items": [{"sku": "A"}, {"sku": "B"}]}, {"items": []}])
    made = harmonize(source, mapping_of((field, "sku", {"op": "explode", "path": path}))).frame.collect()
    assert made["sku"].to_list() == ["A", "B", None]


def test_rows_of_two_lists_are_refused(tmp_path: Path) -> None:
    source = lines_of(tmp_path, [{"a": [1], "b": [2]}])
    mapping = mapping_of(
        ("a", "sku", {"op": "explode", "path": "a"}), ("b", "product_id", {"op": "explode", "path": "b"})
    )
    with pytest.raises(InvalidInputError, match="2 nested lists"):
        harmonize(source, mapping)


def test_columns_of_one_row_become_rows_with_their_constants(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,cost,online,store\na,5,1,2\nb,6,,4\nc,7,,\n")
    mapping = mapping_of(
        ("id", "campaign_id"),
        ("cost", "cost"),
        ("online", "attributed_sales", {"op": "explode", "const": {"channel": "onsite"}}),
        ("store", "attributed_sales", {"op": "explode", "const": "instore"}),
    )
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows.select("campaign_id", "channel", "cost", "attributed_sales").rows() == [
        ("a", "onsite", 5.0, 1.0),
        ("a", "instore", None, 2.0),
        ("b", "instore", 6.0, 4.0),
        ("c", None, 7.0, None),
    ]
    assert [each.output_total for each in report.conservation] == ["18.00", "1.00", "6.00"]
    assert report.conserved


def test_moments_of_one_row_become_events(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        "user,seen,clicked\nu1,2026-03-01T00:00:00Z,2026-03-01T00:00:09Z\nu2,2026-03-02T00:00:00Z,\n",
    )
    mapping = mapping_of(
        ("user", "session_id"),
        ("seen", "ts", {"op": "explode", "const": "impression"}),
        ("clicked", "ts", {"op": "explode", "const": "click"}),
    )
    made = harmonize(source, mapping).frame.collect()
    assert made.select("session_id", "event_type", made["ts"].dt.second().alias("s")).rows() == [
        ("u1", "impression", 0),
        ("u1", "click", 9),
        ("u2", "impression", 0),
    ]


def test_a_constant_that_is_no_word_of_rmis_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n")
    for const in ("nonsense", {"channel": "moon"}):
        with pytest.raises(InvalidInputError):
            harmonize(source, mapping_of(("a", "cost", {"op": "explode", "const": const})))


def test_a_person_is_nowhere_in_what_is_written(tmp_path: Path) -> None:
    source = source_of(tmp_path, "who,c\nann@example.com,x\nann@example.com,2\nbob@example.com,3\n")
    mapping = mapping_of(("who", "user_id", {"op": "pseudonymize", "key": "users"}), ("c", "clicks"))
    rows, report = harmonized(tmp_path, source, mapping, pseudonym_key=b"k" * 32)
    assert rows["user_id"].n_unique() == 2
    written = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(written) == 2
    assert all(b"@example" not in path.read_bytes() for path in written)
    assert "@example" not in repr(report)


def test_a_dry_run_writes_nothing_and_says_the_same(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,s\na,<10\nb,x\nc,3\n")
    mapping = mapping_of(("id", "campaign_id"), ("s", "attributed_units"))
    _, wet = harmonized(tmp_path, source, mapping)
    dry = run_harmonize(source, mapping, None, out=None, work_dir=tmp_path / "dry")
    assert list((tmp_path / "dry").iterdir()) == []
    assert (dry.conservation, dry.rows_out, dry.findings) == (wet.conservation, wet.rows_out, wet.findings)
    assert (dry.out_path, dry.out_digest, dry.rejected_path) == (None, None, None)


def test_broken_rows_are_said_and_do_not_stop_the_file(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b\n1,2\n1,2,3\n4,5\n")
    _, report = harmonized(tmp_path, source, mapping_of(("a", "cost")))
    assert (report.rows_in, report.broken_rows) == (2, 1)
    [broken] = [each for each in report.findings if each.rule == "rows.broken"]
    assert broken.lines == (3,)


def test_a_fault_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n")
    out = tmp_path / "out" / "rows.parquet"
    harmonized(tmp_path, source, mapping_of(("a", "cost")))
    before = out.read_bytes()
    (tmp_path / "report.csv").unlink()
    with pytest.raises((pl.exceptions.PolarsError, OSError)):
        run_harmonize(source, mapping_of(("a", "clicks")), None, out=out, work_dir=tmp_path)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["rows.parquet"]


def test_parquet_keeps_its_types_and_ints_stay_exact(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "at": [datetime(2026, 3, 2, 1), None],
            "id": [903403766774462919, 1],
            "cost": [1_500_000, None],
            "sales": [0.1, 0.2],
            "deep": [{"n": 1}, {"n": 2}],
        }
    ).write_parquet(tmp_path / "in.parquet")
    source = open_source(tmp_path / "in.parquet", work_dir=tmp_path / "work")
    mapping = mapping_of(
        ("at", "ts", {"op": "to_utc", "source_tz": "Europe/Berlin"}),
        ("id", "campaign_id", {"op": "string_id"}),
        ("cost", "cost", {"op": "divide", "by": 1_000_000}),
        ("sales", "attributed_sales"),
        ("deep.n", "clicks"),
    )
    rows, report = harmonized(tmp_path, source, mapping)
    assert rows.row(0, named=True)["ts"] == datetime(2026, 3, 2, 0, tzinfo=UTC)
    assert rows["campaign_id"].to_list() == ["903403766774462919", "1"]
    assert rows.select("cost", "attributed_sales", "clicks").rows() == [(1.5, 0.1, 1), (None, 0.2, 2)]
    assert report.conserved
    assert {each.source_field: each.input_total for each in report.conservation} == {
        "cost": "1500000.00",
        "sales": "0.30",
        "deep.n": "3",
    }


def test_a_parquet_file_that_is_damaged_further_down_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pl.DataFrame({"a": list(range(50_000))}).write_parquet(
        path, compression="uncompressed", row_group_size=5000
    )
    data = bytearray(path.read_bytes())
    data[1000:1400] = b"\xff" * 400
    path.write_bytes(bytes(data))
    try:
        source = open_source(path, work_dir=tmp_path / "work")
        report = run_harmonize(
            source, mapping_of(("a", "clicks")), None, out=tmp_path / "o.parquet", work_dir=tmp_path
        )
    except RefusedFileError:
        assert not (tmp_path / "o.parquet").exists()
    else:
        assert report.rows_out == 50_000


@pytest.mark.parametrize("spec", TEST_RETAILERS, ids=lambda spec: spec.slug)
def test_the_files_of_the_demo_retailers_are_harmonized_whole(tmp_path: Path, spec: RetailerSpec) -> None:
    [path] = [
        p
        for p in (PROJECT_ROOT / "datasets" / "events").glob(f"retailer_{spec.slug}.*")
        if ".card." not in p.name
    ]
    rules = [(c.name, c.target or None, transform_of(spec, c), dict(c.qualifiers)) for c in spec.columns]
    mapping = mapping_of(
        *rules,
        retailer=spec.name,
        network=spec.network,
        account_timezone=spec.timezone,
        currency=spec.currency,
    )
    source = open_source(path, work_dir=tmp_path / "work")
    rows, report = harmonized(tmp_path, source, mapping)
    assert report.rows_out == source.rows
    assert report.coverage == 1.0
    assert report.conserved
    assert report.rejected_values == 0
    assert [each.sentence for each in report.findings if each.severity == "error"] == []
    assert rows["ts"].null_count() == 0
    assert rows["currency"].unique().to_list() == [spec.currency]
    plain = json.loads(json.dumps(mapping.plain()))
    assert Mapping.model_validate(plain) == mapping
