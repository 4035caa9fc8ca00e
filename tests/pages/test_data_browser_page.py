"""The data browser: raw and harmonized rows, filters, and the reference tables."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from app import harmonize_child
from app.actions import datasets, harmonize, mappings
from app.bootstrap import Console
from core.datasets import service as dataset_service
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.saved import HarmonizedRun
from core.jobs import service as jobs
from core.storage.files import sha256_of
from core.tenants import service as tenants
from core.tenants.records import Principal, Role
from core.training.progress import Stop

Open = Callable[..., AppTest]
RAW = b"day,shop,money,kind\n2026-03-01,North,100,sp\n2026-03-02,South,250,sb\n2026-03-03,North,40,sp\n"
RULES = (
    Rule(
        source_field="day",
        target="ts",
        transform=Transform(op="to_utc", format="%Y-%m-%d", source_tz="UTC", grain="day"),
    ),
    Rule(source_field="shop", target="retailer"),
    Rule(source_field="money", target="cost", transform=Transform(op="divide", by=100)),
    Rule(
        source_field="kind",
        target="placement_type",
        transform=Transform(op="enum_map", map={"sp": "sponsored_product", "sb": "sponsored_brand"}),
    ),
)


def trainer(c: Console) -> Principal:
    with c.database.reading() as s:
        tenant = tenants.list_tenants(s)[0]
    return Principal(tenant.id, tenant.name, "trainer@demo.example", Role.TRAINER)


def run_of(c: Console) -> HarmonizedRun:
    p = trainer(c)
    datasets.import_raw(c, p, io.BytesIO(RAW), "north", SourceCard(currency="USD"))
    mappings.save_mapping(c, p, name="north", mapping=Mapping(rules=RULES, currency="USD"))
    job = harmonize.submit_harmonize(c, p, dataset="north", mapping="north")
    with c.database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=c.clock())
    assert claimed is not None
    harmonize_child.run_job(c.database, c.settings, job.id, claimed.fence, Stop())
    return harmonize.list_runs(c, p)[0]


def column(at: AppTest, name: str) -> list[object]:
    return list(next(d.value for d in at.dataframe if name in d.value.columns)[name])


def test_without_rows_the_way_to_a_mapping_is_offered(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "data_browser")
    assert "No rows to look at yet" in " ".join(m.value for m in at.markdown)
    assert "New retailer from a file" in [button.label for button in at.button]


def test_raw_and_harmonized_rows_stand_side_by_side_line_by_line(open_as: Open, console: Console) -> None:
    run = run_of(console)
    at = open_as(Role.VIEWER, "data_browser", run=run.id)
    assert not at.exception
    assert not at.error
    assert column(at, "money") == ["100", "250", "40"]
    assert column(at, "cost") == [1.0, 2.5, 0.4]
    at.multiselect(key=f"run-{run.id}-retailer").set_value(["South"]).run()
    assert column(at, "cost") == [2.5]
    assert column(at, "money") == ["250"]
    assert column(at, "line") == ["3"]


def test_filters_by_date_type_any_column_search_and_sort(open_as: Open, console: Console) -> None:
    run = run_of(console)
    at = open_as(Role.VIEWER, "data_browser", run=run.id)
    key = f"run-{run.id}"
    at.segmented_control(key="browser-side").set_value("Harmonized").run()
    at.date_input(key=f"{key}-from").set_value("2026-03-02").run()
    assert column(at, "cost") == [2.5, 0.4]
    at.multiselect(key=f"{key}-placement_type").set_value(["sponsored_product"]).run()
    assert column(at, "cost") == [0.4]
    at.date_input(key=f"{key}-from").set_value(None).run()
    assert column(at, "cost") == [1.0, 0.4]
    at.selectbox(key=f"{key}-sort").set_value("cost").run()
    assert column(at, "cost") == [0.4, 1.0]
    at.toggle(key=f"{key}-descending").set_value(True).run()
    assert column(at, "cost") == [1.0, 0.4]
    at.selectbox(key=f"{key}-column-0").set_value("cost").run()
    at.selectbox(key=f"{key}-condition-0").set_value("at most").run()
    at.text_input(key=f"{key}-value-0").set_value("0.5").run()
    assert column(at, "cost") == [0.4]
    at.text_input(key=f"{key}-value-0").set_value("'; DROP TABLE users; --").run()
    assert "does not fit" in at.error[0].value
    at.text_input(key=f"{key}-value-0").set_value("").run()
    at.text_input(key=f"{key}-search").set_value("north sponsored 40").run()
    assert not at.error
    assert [d.value.shape[0] for d in at.dataframe if "cost" in d.value.columns] == [0]


def test_a_raw_file_alone_can_be_looked_at(open_as: Open, console: Console) -> None:
    run = run_of(console)
    at = open_as(Role.VIEWER, "data_browser", dataset=run.dataset_id)
    assert column(at, "kind") == ["sp", "sb", "sp"]
    assert column(at, "line") == ["2", "3", "4"]


def test_reference_tables_have_a_tab_each_with_what_their_columns_mean(
    open_as: Open, console: Console, tmp_path: Path
) -> None:
    table = tmp_path / "sku_catalog.csv"
    table.write_text("product_id,gtin14,list_price\nP1,00617246968942,6.29\nP2,00758798794914,12.5\n")
    card: dict[str, Any] = {"name": "sku_catalog", "title": "SKU catalog", "kind": "reference", "rows": 2}
    card |= {"simulated": True, "digest": sha256_of(table)}
    card["columns"] = [{"name": "gtin14", "meaning": "GTIN-14, leading zeros kept", "unit": ""}]
    with console.database.transaction() as s:
        dataset_service.register_file(
            s,
            tenants.list_tenants(s)[0].id,
            path=table,
            card=card,
            name="sku_catalog",
            now=console.clock(),
        )
    at = open_as(Role.VIEWER, "data_browser")
    at.session_state["browser-tab"] = "SKU catalog"
    at.run()
    assert not at.exception
    assert not at.error
    assert column(at, "gtin14") == ["00617246968942", "00758798794914"]
    assert column(at, "list_price") == [6.29, 12.5]
    assert "GTIN" in str([t.value.to_dict() for t in at.table])


def test_a_file_that_has_changed_is_not_shown(open_as: Open, console: Console) -> None:
    run = run_of(console)
    rows = harmonize.run_file(console, trainer(console), run.id)
    rows.write_bytes(rows.read_bytes() + b"x")
    at = open_as(Role.VIEWER, "data_browser", run=run.id)
    assert "Harmonize the dataset again" in at.error[0].value
