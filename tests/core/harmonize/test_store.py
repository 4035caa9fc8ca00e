"""Saved mappings and harmonized runs on the three real databases."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.datasets.registration import register_stored
from core.datasets.uploads import StoredFile
from core.errors import InvalidInputError, NotFoundError
from core.harmonize import service
from core.harmonize.records import Mapping, MappingState
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.storage.database import Database
from core.tenants.records import Tenant


def mapping(divisor: int = 1_000_000, **more: Any) -> Mapping:
    """Three columns of an invented network; `divisor` makes one mapping differ from another."""
    rules = [
        {"source_field": "Datum", "target": "ts", "transform": {"op": "to_utc", "format": "%d.%m.%Y"}},
        {"source_field": "Kosten", "target": "cost", "transform": {"op": "divide", "by": divisor}},
        {
            "source_field": "Umsatz 14 T.",
            "target": "attributed_sales",
            "qualifiers": {"window_click_days": 14, "touch": "click", "new_to_brand": False},
        },
    ]
    return Mapping.model_validate({"network": "North Ads", "currency": "EUR", "rules": rules, **more})


def save(
    s: Session, tenant: Tenant, now: datetime, given: Mapping | None = None, name: str = "north", **more: Any
) -> MappingVersion:
    return service.save_version(
        s, tenant.id, name=name, mapping=given or mapping(), author="ann", now=now, **more
    )


Record = Callable[..., HarmonizedRun]


@pytest.fixture
def record(tmp_path: Any) -> Record:
    """Function: session, version, moment, coverage → a recorded run of a new dataset."""
    made = 0

    def record(s: Session, version: MappingVersion, now: datetime, coverage: float) -> HarmonizedRun:
        nonlocal made
        made += 1
        name, digest = f"raw{made}", f"{made:064x}"
        card = {"name": name, "title": name, "kind": "events", "simulated": True, "rows": 1, "digest": digest}
        stored = StoredFile(tmp_path / f"{name}.csv", digest, 10)
        dataset = register_stored(s, version.tenant_id, name, stored, entries=card, now=now)
        return service.record_run(
            s,
            version,
            run_id=f"run_{made}_{version.tenant_id[-8:]}",
            dataset_id=dataset.id,
            dataset_digest=dataset.digest,
            job_id=None,
            path=f"run_{made}/rows.parquet",
            digest="d" * 64,
            size_bytes=12,
            report={
                "rows_in": 10,
                "rows_out": 9,
                "coverage": coverage,
                "conservation": ({"difference": "0"},),
            },
            created_by="ann",
            now=now,
        )

    return record


def test_a_saved_mapping_comes_back_as_it_was(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        made = save(s, tenant, now, note="first")
    with database.reading() as s:
        found = service.get_version(s, tenant.id, made.mapping_id, 1)
        (listed,) = service.list_mappings(s, tenant.id)
    assert found == made
    assert found.mapping == mapping()
    assert found.mapping.rules[2].qualifiers == {
        "window_click_days": 14,
        "touch": "click",
        "new_to_brand": False,
    }
    assert (found.label, found.state, found.note) == ("north@1", MappingState.DRAFT, "first")
    assert (listed.latest_version, listed.active_version, listed.coverage) == (1, None, None)
    assert (listed.network, listed.retailer, listed.created_at) == ("North Ads", "", now)


def test_saving_the_same_rules_again_makes_no_version(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        first = save(s, tenant, now)
        second = save(s, tenant, now, mapping(100))
        again = save(s, tenant, now + timedelta(hours=1), mapping(version=7), note="other words")
        assert again == first
        assert [each.version for each in service.list_versions(s, tenant.id, first.mapping_id)] == [2, 1]
    assert second.version == 2
    assert second.mapping.version == 2
    assert second.digest != first.digest


def test_what_a_mapping_says_of_itself_is_that_of_its_newest_version(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        save(s, tenant, now, mapping(retailer="North", report="daily"))
        made = save(s, tenant, now, mapping(retailer="North Stores", report="hourly"))
        found = service.get(s, tenant.id, made.mapping_id)
    assert (found.retailer, found.report, found.latest_version) == ("North Stores", "hourly", 2)


def test_one_version_of_a_mapping_is_in_use(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        first = save(s, tenant, now, activate_it=True)
        save(s, tenant, now, mapping(100))
        newest = service.activate(s, tenant.id, first.mapping_id)
        assert (newest.version, newest.state) == (2, MappingState.ACTIVE)
        states = {v.version: v.state for v in service.list_versions(s, tenant.id, first.mapping_id)}
        assert states == {1: MappingState.RETIRED, 2: MappingState.ACTIVE}
        assert service.get(s, tenant.id, first.mapping_id).active_version == 2
        assert service.activate(s, tenant.id, first.mapping_id, 1).state is MappingState.ACTIVE
        back = save(s, tenant, now, mapping(100), activate_it=True)
        assert (back.version, back.state) == (2, MappingState.ACTIVE)
        states = {v.version: v.state for v in service.list_versions(s, tenant.id, first.mapping_id)}
    assert states == {1: MappingState.RETIRED, 2: MappingState.ACTIVE}


def test_a_mapping_is_found_by_name_by_version_and_by_id(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        first, second = save(s, tenant, now), save(s, tenant, now, mapping(100))
        assert service.resolve(s, tenant.id, "north") == second
        service.activate(s, tenant.id, first.mapping_id, 1)
        for given in ("north", "north@1", first.mapping_id, f"{first.mapping_id}@1", first.id):
            assert service.resolve(s, tenant.id, given).id == first.id
        assert service.resolve(s, tenant.id, "north@2").id == second.id
        for given in ("North", "north@3", "north@0", "north@", "", "nobody", "north\0", "no\ud800rth"):
            with pytest.raises(NotFoundError):
                service.resolve(s, tenant.id, given)


def test_another_tenant_finds_nothing(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, record: Record
) -> None:
    with database.transaction() as s:
        made = save(s, tenant, now, activate_it=True)
        run = record(s, made, now, 1.0)
        theirs = save(s, other_tenant, now)
        assert theirs.mapping_id != made.mapping_id
        assert [each.id for each in service.list_mappings(s, other_tenant.id)] == [theirs.mapping_id]
        assert service.memory_of(s, other_tenant.id).entries == ()
        assert service.list_runs(s, other_tenant.id) == []
        for ask in (
            lambda: service.get(s, other_tenant.id, made.mapping_id),
            lambda: service.list_versions(s, other_tenant.id, made.mapping_id),
            lambda: service.get_version(s, other_tenant.id, made.mapping_id, 1),
            lambda: service.get_version_by_id(s, other_tenant.id, made.id),
            lambda: service.activate(s, other_tenant.id, made.mapping_id, 1),
            lambda: service.resolve(s, other_tenant.id, made.id),
            lambda: service.diff(s, other_tenant.id, made.mapping_id, 1, 1),
            lambda: service.get_run(s, other_tenant.id, run.id),
        ):
            with pytest.raises(NotFoundError):
                ask()
        assert service.get_version(s, tenant.id, made.mapping_id, 1).state is MappingState.ACTIVE


def test_two_versions_differ_in_the_columns_that_changed(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        made = save(s, sqlite_tenant, now)
        save(s, sqlite_tenant, now, mapping(100))
        (change,) = service.diff(s, sqlite_tenant.id, made.mapping_id, 1, 2)
        assert service.diff(s, sqlite_tenant.id, made.mapping_id, 2, 2) == []
        with pytest.raises(NotFoundError, match="no version 3"):
            service.diff(s, sqlite_tenant.id, made.mapping_id, 1, 3)
    assert change.source_field == "Kosten"
    assert change.before is not None
    assert change.after is not None
    assert (change.before.transform.by, change.after.transform.by) == (1_000_000, 100)


def test_only_the_rules_in_use_are_remembered_and_counted_over_mappings(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        save(s, tenant, now, activate_it=True)
        save(s, tenant, now, mapping(100), name="north hourly", activate_it=True)
        save(s, tenant, now, mapping(1000), name="a draft")
        memory = service.memory_of(s, tenant.id)
    kept = {(e.source_field, e.rule.transform.by, e.times) for e in memory.entries}
    assert kept == {
        ("Datum", None, 2),
        ("Kosten", 1_000_000, 1),
        ("Kosten", 100, 1),
        ("Umsatz 14 T.", None, 2),
    }
    assert {entry.network for entry in memory.entries} == {"North Ads"}


def test_runs_are_listed_newest_first_and_give_the_mapping_its_coverage(
    database: Database, tenant: Tenant, now: datetime, record: Record
) -> None:
    with database.transaction() as s:
        first = save(s, tenant, now)
        second = save(s, tenant, now, mapping(100))
        other = save(s, tenant, now, name="south")
        runs = [
            record(s, second, now + timedelta(hours=1), 0.5),
            record(s, first, now + timedelta(hours=2), 0.75),
            record(s, other, now, 1.0),
        ]
        assert [each.id for each in service.list_runs(s, tenant.id)] == [runs[n].id for n in (1, 0, 2)]
        assert service.list_runs(s, tenant.id, limit=1) == [runs[1]]
        assert service.list_runs(s, tenant.id, dataset_id=runs[2].dataset_id) == [runs[2]]
        of_mapping = service.list_runs(s, tenant.id, mapping_id=first.mapping_id)
        assert [each.mapping_label for each in of_mapping] == ["north@1", "north@2"]
        found = service.get_run(s, tenant.id, runs[1].id)
        coverage = {each.name: each.coverage for each in service.list_mappings(s, tenant.id)}
    assert found == runs[1]
    assert found.report["conservation"] == [{"difference": "0"}]
    assert coverage == {"north": 0.75, "south": 1.0}


def test_two_that_save_the_same_at_once_get_one_version_and_others_their_own(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    start = threading.Barrier(6)

    def work(number: int) -> int:
        start.wait()
        with database.transaction() as s:
            return save(s, tenant, now, mapping(10 ** (number % 3 + 1)), activate_it=True).version

    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(work, range(6)))
    assert sorted(given) == [1, 1, 2, 2, 3, 3]
    with database.reading() as s:
        (found,) = service.list_mappings(s, tenant.id)
        states = [each.state for each in service.list_versions(s, tenant.id, found.id)]
    assert states.count(MappingState.ACTIVE) == 1
    assert states.count(MappingState.RETIRED) == 2


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a\\b", "north@2", "a\nb", "x" * 201, "a\x00b", "\ud800"])
def test_a_name_that_cannot_be_typed_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, name: str
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(InvalidInputError, match="usable name"):
        save(s, sqlite_tenant, now, name=name)


def test_a_note_that_is_too_long_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(InvalidInputError, match="too long"):
        save(s, sqlite_tenant, now, note="x" * 2001)


def test_columns_with_signs_that_no_database_holds_are_kept_readable(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    odd = Mapping.model_validate(
        {"rules": [{"source_field": "a\x00b «ü»", "target": "clicks"}], "report": "r\x00"}
    )
    with database.transaction() as s:
        made = save(s, tenant, now, odd)
        again = save(s, tenant, now, odd)
    assert again == made
    assert made.mapping.rules[0].source_field == "a\ufffdb «ü»"


def test_a_mapping_without_versions_is_not_there(sqlite_database: Database, sqlite_tenant: Tenant) -> None:
    with sqlite_database.reading() as s:
        assert service.list_mappings(s, sqlite_tenant.id) == []
        with pytest.raises(NotFoundError):
            service.activate(s, sqlite_tenant.id, "map_none")
