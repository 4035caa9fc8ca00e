"""Adapters: list, proof, lineage, archive, export and import of a verified package."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState, AdapterType
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def adapter_named(console: Console, name: str) -> Adapter:
    with console.database.reading() as s:
        found = registry.list_adapters(s, tenants.list_tenants(s)[0].id, include_archived=True)
    return next(adapter for adapter in found if adapter.name == name)


def test_cards_tell_type_proof_size_and_that_data_is_simulated(open_as: Open, read: Read) -> None:
    at = open_as(Role.VIEWER, "adapters")
    words = read(" ".join(e.value for e in (*at.markdown, *at.caption)))
    for word in ("retailer_test v1", "brand_test v1", "Simulated data", "rank 2", "10.0% → **90.0%**", "n 8"):
        assert word in words


def test_free_text_is_proved_by_its_loss_first(open_as: Open, read: Read, console: Console) -> None:
    at = open_as(Role.VIEWER, "adapters")
    words = read(" ".join(e.value for e in at.caption))
    assert "Loss per answer token 2.50 → **0.75** (−1.75 (−2.00 to −1.50), n 8)" in words
    at = open_as(Role.VIEWER, "adapters", adapter=adapter_named(console, "brand_test").id)
    assert not at.exception
    shown = {metric.label: read(metric.value) for metric in at.metric}
    assert shown["Loss against base, nats"] == "−1.75"
    assert shown["Loss, nats per token"] == "0.75"
    assert shown["Perplexity"] == "2.1"
    assert list(shown).index("Loss against base, nats") < list(shown).index("Exact match")
    at = open_as(Role.VIEWER, "adapters", adapter=adapter_named(console, "retailer_test").id)
    assert "Loss against base, nats" not in {metric.label for metric in at.metric}


def test_the_table_shows_what_the_cards_show(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "adapters")
    at.segmented_control(key="adapter-view").set_value("Table").run()
    table = at.dataframe[0].value
    assert set(table["name"]) == {"retailer_test", "brand_test"}
    assert set(table["adapter"]) == {90.0}
    at.segmented_control(key="adapter-type").set_value("brand").run()
    assert list(at.dataframe[0].value["name"]) == ["brand_test"]
    assert list(at.dataframe[0].value["loss_change"]) == [-1.75]


def test_lineage_leads_to_the_dataset(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "adapters", adapter=adapter_named(console, "retailer_test").id)
    assert {"Proof", "Lineage", "Manifest"} <= {tab.label for tab in at.tabs}
    at.button(key="lineage-dataset").click().run()
    assert at.query_params["dataset"].startswith("ds_")


def test_archiving_asks_first_and_restoring_brings_back(open_as: Open, console: Console) -> None:
    adapter = adapter_named(console, "brand_test")
    at = open_as(Role.TRAINER, "adapters", adapter=adapter.id)
    at.button(key="archive-this").click().run()
    assert adapter_named(console, "brand_test").state is AdapterState.ACTIVE
    assert at.button(key="archive-yes").label == "Archive it"
    with console.database.transaction() as s:
        registry.archive_adapter(s, adapter.tenant_id, adapter.id)
    at = open_as(Role.TRAINER, "adapters", adapter=adapter.id)
    at.button(key="restore-this").click().run()
    assert adapter_named(console, "brand_test").state is AdapterState.ACTIVE


def test_an_archived_adapter_is_shown_only_when_asked_for(open_as: Open, console: Console) -> None:
    adapter = adapter_named(console, "brand_test")
    with console.database.transaction() as s:
        registry.archive_adapter(s, adapter.tenant_id, adapter.id)
    at = open_as(Role.VIEWER, "adapters")
    assert f"details-{adapter.id}" not in [button.key for button in at.button]
    at.toggle(key="adapter-archived").set_value(True).run()
    assert f"details-{adapter.id}" in [button.key for button in at.button]


def zipped(folder: Path, *extra: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        for name, data in extra:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_package_is_verified_and_imported(open_as: Open, console: Console) -> None:
    made = adapter_named(console, "retailer_test")
    at = open_as(Role.TRAINER, "adapters")
    at.file_uploader(key="adapter-file").upload("package.zip", zipped(Path(made.path)))
    at.text_input(key="adapter-import-name").set_value("from outside")
    at.selectbox(key="adapter-import-type").set_value(AdapterType.RETAILER)
    at.form_submit_button[0].click().run()
    assert not at.exception
    assert not at.error
    got = adapter_named(console, "from outside")
    assert (got.digest, got.source.value) == (made.digest, "imported")
    assert at.query_params["adapter"] == got.id


def test_a_zip_without_a_manifest_asks_for_name_and_type_and_takes_them(
    open_as: Open, console: Console
) -> None:
    folder = Path(adapter_named(console, "retailer_test").path)
    assert not (folder / "manifest.json").exists()
    at = open_as(Role.TRAINER, "adapters")
    at.file_uploader(key="adapter-file").upload("package.zip", zipped(folder))
    at.form_submit_button[0].click().run()
    assert "needs a name and a type" in at.error[0].value
    at.text_input(key="adapter-import-name").set_value("from a hub")
    at.selectbox(key="adapter-import-type").set_value(AdapterType.DOMAIN)
    at.form_submit_button[0].click().run()
    assert not at.error
    assert adapter_named(console, "from a hub").type is AdapterType.DOMAIN


@pytest.mark.parametrize("data", [b"no zip at all", b""], ids=["not a zip", "empty"])
def test_a_bad_package_is_refused_with_what_why_and_next(
    open_as: Open, console: Console, data: bytes
) -> None:
    at = open_as(Role.TRAINER, "adapters")
    at.file_uploader(key="adapter-file").upload("package.zip", data)
    at.form_submit_button[0].click().run()
    assert not at.exception
    assert len(at.error) == 1
    with console.database.reading() as s:
        assert len(registry.list_adapters(s, tenants.list_tenants(s)[0].id, include_archived=True)) == 2
