from collections.abc import Callable
from datetime import datetime

import pytest

from core.compose import service as compose
from core.compose.records import CompositionSpec, Term
from core.compose.store.swaps import serve
from core.compose.swap_records import Served, ServedKind
from core.errors import ConflictError, NotFoundError
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.records import Adapter
from core.serve.models import find_model, list_models
from core.storage.database import Database
from core.tenants.records import Tenant

Register = Callable[..., Adapter]


def test_a_name_means_an_adapter_a_federation_or_the_base(
    database: Database, tenant: Tenant, other_tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        old, new = register(s, tenant, "alpha", seed=1), register(s, tenant, "alpha", seed=2)
        what = CompositionSpec(terms=(Term(adapter="alpha", weight=0.5),))
        saved = compose.save_federation(
            s, tenant.id, name="both", description="", spec=what, created_by="a", now=now
        )

        def label(name: str) -> str:
            return find_model(s, tenant.id, name, "tiny").label

        assert [label(name) for name in ("alpha", "alpha@1", "alpha v1", old.id, "adapter:alpha")] == [
            "alpha v2", "alpha v1", "alpha v1", "alpha v1", "alpha v2",
        ]  # fmt: skip
        assert [label(n) for n in ("both", "both@1", saved.id, "federation:both")] == ["both v1"] * 4
        assert [label(name) for name in ("tiny", "base")] == ["tiny", "tiny"]
        assert find_model(s, tenant.id, "both", "tiny").spec == what
        assert find_model(s, tenant.id, "base", "tiny").spec == CompositionSpec()
        assert find_model(s, tenant.id, "alpha", "tiny").spec.terms == (Term(adapter=new.id),)
        for missing in (
            "nothing",
            "",
            "adapter:both",
            "federation:alpha",
            "federation:",
            "a\0b",
            "alpha@9",
            "x:alpha",
        ):
            with pytest.raises(NotFoundError):
                label(missing)
        for theirs in ("alpha", "both", old.id, saved.id, "adapter:alpha", "federation:both"):
            with pytest.raises(NotFoundError):
                find_model(s, other_tenant.id, theirs, "tiny")


def test_a_name_of_two_things_must_say_which(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha")
        compose.save_federation(
            s, sqlite_tenant.id, name="alpha", description="", spec=CompositionSpec(), created_by="a", now=now
        )
        with pytest.raises(ConflictError, match="adapter:alpha or federation:alpha"):
            find_model(s, sqlite_tenant.id, "alpha", "tiny")
        listed = list_models(s, sqlite_tenant.id, base_name="tiny", base_digest=base_facts.digest)
        assert [m.model for m in listed] == ["tiny", "adapter:alpha", "federation:alpha"]
        for model in listed:
            find_model(s, sqlite_tenant.id, model.model, "tiny")


def test_the_list_holds_what_can_answer_here_once_each(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        for seed, name in enumerate(("alpha", "alpha", "beta", "gone")):
            adapter = register(s, sqlite_tenant, name, seed=seed)
        registry.archive_adapter(s, sqlite_tenant.id, adapter.id)
        registry.quarantine_adapter(s, sqlite_tenant.id, registry.resolve(s, sqlite_tenant.id, "beta").id)
        for description in ("", "second"):
            compose.save_federation(
                s,
                sqlite_tenant.id,
                name="both",
                description=description,
                spec=CompositionSpec(terms=(Term(adapter="alpha"),)),
                created_by="a",
                now=now,
            )
        listed = list_models(s, sqlite_tenant.id, base_name="tiny", base_digest=base_facts.digest)
        assert [(m.model, m.kind, m.version) for m in listed] == [
            ("tiny", "base", None), ("alpha", "adapter", 2), ("both", "federation", 2),
        ]  # fmt: skip
        assert listed[2].description == "second"
        elsewhere = list_models(s, sqlite_tenant.id, base_name="other", base_digest="0" * 64)
        assert [m.model for m in elsewhere] == ["other", "both"]


def test_the_list_shows_the_version_that_a_name_serves(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, base_facts: BaseFacts, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
        register(s, sqlite_tenant, "alpha", seed=2)
        for weight in (0.5, 1.0):
            compose.save_federation(
                s,
                sqlite_tenant.id,
                name="both",
                description="",
                spec=CompositionSpec(terms=(Term(adapter="alpha", weight=weight),)),
                created_by="a",
                now=now,
            )

        def versions() -> dict[str, int | None]:
            found = list_models(s, sqlite_tenant.id, base_name="tiny", base_digest=base_facts.digest)
            return {model.model: model.version for model in found}

        assert versions() == {"tiny": None, "alpha": 2, "both": 2}
        for kind, name in ((ServedKind.ADAPTER, "alpha"), (ServedKind.FEDERATION, "both")):
            assert serve(s, sqlite_tenant.id, kind, name, Served(1, "swp_1"), before=None, now=now)
        assert versions() == {"tiny": None, "alpha": 1, "both": 1}
