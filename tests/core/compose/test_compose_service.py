from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.compose import service
from core.compose.records import CompositionSpec, Federation, Term
from core.engine.records import AdapterRef, WeightedAdapter
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.records import Adapter
from core.storage.database import Database
from core.tenants.records import Tenant

Register = Callable[..., Adapter]


def spec(*terms: tuple[str, float], **more: Any) -> CompositionSpec:
    return CompositionSpec(terms=tuple(Term(adapter=a, weight=w) for a, w in terms), **more)


@pytest.fixture
def save(now: datetime) -> Callable[..., Federation]:
    def save(
        s: Any, tenant: Tenant, name: str = "both", what: CompositionSpec | None = None, **more: Any
    ) -> Federation:
        return service.save_federation(
            s,
            tenant.id,
            name=name,
            spec=what or spec(),
            **({"description": "", "created_by": "a", "now": now} | more),
        )

    return save


def test_names_and_ids_become_adapters_with_their_weights(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
        newer = register(s, sqlite_tenant, "alpha", seed=2)
        task = register(s, sqlite_tenant, "planner", seed=3)
        what = spec(("alpha", 0.5), (task.id, -1.0))
        found = service.resolve(s, sqlite_tenant.id, what, base_digest=base_facts.digest)
    assert found.adapters == ((newer, 0.5), (task, -1.0))
    assert found.composition.base_digest == base_facts.digest
    assert found.composition.terms == (
        WeightedAdapter(AdapterRef(newer.digest, Path(newer.path)), 0.5),
        WeightedAdapter(AdapterRef(task.digest, Path(task.path)), -1.0),
    )


def test_no_terms_and_zero_weights_are_the_base_itself(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha")
        keys = {
            service.resolve(s, sqlite_tenant.id, what, base_digest=base_facts.digest).composition.key
            for what in (
                spec(),
                spec(("alpha", 0.0)),
                spec(("alpha", -0.0)),
                spec(("alpha", 0.7), ("alpha", -0.7)),
            )
        }
    assert len(keys) == 1


def test_doubled_terms_add_up_in_any_order_to_one_key(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        one = register(s, sqlite_tenant, "alpha", seed=1)
        twin = register(s, sqlite_tenant, "twin", seed=1)
        parts = [("alpha", 0.1), (one.id, 0.2), ("twin", 0.3)]
        found = [
            service.resolve(s, sqlite_tenant.id, spec(*order), base_digest=base_facts.digest)
            for order in (parts, parts[::-1], [parts[1], parts[0], parts[2]])
        ]
    assert twin.digest == one.digest
    assert {f.composition.key for f in found} == {found[0].composition.key}
    assert [weight for _, weight in found[0].adapters] == [pytest.approx(0.6)]


def test_weights_are_used_as_given_and_normalized_only_if_asked(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        for seed, name in enumerate(("a", "b")):
            register(s, sqlite_tenant, name, seed=seed)
        terms = (("a", 3.0), ("b", 1.0))

        def weights(what: CompositionSpec) -> list[float]:
            resolved = service.resolve(s, sqlite_tenant.id, what, base_digest=base_facts.digest)
            return [weight for _, weight in resolved.adapters]

        assert weights(spec(*terms)) == [3.0, 1.0]
        assert weights(spec(*terms, normalize=True)) == [0.75, 0.25]
        for unbounded in (spec(("a", 1.0), ("b", -0.99), normalize=True), spec(("a", 8.0), ("a", 1.0))):
            with pytest.raises(InvalidInputError, match="weight"):
                weights(unbounded)
    with pytest.raises(ValidationError, match="sum to zero"):
        spec(("a", 1.0), ("b", -1.0), normalize=True)


def test_adapters_that_are_not_active_or_of_another_base_are_refused_with_the_reason(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        adapter = register(s, sqlite_tenant)
        what, tenant_id = spec((adapter.id, 1.0)), sqlite_tenant.id
        with pytest.raises(ConflictError, match="another base"):
            service.resolve(s, tenant_id, what, base_digest="0" * 64)
        registry.quarantine_adapter(s, tenant_id, adapter.id)
        with pytest.raises(ConflictError, match=r"quarantined.*changed"):
            service.resolve(s, tenant_id, what, base_digest=base_facts.digest)
        registry.archive_adapter(s, tenant_id, adapter.id)
        with pytest.raises(ConflictError, match="archived"):
            service.resolve(s, tenant_id, what, base_digest=base_facts.digest)
        with pytest.raises(NotFoundError, match="no adapter"):
            service.resolve(s, tenant_id, spec(("missing", 1.0)), base_digest=base_facts.digest)


def test_an_adapter_trained_on_top_of_another_needs_its_parent(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts
) -> None:
    with sqlite_database.transaction() as s:
        parent = register(s, sqlite_tenant, "parent", seed=1)
        register(s, sqlite_tenant, "child", seed=2, parents=[parent.digest])

        def resolve(*terms: tuple[str, float]) -> int:
            found = service.resolve(s, sqlite_tenant.id, spec(*terms), base_digest=base_facts.digest)
            return len(found.adapters)

        assert resolve(("child", 1.0), ("parent", 1.0)) == 2
        assert resolve(("parent", 1.0)) == 1
        assert resolve(("child", 0.0)) == 0
        for orphan in ([("child", 1.0)], [("child", 1.0), ("parent", 0.0)]):
            with pytest.raises(ConflictError, match="needs another one"):
                resolve(*orphan)


def test_another_tenants_adapters_and_federations_are_not_found(
    database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    register: Register,
    base_facts: BaseFacts,
    save: Callable[..., Federation],
) -> None:
    with database.transaction() as s:
        mine = register(s, tenant)
        federation = save(s, tenant, "both", spec((mine.id, 1.0)))
        for name in (mine.id, "alpha"):
            with pytest.raises(NotFoundError):
                service.resolve(s, other_tenant.id, spec((name, 1.0)), base_digest=base_facts.digest)
            with pytest.raises(NotFoundError):
                save(s, other_tenant, "both", spec((name, 1.0)))
        with pytest.raises(NotFoundError):
            service.get_federation(s, other_tenant.id, federation.id)
        assert service.find_federation(s, other_tenant.id, "both") is None
        assert service.find_federation(s, other_tenant.id, federation.id) is None
        assert service.list_federations(s, other_tenant.id) == []


def test_saving_again_makes_the_next_version_and_keeps_the_old_one(
    database: Database, tenant: Tenant, register: Register, save: Callable[..., Federation]
) -> None:
    with database.transaction() as s:
        register(s, tenant, "alpha", seed=1)
        register(s, tenant, "planner", seed=2)
        first = save(s, tenant, "both", spec(("alpha", 1.0)), description="one")
        other = save(s, tenant, "other")
        second = save(s, tenant, "both", spec(("alpha", 0.5), ("planner", 1.0), normalize=True))
    with database.transaction() as s:
        assert (first.version, second.version, other.version) == (1, 2, 1)
        assert service.get_federation(s, tenant.id, first.id) == first
        assert service.find_federation(s, tenant.id, "both") == second
        assert service.find_federation(s, tenant.id, "both v1") == first
        assert service.find_federation(s, tenant.id, "both@2") == second
        assert service.find_federation(s, tenant.id, "both v3") is None
        assert service.find_federation(s, tenant.id, "Both") is None
        assert {f.id for f in service.list_federations(s, tenant.id)} == {second.id, other.id}
        assert service.list_federations(s, tenant.id, name="both") == [second, first]


def test_versions_stay_unique_when_many_save_at_once(
    database: Database, tenant: Tenant, save: Callable[..., Federation]
) -> None:
    def save_one(_: int) -> int:
        with database.transaction() as s:
            return save(s, tenant).version

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(save_one, range(6))) == [1, 2, 3, 4, 5, 6]


def test_the_difference_of_two_versions_is_said(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, save: Callable[..., Federation]
) -> None:
    with sqlite_database.transaction() as s:
        for seed, name in enumerate(("a", "b", "c")):
            register(s, sqlite_tenant, name, seed=seed)
        old = save(s, sqlite_tenant, "f", spec(("a", 1.0), ("b", 0.5), ("b", 0.25)))
        new = save(s, sqlite_tenant, "f", spec(("c", 2.0), ("b", 0.5), normalize=True), description="new")
    diff = service.diff_federations(old, new)
    assert (diff.added, diff.removed, diff.changed) == ({"c": 2.0}, {"a": 1.0}, {"b": (0.75, 0.5)})
    assert (diff.normalize_changed, diff.description_changed, diff.same) == (True, True, False)
    assert service.diff_federations(old, old).same


def test_bad_names_and_descriptions_are_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, save: Callable[..., Federation]
) -> None:
    with sqlite_database.transaction() as s:
        for name in ("", "a:b", "a/b", "x" * 101, "a@1"):
            with pytest.raises(InvalidInputError, match="name of a federation"):
                save(s, sqlite_tenant, name)
        with pytest.raises(InvalidInputError, match="too long"):
            save(s, sqlite_tenant, "a", description="x" * 2001)
        with pytest.raises(NotFoundError):
            save(s, sqlite_tenant, "a", spec(("missing", 1.0)))
