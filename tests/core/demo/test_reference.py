"""The reference tables: right check digits, sums that reconcile, intervals that follow from their numbers."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from core.datasets.formats import read_rows
from core.datasets.pii import is_gtin
from core.datasets.rows import Row
from core.demo.generate import write_demo_data
from core.demo.products import draw_products, gtin_check_digit
from core.demo.reference import write_reference_files
from core.demo.retailers import TEST_RETAILERS
from core.rmis.vocabularies import PlacementType
from core.settings import PROJECT_ROOT

SHIPPED = PROJECT_ROOT / "datasets"


def table(name: str) -> list[dict[str, str]]:
    rows = list(read_rows(SHIPPED / name))
    assert all(isinstance(row, Row) for row in rows)
    return [row.values for row in rows if isinstance(row, Row)]


def number(text: str) -> float | None:
    return float(text) if text else None


def test_the_shipped_files_are_what_the_generator_writes(tmp_path) -> None:
    written = write_reference_files(tmp_path)
    assert sorted(path.name for path in written) == sorted(p.name for p in (SHIPPED / "reference").iterdir())
    for path in written:
        shipped = SHIPPED / path.relative_to(tmp_path)
        assert path.read_bytes() == shipped.read_bytes(), f"{path.name}: run app demo --write"


def test_one_call_writes_every_shipped_file_again(tmp_path) -> None:
    written = {path.relative_to(tmp_path) for path in write_demo_data(tmp_path)}
    shipped = {
        p.relative_to(SHIPPED) for folder in SHIPPED.iterdir() if folder.is_dir() for p in folder.rglob("*")
    }
    assert written == shipped


def test_the_demo_data_stays_small() -> None:
    sizes = {p: p.stat().st_size for p in SHIPPED.rglob("*") if p.is_file()}
    assert sum(sizes.values()) < 12 << 20
    assert sum(size for p, size in sizes.items() if p.parent.name not in ("sft", "dpo")) < 4 << 20


def test_gtins_are_unique_and_their_check_digits_right() -> None:
    rows = table("reference/sku_catalog.csv")
    gtins = [row["gtin14"] for row in rows]
    assert len(set(gtins)) == len(rows) == 240
    assert all(len(gtin) == 14 and is_gtin(gtin) for gtin in gtins)
    assert gtin_check_digit("03600029145") == "2"


def test_prices_promotions_and_margins_of_the_catalog_hold_together() -> None:
    rows = table("reference/sku_catalog.csv")
    promoted = 0
    for row in rows:
        price, cost = float(row["list_price"]), float(row["unit_cost"])
        assert 0 < cost < price
        assert float(row["margin_rate"]) == pytest.approx((price - cost) / price, abs=5e-5)
        assert int(row["stock_units"]) >= 0
        if row["promo_price"]:
            promoted += 1
            assert float(row["promo_price"]) < price
    assert 0.15 < promoted / len(rows) < 0.45


def test_products_in_the_event_files_are_those_of_the_catalog() -> None:
    rows = table("reference/sku_catalog.csv")
    assert {row["artnum"] for row in table("events/retailer_alpha.csv")} <= {row["sku_alpha"] for row in rows}
    assert {row["tuotenro"] for row in table("events/retailer_gamma.tsv")} <= {
        row["sku_gamma"] for row in rows
    }
    known = {(row["sku_delta"], row["gtin14"]) for row in rows}
    sold = [row["itx"] for row in table("events/retailer_delta.jsonl")]
    assert {(item["refi"], item["barra"].zfill(14)) for item in sold} <= known  # type: ignore[index,attr-defined]
    assert len({each.name for each in draw_products(7)}) == 240


def test_rates_of_the_metrics_follow_from_their_sums() -> None:
    for row in table("reference/performance_metrics.csv"):
        value = {name: number(row[name]) for name in row if name not in ("date", "retailer", "campaign_id")
                 and name not in ("placement_type", "currency")}  # fmt: skip
        for rate, above, below, factor in (
            ("ctr", "clicks", "impressions", 1),
            ("cpc", "cost", "clicks", 1),
            ("cpm", "cost", "impressions", 1000),
            ("cvr", "conversions", "clicks", 1),
            ("roas", "sales", "cost", 1),
            ("acos", "cost", "sales", 1),
        ):
            top, bottom = value[above], value[below]
            if top is None or not bottom:
                assert value[rate] is None
            else:
                assert value[rate] == pytest.approx(factor * top / bottom, abs=1e-6)


def test_sums_of_the_metrics_are_those_of_the_event_files() -> None:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for row in table("reference/performance_metrics.csv"):
        for name in ("impressions", "clicks", "cost", "conversions", "sales"):
            sums[row["retailer"], name] += float(row[name] or 0)
    alpha = table("events/retailer_alpha.csv")
    assert sums["Retailer Alpha", "clicks"] == sum(row["vorfall"] == "tippte" for row in alpha)
    assert sums["Retailer Alpha", "conversions"] == sum(row["vorfall"] == "gkauft" for row in alpha)
    assert sums["Retailer Alpha", "cost"] == pytest.approx(sum(int(row["kost_ct"]) for row in alpha) / 100)
    beta = table("events/retailer_beta.jsonl")
    assert sums["Retailer Beta", "impressions"] == sum(row["gzg"] for row in beta)  # type: ignore[misc]
    assert sums["Retailer Beta", "sales"] == pytest.approx(sum(int(row["umE"]) for row in beta) / 1e6)
    epsilon = table("events/retailer_epsilon.csv")
    assert sums["Retailer Epsilon", "cost"] == pytest.approx(
        sum(float(row["wydatek"].replace(",", ".")) for row in epsilon)
    )


def test_days_of_the_metrics_are_those_of_the_accounts_zone() -> None:
    """Retailer Delta writes local time, so the day in its file is the day of the report."""
    days = {row["evo"]["cuan"][:10] for row in table("events/retailer_delta.jsonl")}  # type: ignore[index]
    metrics = table("reference/performance_metrics.csv")
    assert {row["date"] for row in metrics if row["retailer"] == "Retailer Delta"} == days


def test_what_a_file_does_not_say_is_blank_and_not_zero() -> None:
    rows = table("reference/performance_metrics.csv")
    assert {row["sales"] for row in rows if row["retailer"] == "Retailer Delta"} == {""}
    assert {row["ntb_sales"] for row in rows if row["retailer"] == "Retailer Alpha"} == {""}
    assert all(row["ntb_sales"] for row in rows if row["retailer"] == "Retailer Beta")


def test_priors_have_an_interval_that_follows_from_mean_and_sd() -> None:
    rows = table("reference/uplift_priors.csv")
    keys = [(row["retailer"], row["placement_type"]) for row in rows]
    assert len(set(keys)) == len(keys) == sum(len(_placements(spec)) for spec in TEST_RETAILERS)
    for row in rows:
        mean, sd = float(row["mean"]), float(row["sd"])
        assert sd > 0
        assert 0 < mean < 1
        assert row["placement_type"] in set(PlacementType)
        assert float(row["low_90"]) == pytest.approx(mean - 1.6449 * sd, abs=1e-4)
        assert float(row["high_90"]) == pytest.approx(mean + 1.6449 * sd, abs=1e-4)
        assert row["source"].startswith("simulated")


def test_audiences_reach_no_more_than_their_size() -> None:
    rows = json.loads((SHIPPED / "reference" / "audiences.json").read_text())
    assert len({row["audience_id"] for row in rows}) == len(rows) == 50
    for row in rows:
        assert 0 < row["reach_estimate"] <= row["size"]
        assert row["look_back_days"] in (14, 30, 60, 90, 180, 365)


def _placements(spec: object) -> set[str]:
    columns = spec.columns  # type: ignore[attr-defined]
    return {word for column in columns if column.target == "placement_type" for _, word in column.codes}


def test_the_folder_explains_itself() -> None:
    text = (SHIPPED / "README.md").read_text()
    assert "simulated" in text
    assert all(f"{folder.name}/" in text for folder in Path(SHIPPED).iterdir() if folder.is_dir())
