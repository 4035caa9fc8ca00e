"""The demo workspace: what is shipped is registered where it lies, once."""

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.datasets import service as datasets
from core.datasets.records import DatasetKind
from core.demo.workspace import WorkspaceContent, prepare_workspace
from core.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedFileError
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.package import build_manifest
from core.registry.records import AdapterSource, AdapterState, AdapterType
from core.registry.verify import verify_folder
from core.settings import PROJECT_ROOT
from core.storage.database import Database
from core.storage.files import sha256_of
from core.tenants.records import Tenant

Make = Callable[..., Path]


def write_set(root: Path, kind: str, name: str, rows: int = 60) -> Path:
    row = (
        {"prompt": "p {}", "completion": "c {}"}
        if kind == "sft"
        else {"prompt": "p {}", "chosen": "a", "rejected": "b"}
    )
    lines = [json.dumps({key: text.format(n) for key, text in row.items()}) for n in range(rows)]
    path = root / "datasets" / kind / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    card = {
        "name": name,
        "title": name.title(),
        "kind": kind,
        "adapter_type": "brand",
        "simulated": True,
        "rows": rows,
        "digest": sha256_of(path),
    }
    path.with_name(f"{name}.card.json").write_text(json.dumps(card))
    return path


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Path:
    root = tmp_path / "project"
    for kind, name in (("sft", "brand_x"), ("sft", "brand_x_long"), ("dpo", "brand_x")):
        write_set(root, kind, name)
    shutil.copytree(tiny_base, root / "models" / "base" / "tiny")
    return root


@pytest.fixture
def ship(project: Path, make_adapter: Make, base_facts: BaseFacts, now: datetime) -> Make:
    def ship(name: str, seed: int = 0, **changes: object) -> Path:
        folder = make_adapter(seed, folder=project / "models" / "adapters" / name)
        manifest = build_manifest(
            verify_folder(folder),
            name=name,
            type=AdapterType.RETAILER,
            base=base_facts,
            now=now,
            simulated=True,
        )
        text = manifest.model_copy(update=changes).model_dump_json()
        (folder / "manifest.json").write_text(text)
        return folder

    return ship


def prepare(database: Database, tenant: Tenant, root: Path, now: datetime) -> WorkspaceContent:
    with database.transaction() as s:
        return prepare_workspace(s, tenant.id, project_root=root, now=now)


def test_what_is_shipped_is_registered_in_place_and_only_once(database, tenant, project, ship, now) -> None:
    folder = ship("alpha")
    for hours in range(3):
        content = prepare(database, tenant, project, now + timedelta(hours=hours))
        assert content == WorkspaceContent(datasets=3, adapters=1, skipped_adapters=())
    with database.transaction() as s:
        names = [(each.name, each.kind) for each in datasets.list_datasets(s, tenant.id)]
        adapters = registry.list_adapters(s, tenant.id)
    assert names == [
        ("brand_x", DatasetKind.SFT),
        ("brand_x_long", DatasetKind.SFT),
        ("brand_x_dpo", DatasetKind.DPO),
    ]
    assert [(each.label, each.source, each.simulated) for each in adapters] == [
        ("alpha v1", AdapterSource.SHIPPED, True)
    ]
    assert PROJECT_ROOT / adapters[0].path == folder
    assert not list(project.rglob("*.part"))


def test_each_tenant_gets_its_own(sqlite_database, sqlite_tenant, project, ship, now) -> None:
    ship("alpha")
    other = Tenant("ten_other", "other", "Other", False, now)
    prepare(sqlite_database, sqlite_tenant, project, now)
    with sqlite_database.transaction() as s:
        assert registry.list_adapters(s, other.id) == []
        assert datasets.list_datasets(s, other.id) == []


def test_an_archived_adapter_stays_archived(sqlite_database, sqlite_tenant, project, ship, now) -> None:
    ship("alpha")
    prepare(sqlite_database, sqlite_tenant, project, now)
    with sqlite_database.transaction() as s:
        registry.archive_adapter(s, sqlite_tenant.id, registry.list_adapters(s, sqlite_tenant.id)[0].id)
    prepare(sqlite_database, sqlite_tenant, project, now)
    with sqlite_database.transaction() as s:
        assert registry.list_adapters(s, sqlite_tenant.id) == []


def test_a_new_release_of_an_adapter_and_a_set_takes_the_place_of_the_old(
    sqlite_database, sqlite_tenant, project, ship, now
) -> None:
    ship("alpha", seed=1)
    prepare(sqlite_database, sqlite_tenant, project, now)
    ship("alpha", seed=2)
    write_set(project, "sft", "brand_x", rows=70)
    prepare(sqlite_database, sqlite_tenant, project, now + timedelta(days=1))
    with sqlite_database.transaction() as s:
        adapters = registry.list_adapters(s, sqlite_tenant.id, include_archived=True)
        found = datasets.find_by_name(s, sqlite_tenant.id, "brand_x")
        assert len(datasets.list_datasets(s, sqlite_tenant.id)) == 3
    assert [(each.version, each.state) for each in adapters] == [
        (2, AdapterState.ACTIVE),
        (1, AdapterState.ARCHIVED),
    ]
    assert found is not None
    assert found.rows == len(datasets.read_examples(found)) == 70


def test_an_adapter_of_a_base_that_is_not_there_is_skipped_by_name(
    sqlite_database, sqlite_tenant, project, ship, now
) -> None:
    ship("alpha", base_digest="0" * 64)
    ship("beta", seed=3)
    content = prepare(sqlite_database, sqlite_tenant, project, now)
    assert (content.adapters, content.skipped_adapters) == (1, ("alpha",))


def cut_data(root: Path) -> None:
    path = root / "datasets" / "sft" / "brand_x.jsonl"
    path.write_bytes(path.read_bytes()[:-3])


def cut_card(root: Path) -> None:
    (root / "datasets" / "dpo" / "brand_x.card.json").write_text('{"name":')


def wrong_card(root: Path) -> None:
    (root / "datasets" / "dpo" / "brand_x.card.json").write_text('{"name": "x", "kind": "zip"}')


def lose_data(root: Path) -> None:
    (root / "datasets" / "sft" / "brand_x_long.jsonl").unlink()


def double_data(root: Path) -> None:
    (root / "datasets" / "sft" / "brand_x_long.csv").write_text("a,b\n")


def cut_weights(root: Path) -> None:
    path = root / "models" / "adapters" / "alpha" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def lose_config(root: Path) -> None:
    (root / "models" / "adapters" / "alpha" / "adapter_config.json").unlink()


def lose_manifest(root: Path) -> None:
    (root / "models" / "adapters" / "alpha" / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "error", "named"),
    [
        (cut_data, IntegrityError, "brand_x.jsonl"),
        (cut_card, InvalidInputError, "brand_x.card.json"),
        (wrong_card, InvalidInputError, "brand_x.card.json"),
        (lose_data, NotFoundError, "brand_x_long.card.json"),
        (double_data, InvalidInputError, "brand_x_long.csv"),
        (cut_weights, RefusedFileError, "adapters/alpha"),
        (lose_config, RefusedFileError, "adapters/alpha"),
        (lose_manifest, RefusedFileError, "manifest.json"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_missing_or_damaged_file_is_named_and_nothing_is_registered(
    sqlite_database, sqlite_tenant, project, ship, now, damage, error, named
) -> None:
    ship("alpha")
    damage(project)
    with pytest.raises(error) as caught:
        prepare(sqlite_database, sqlite_tenant, project, now)
    assert named in str(caught.value)
    assert caught.value.next_step
    with sqlite_database.transaction() as s:
        assert datasets.list_datasets(s, sqlite_tenant.id) == []
        assert registry.list_adapters(s, sqlite_tenant.id) == []


def test_the_shipped_project_is_registered_whole_and_its_sets_can_be_read(
    sqlite_database, sqlite_tenant, now
) -> None:
    prepare(sqlite_database, sqlite_tenant, PROJECT_ROOT, now)
    with sqlite_database.transaction() as s:
        found = datasets.list_datasets(s, sqlite_tenant.id)
        assert datasets.find_by_name(s, sqlite_tenant.id, "retailer_alpha") is not None
    assert len(found) == len(list((PROJECT_ROOT / "datasets").rglob("*.card.json")))
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert each.simulated
        assert not Path(each.path).is_absolute()
        assert datasets.preview_rows(each, 3)
        assert [p for p in datasets.check_dataset(each) if p.severity == "error"] == []
