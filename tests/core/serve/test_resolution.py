"""What a name means is kept, and forgotten the moment that it means something else."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event

from core.compose import service as compose
from core.compose.records import CompositionSpec, Term
from core.compose.stamps import names_of
from core.engine.records import EnginePort
from core.errors import ConflictError
from core.registry import service as registry
from core.registry.records import Adapter
from core.serve.records import InferenceRequest
from core.serve.resolution import Resolutions
from core.storage.database import Database
from core.storage.tables import ServedVersionRow
from core.tenants.records import Tenant

Register = Callable[..., Adapter]


class Engine:
    """As much of an engine as resolving asks for."""

    def __init__(self, base_digest: str) -> None:
        self.base_digest = base_digest

    def module_names(self) -> tuple[str, ...]:
        return ()


@pytest.fixture
def engine(base_facts: Any) -> Any:
    return Engine(base_facts.digest)


def asked(model: str) -> InferenceRequest:
    return InferenceRequest.model_validate({"messages": [{"role": "user", "content": "x"}], "model": model})


def digests(meaning: Any) -> list[str]:
    return [adapter.digest for adapter, _ in meaning.resolved.adapters]


def test_every_change_of_what_a_name_means_is_seen_by_the_next_request(
    database: Database, tenant: Tenant, register: Register, engine: EnginePort, now: datetime
) -> None:
    known = Resolutions(database)

    def find(model: str) -> Any:
        return known.find(tenant.id, asked(model), engine, "tiny")

    with database.transaction() as s:
        first = register(s, tenant, "alpha", seed=1)
    assert digests(find("alpha")) == [first.digest]
    with database.transaction() as s:
        second = register(s, tenant, "alpha", seed=2)
    assert digests(find("alpha")) == digests(find("adapter:alpha")) == [second.digest]
    assert digests(find("alpha@1")) == [first.digest]
    with database.transaction() as s:
        spec = CompositionSpec(terms=(Term(adapter="alpha"),))
        save = {"name": "both", "description": "", "spec": spec, "created_by": "a", "now": now}
        compose.save_federation(s, tenant.id, **save)  # type: ignore[arg-type]
    assert digests(find("both")) == [second.digest]
    with database.transaction() as s:
        s.add(
            ServedVersionRow(
                tenant_id=tenant.id, kind="adapter", name="alpha", version=1, swap_id="", updated_at=now
            )
        )
    assert digests(find("both")) == digests(find("alpha")) == [first.digest]
    with database.transaction() as s:
        registry.quarantine_adapter(s, tenant.id, first.id)
    assert digests(find("both")) == digests(find("alpha")) == [second.digest]
    with pytest.raises(ConflictError, match="quarantined"):
        find("alpha@1")
    with database.transaction() as s:
        more = spec.model_copy(update={"terms": (Term(adapter="alpha", weight=0.5),)})
        compose.save_federation(s, tenant.id, **(save | {"spec": more}))  # type: ignore[arg-type]
    assert find("both").label == "both v2"


def test_what_is_known_takes_one_statement(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, engine: EnginePort
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
    known, statements = Resolutions(sqlite_database), []
    first = known.find(sqlite_tenant.id, asked("alpha"), engine, "tiny")

    @event.listens_for(sqlite_database.engine, "before_cursor_execute")
    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    again = known.find(sqlite_tenant.id, asked("alpha"), engine, "tiny")
    assert again is first
    assert len([each for each in statements if not each.startswith("BEGIN")]) == 1


def test_a_kept_meaning_is_never_given_to_another_tenant_or_base(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, engine: EnginePort
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
    known = Resolutions(sqlite_database)
    known.find(sqlite_tenant.id, asked("alpha"), engine, "tiny")
    with pytest.raises(Exception, match="no model"):
        known.find("ten_other", asked("alpha"), engine, "tiny")
    with pytest.raises(ConflictError, match="another base"):
        known.find(sqlite_tenant.id, asked("alpha"), Engine("0" * 64), "tiny")  # type: ignore[arg-type]


def test_only_so_many_meanings_are_kept(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, engine: EnginePort
) -> None:
    known = Resolutions(sqlite_database, most=2)
    with sqlite_database.transaction() as s:
        for seed, name in enumerate("abc"):
            register(s, sqlite_tenant, name, seed=seed)
    for name in "abc":
        known.find(sqlite_tenant.id, asked(name), engine, "tiny")
    assert len(known._kept) == 2


def test_all_names_of_a_composition_are_watched() -> None:
    spec = CompositionSpec.model_validate(
        {
            "method": "sequential",
            "stages": [
                {"name": "a", "composition": {"terms": [{"adapter": "x@2"}]}},
                {
                    "name": "b",
                    "composition": {
                        "method": "gated",
                        "terms": [{"adapter": "y"}],
                        "gate": {"kind": "router", "gate": "desk v3"},
                    },
                },
            ],
        }
    )
    assert names_of(spec) == {"x", "x@2", "y", "desk", "desk v3"}
