"""The raw event files: realistic, in each retailer's own words, and the same bytes every time."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.datasets.cards import find_cards, parse_card, read_card
from core.datasets.formats import read_rows
from core.datasets.rows import Row
from core.demo.cards import DEMO_SEED
from core.demo.events import SUFFIX, raw_record, write_event_files
from core.demo.products import draw_products
from core.demo.retailers import TEST_RETAILERS, RetailerSpec, Scalar, SourceColumn
from core.demo.traffic import LONGEST_DELAY, Fact, simulate_traffic
from core.rmis.facts import FactType, fact_column, validate_record
from core.rmis.vocabularies import TransformOp
from core.settings import PROJECT_ROOT
from core.storage.files import sha256_of

SHIPPED = PROJECT_ROOT / "datasets"
EACH_RETAILER = pytest.mark.parametrize("spec", TEST_RETAILERS, ids=lambda spec: spec.slug)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    write_event_files(folder)
    return folder


@pytest.fixture(scope="module")
def facts_of() -> dict[str, list[Fact]]:
    products = draw_products(DEMO_SEED)
    return {spec.slug: simulate_traffic(spec, products, DEMO_SEED) for spec in TEST_RETAILERS}


def data_file(folder: Path, spec: RetailerSpec) -> Path:
    return folder / "events" / f"retailer_{spec.slug}{SUFFIX[spec.shape]}"


def flat(values: dict[str, object], prefix: str = "") -> dict[str, Scalar]:
    cells: dict[str, Scalar] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            cells.update(flat(value, f"{prefix}{name}."))
        elif value != "":
            cells[prefix + name] = value  # type: ignore[assignment]
    return cells


def harmonized(spec: RetailerSpec, column: SourceColumn, value: Scalar) -> object:
    """What the column's transform makes of a source value; written apart from the generator."""
    match column.op:
        case TransformOp.TO_UTC if spec.time_format == "epoch_ms":
            moment = datetime.fromtimestamp(int(value) / 1000, UTC)
        case TransformOp.TO_UTC if spec.time_format == "iso_offset":
            moment = datetime.fromisoformat(str(value))
        case TransformOp.TO_UTC:
            moment = datetime.strptime(str(value), spec.time_format).replace(tzinfo=ZoneInfo(spec.timezone))
        case TransformOp.ENUM_MAP:
            return dict(column.codes)[str(value)]
        case TransformOp.DIVIDE:
            return int(value) / column.by
        case TransformOp.PARSE_NUMBER:
            return float(str(value).replace(".", "").replace(",", "."))
        case TransformOp.PAD_GTIN:
            return str(value).rjust(14, "0")
        case _:
            kind = fact_column(column.target)
            assert kind is not None
            number = {FactType.INTEGER: int, FactType.NUMBER: float}.get(kind.dtype)
            return number(value) if number else str(value)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_the_shipped_files_are_what_the_generator_writes(generated) -> None:
    names = sorted(path.relative_to(generated) for path in generated.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(SHIPPED) for path in (SHIPPED / "events").iterdir())
    for name in names:
        assert (generated / name).read_bytes() == (SHIPPED / name).read_bytes(), (
            f"{name}: run app demo --write"
        )


def test_another_seed_gives_other_files(generated, tmp_path) -> None:
    for path in write_event_files(tmp_path, seed=DEMO_SEED + 1):
        assert path.read_bytes() != (generated / path.relative_to(tmp_path)).read_bytes()


@EACH_RETAILER
def test_a_file_has_as_many_readable_rows_as_its_card_says(generated, spec) -> None:
    path = data_file(generated, spec)
    card = read_card(path.with_name(f"retailer_{spec.slug}.card.json"))
    rows = list(read_rows(path))
    assert all(isinstance(row, Row) for row in rows)
    assert len(rows) == card["rows"]
    assert 500 <= len(rows) <= 2000
    assert card["digest"] == sha256_of(path)
    assert card["simulated"] is True
    assert card["notice"].startswith("Simulated")
    assert [column["name"] for column in card["columns"]] == [column.name for column in spec.columns]


@EACH_RETAILER
def test_each_value_comes_back_as_the_truth_by_the_columns_transform(generated, facts_of, spec) -> None:
    rows = [row for row in read_rows(data_file(generated, spec)) if isinstance(row, Row)]
    columns = {column.name: column for column in spec.columns}
    for row, fact in zip(rows, facts_of[spec.slug], strict=True):
        cells = flat(row.values)
        assert cells.keys() == raw_record(spec, fact).keys()
        record = {
            columns[name].target: harmonized(spec, columns[name], value) for name, value in cells.items()
        }
        assert validate_record(record) == []
        truth = {target: value for target, value in fact.items() if target in record}
        if "%S" not in spec.time_format and "%H" in spec.time_format:
            truth["ts"] = f"{str(truth['ts'])[:17]}00Z"
        assert record == pytest.approx(truth)


@pytest.mark.parametrize("slug", ["alpha", "gamma", "delta"])
def test_events_form_a_funnel_and_follow_their_impression(facts_of, slug) -> None:
    facts = facts_of[slug]
    kinds = ["impression", "click", "add_to_cart", "purchase"]
    counts = [sum(fact["event_type"] == kind for fact in facts) for kind in kinds]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 5
    assert 0.02 < counts[1] / counts[0] < 0.10
    shown: dict[tuple[object, object], list[str]] = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: str(fact["ts"])):
        key = (fact["campaign_id"], fact["sku"])
        if fact["event_type"] == "impression":
            shown[key].append(str(fact["ts"]))
            continue
        assert shown[key], "nobody clicks on what was not shown"
        if fact["event_type"] == "purchase":
            assert fact["attributed_sales"] == pytest.approx(
                int(fact["attributed_units"]) * float(fact["price"])
            )
            bought = datetime.fromisoformat(str(fact["ts"]))
            assert any(bought - datetime.fromisoformat(ts) <= LONGEST_DELAY for ts in shown[key])
        else:
            assert "attributed_sales" not in fact


@pytest.mark.parametrize("slug", ["beta", "epsilon"])
def test_report_rows_hold_together(facts_of, slug) -> None:
    for fact in facts_of[slug]:
        assert int(fact["impressions"]) >= int(fact["clicks"]) >= 0
        assert int(fact["attributed_units"]) >= int(fact["attributed_conversions"])
        assert float(fact["attributed_sales"]) >= float(fact["ntb_sales"]) >= 0
        assert (float(fact["attributed_sales"]) > 0) == (int(fact["attributed_conversions"]) > 0)
    assert sum(float(fact["cost"]) for fact in facts_of[slug]) > 1000


@EACH_RETAILER
def test_every_code_and_four_weeks_are_in_the_file(facts_of, spec) -> None:
    facts = facts_of[spec.slug]
    for column in spec.columns:
        if column.codes:
            assert {word for _, word in column.codes} == {fact[column.target] for fact in facts}
    times = [datetime.fromisoformat(str(fact["ts"])) for fact in facts]
    assert times == sorted(times)
    assert timedelta(days=26) < times[-1] - times[0] < timedelta(days=28) + LONGEST_DELAY


def test_cost_per_thousand_is_billed_in_whole_cents_that_add_up(facts_of) -> None:
    """The cents of a campaign's impressions are its price for a thousand, times the impressions, rounded down."""
    by_campaign: dict[object, list[Fact]] = defaultdict(list)
    for fact in facts_of["delta"]:
        if fact["event_type"] == "impression":
            by_campaign[fact["campaign_id"]].append(fact)
    paid = 0
    for facts in by_campaign.values():
        cents = sum(round(float(fact["cost"]) * 100) for fact in facts)
        if str(facts[0]["placement_type"]) in ("instore", "ctv", "video"):
            assert cents == len(facts) * round(float(facts[0]["bid"]) * 100) // 1000
            paid += cents
        else:
            assert cents == 0
    assert paid > 0


def test_cards_of_all_shipped_files_are_valid_and_say_simulated() -> None:
    found = find_cards(SHIPPED)
    assert len(found) >= 9
    for path in found:
        entries = read_card(path)
        card = parse_card(entries, path.name)
        assert card.simulated
        assert "Simulated" in entries["notice"]
        assert entries["license"] == "Apache-2.0"
        assert json.dumps(entries).count("\\ufffd") == 0
