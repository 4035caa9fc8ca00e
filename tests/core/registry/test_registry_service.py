from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError, RefusedFileError
from core.registry import service
from core.registry.bases import BaseFacts
from core.registry.package import build_manifest
from core.registry.records import Adapter, AdapterSource, AdapterState, AdapterType, Manifest
from core.registry.verify import verify_folder
from core.settings import PROJECT_ROOT
from core.storage.database import Database
from core.tenants.records import Tenant

Make = Callable[..., Path]


def manifest_of(folder: Path, base: BaseFacts, now: datetime, name: str = "alpha", **more: Any) -> Manifest:
    kind = more.pop("type", AdapterType.RETAILER)
    return build_manifest(verify_folder(folder, base=base), name=name, type=kind, base=base, now=now, **more)


def test_a_registered_adapter_reads_back_as_it_was_registered(
    database: Database, tenant: Tenant, register: Callable[..., Adapter], now: datetime
) -> None:
    with database.transaction() as s:
        made = register(
            s, tenant, simulated=True, dataset_name="alpha", dataset_digest="d" * 64, evaluation={"n": 3}
        )
    with database.transaction() as s:
        assert service.get_adapter(s, tenant.id, made.id) == made
    assert (made.version, made.rank, made.type, made.state) == (
        1,
        4,
        AdapterType.RETAILER,
        AdapterState.ACTIVE,
    )
    assert made.parameters == 2 * 4 * sum(
        o + i for o, i in [(32, 32), (16, 32), (16, 32), (32, 32)] + [(48, 32)] * 3
    )
    assert made.created_at == now
    assert made.label == "alpha v1"


def test_the_same_name_gets_the_next_version_and_resolves_to_the_newest_active_one(
    database: Database, tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with database.transaction() as s:
        one, two, three = (register(s, tenant, seed=seed) for seed in (1, 2, 3))
        assert [a.version for a in (one, two, three)] == [1, 2, 3]
        assert service.resolve(s, tenant.id, "alpha") == three
        assert service.resolve(s, tenant.id, "alpha v1") == one
        assert service.resolve(s, tenant.id, "alpha@2") == two
        assert service.resolve(s, tenant.id, one.id) == one
        service.quarantine_adapter(s, tenant.id, three.id)
        assert service.resolve(s, tenant.id, "alpha") == two
        service.archive_adapter(s, tenant.id, two.id)
        service.archive_adapter(s, tenant.id, one.id)
        with pytest.raises(ConflictError, match="active"):
            service.resolve(s, tenant.id, "alpha")
        for missing in (
            "alpha v4",
            "alpha@0",
            "beta",
            "",
            "alpha v",
            "al\0pha",
            "\ud800",
            "älpha",
            "x" * 5000,
        ):
            with pytest.raises(NotFoundError):
                service.resolve(s, tenant.id, missing)


def test_names_that_differ_by_case_are_different_names(
    database: Database, tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with database.transaction() as s:
        upper, lower = register(s, tenant, "Alpha", seed=1), register(s, tenant, "alpha", seed=2)
        assert service.resolve(s, tenant.id, "Alpha") == upper
        assert service.resolve(s, tenant.id, "alpha") == lower


def test_a_job_registers_one_adapter_however_often_it_asks(
    database: Database, tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with database.transaction() as s:
        first = register(s, tenant, seed=1, job_id="job_1")
    with database.transaction() as s:
        assert register(s, tenant, seed=2, job_id="job_1") == first
        assert service.list_adapters(s, tenant.id) == [first]


def test_the_same_import_twice_is_one_adapter(
    database: Database, tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with database.transaction() as s:
        first = register(s, tenant, seed=1, source=AdapterSource.IMPORTED)
        assert register(s, tenant, seed=1, source=AdapterSource.IMPORTED) == first
        assert register(s, tenant, "other", seed=1, source=AdapterSource.IMPORTED).id != first.id


def test_another_tenant_finds_nothing(
    database: Database, tenant: Tenant, other_tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with database.transaction() as s:
        mine = register(s, tenant)
        assert service.list_adapters(s, other_tenant.id) == []
        assert service.find_by_digest(s, other_tenant.id, mine.digest) == []
        for ask in (
            lambda: service.get_adapter(s, other_tenant.id, mine.id),
            lambda: service.resolve(s, other_tenant.id, mine.id),
            lambda: service.resolve(s, other_tenant.id, "alpha"),
            lambda: service.archive_adapter(s, other_tenant.id, mine.id),
            lambda: service.restore_adapter(s, other_tenant.id, mine.id),
            lambda: service.quarantine_adapter(s, other_tenant.id, mine.id),
            lambda: service.lineage(s, other_tenant.id, mine.id),
        ):
            with pytest.raises(NotFoundError):
                ask()
        theirs = register(s, other_tenant)
        assert theirs.version == 1
        assert service.get_adapter(s, tenant.id, mine.id).state is AdapterState.ACTIVE


def test_versions_stay_unique_when_many_register_at_once(
    database: Database, tenant: Tenant, make_adapter: Make, base_facts: BaseFacts, now: datetime
) -> None:
    folders = [make_adapter(seed) for seed in range(6)]
    manifests = [manifest_of(folder, base_facts, now) for folder in folders]

    def register_one(i: int) -> None:
        with database.transaction() as s:
            service.register_adapter(
                s, tenant.id, folder=folders[i], manifest=manifests[i], source=AdapterSource.TRAINED, now=now
            )

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(register_one, range(6)))
    with database.transaction() as s:
        assert sorted(a.version for a in service.list_adapters(s, tenant.id)) == [1, 2, 3, 4, 5, 6]


def test_archived_adapters_are_hidden_until_asked_for_and_come_back(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Callable[..., Adapter], now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        older = register(s, sqlite_tenant, "older", seed=1)
        newer = register(
            s, sqlite_tenant, "newer", seed=2, type=AdapterType.TASK, at=now + timedelta(seconds=1)
        )
        assert service.list_adapters(s, sqlite_tenant.id) == [newer, older]
        assert service.list_adapters(s, sqlite_tenant.id, type=AdapterType.TASK) == [newer]
        archived = service.archive_adapter(s, sqlite_tenant.id, older.id)
        assert service.list_adapters(s, sqlite_tenant.id) == [newer]
        assert service.list_adapters(s, sqlite_tenant.id, include_archived=True) == [newer, archived]
        assert service.restore_adapter(s, sqlite_tenant.id, older.id) == older


def test_flipped_bytes_put_an_adapter_into_quarantine_until_they_are_right_again(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with sqlite_database.transaction() as s:
        adapter = register(s, sqlite_tenant)
        assert service.check_on_disk(s, adapter) == adapter
        file = Path(adapter.path) / "adapter_model.safetensors"
        good = file.read_bytes()
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        assert service.check_on_disk(s, adapter).state is AdapterState.QUARANTINED
        with pytest.raises(IntegrityError, match="changed"):
            service.restore_adapter(s, sqlite_tenant.id, adapter.id)
        file.write_bytes(good)
        assert service.restore_adapter(s, sqlite_tenant.id, adapter.id) == adapter
        file.unlink()
        assert service.check_on_disk(s, adapter).state is AdapterState.QUARANTINED


def test_a_manifest_that_does_not_tell_the_truth_is_refused(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    make_adapter: Make,
    base_facts: BaseFacts,
    now: datetime,
) -> None:
    folder = make_adapter(1)
    honest = manifest_of(folder, base_facts, now)
    with sqlite_database.transaction() as s:
        for lie in ({"digest": "0" * 64}, {"rank": 5}, {"parameters": 1}, {"target_modules": ["q_proj"]}):
            with pytest.raises(RefusedFileError, match="manifest says"):
                service.register_adapter(
                    s,
                    sqlite_tenant.id,
                    folder=folder,
                    manifest=honest.model_copy(update=lie),
                    source=AdapterSource.TRAINED,
                    now=now,
                )
        with pytest.raises(RefusedFileError, match="another base"):
            service.register_adapter(
                s,
                sqlite_tenant.id,
                folder=folder,
                manifest=honest,
                source=AdapterSource.TRAINED,
                base=replace(base_facts, digest="1" * 64),
                now=now,
            )
        assert service.list_adapters(s, sqlite_tenant.id) == []


@pytest.mark.parametrize(
    "name", ["", " alpha", "al/pha", "../x", "a" * 101, "ключ", "a\n", "a:b", "a@2", "<b>"]
)
def test_unfit_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be the name"):
        service.check_name(name)


def test_lineage_names_parents_children_dataset_and_job(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    with sqlite_database.transaction() as s:
        parent = register(s, sqlite_tenant, "parent", seed=1)
        child = register(
            s,
            sqlite_tenant,
            "child",
            seed=2,
            job_id="job_7",
            parents=[parent.digest, "e" * 64],
            dataset_digest="d" * 64,
        )
        of_child = service.lineage(s, sqlite_tenant.id, child.id)
        assert (of_child.parents, of_child.missing_parents, of_child.children) == ((parent,), ("e" * 64,), ())
        assert (of_child.job_id, of_child.dataset_digest, of_child.versions) == ("job_7", "d" * 64, (child,))
        assert service.lineage(s, sqlite_tenant.id, parent.id).children == (child,)


def test_a_path_inside_the_project_is_stored_relative_and_answered_absolute(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Callable[..., Adapter]
) -> None:
    from core.registry.store import _record, _row

    with sqlite_database.transaction() as s:
        outside = register(s, sqlite_tenant)
    inside = replace(outside, path=str(PROJECT_ROOT / "models" / "adapters" / "alpha"))
    assert _row(inside).path == "models/adapters/alpha"
    assert _record(_row(inside)) == inside
    assert _record(_row(outside)) == outside
