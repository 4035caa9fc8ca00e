"""What names, segments, gates and stages of a spec become, and what is refused with which reason."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.compose import gates, service
from core.compose.gate_files import GateFile, write_gate_file
from core.compose.gate_records import Gate, GateAdapter
from core.compose.records import (
    CompositionSpec,
    Federation,
    GateKind,
    GateSpec,
    Method,
    Stage,
    StageContract,
    Term,
)
from core.compose.resolved import ResolvedComposition, ResolvedPipeline
from core.compose.router import router_tensors
from core.engine.records import TokenGate
from core.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.bases import BaseFacts
from core.registry.records import Adapter
from core.storage.database import Database
from core.storage.tables import ServedVersionRow
from core.tenants.records import Tenant
from core.training.gate_router import LabelledFeatures, train_router

Register = Callable[..., Adapter]
Resolve = Callable[..., ResolvedComposition]
MakeGate = Callable[..., Gate]


def spec(*terms: Term | str, **more: Any) -> CompositionSpec:
    return CompositionSpec(terms=tuple(t if isinstance(t, Term) else Term(adapter=t) for t in terms), **more)


def gated(*terms: Term | str, **gate: Any) -> CompositionSpec:
    return spec(*terms, method=Method.GATED, gate=GateSpec(**gate))


@pytest.fixture
def resolve(sqlite_tenant: Tenant, base_facts: BaseFacts) -> Resolve:
    def resolve(s: Session, what: CompositionSpec, **more: Any) -> Any:
        given = {"base_digest": base_facts.digest, "modules": tuple(base_facts.linears)} | more
        return service.resolve(s, sqlite_tenant.id, what, **given)

    return resolve


@pytest.fixture
def make_gate(tmp_path: Path, base_facts: BaseFacts, sqlite_tenant: Tenant, now: datetime) -> MakeGate:
    def make(
        s: Session,
        name: str,
        kind: GateKind,
        adapters: list[Adapter],
        tensors: dict[str, Any],
        modules: tuple[str, ...] = (),
    ) -> Gate:
        digests = tuple(adapter.digest for adapter in adapters)
        path, digest = write_gate_file(tmp_path, GateFile(kind, base_facts.digest, digests, modules, tensors))
        return gates.record(
            s,
            sqlite_tenant.id,
            name=name,
            kind=kind,
            base_digest=base_facts.digest,
            digest=digest,
            path=path,
            adapters=[GateAdapter(a.digest, a.name, a.version) for a in adapters],
            report={},
            job_id=None,
            created_by="a",
            now=now,
        )

    return make


@pytest.fixture
def router_tensors_of_two() -> dict[str, Any]:
    """Four features: the first adapter where the first is large, the second where the last is."""
    random = np.random.default_rng(5)
    labels = np.arange(80) % 2
    features = random.normal(0, 0.1, (80, 4)) + np.where(labels[:, None] == 0, [1, 0, 0, 0], [0, 0, 0, 1])
    known = LabelledFeatures(features[:60], labels[:60]), LabelledFeatures(features[60:], labels[60:])
    return dict(router_tensors(train_router(*known, classes=2, labels=["alpha", "beta"])))


def serve(s: Session, tenant: Tenant, kind: str, name: str, version: int, now: datetime) -> None:
    s.merge(
        ServedVersionRow(
            tenant_id=tenant.id, kind=kind, name=name, version=version, swap_id="", updated_at=now
        )
    )
    s.flush()


def test_segments_of_one_adapter_stay_apart_and_all_blocks_are_no_segment(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, resolve: Resolve
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
        register(s, sqlite_tenant, "beta", seed=2)
        low, high = (
            Term(adapter="alpha", layers=(0, 0)),
            Term(adapter="alpha", layers=(1, 1), weight=0.5),
        )
        found = resolve(s, spec(low, high, Term(adapter="beta", layers=(0, 1)), low))
        assert [(t.layers, t.weight) for t in found.composition.terms] == [
            ((0, 0), 2.0),
            ((1, 1), 0.5),
            (None, 1.0),
        ]
        assert [a.name for a, _ in found.adapters] == ["alpha", "alpha", "beta"]
        assert resolve(s, spec(Term(adapter="beta", layers=(0, 1)))).composition.key == (
            resolve(s, spec("beta")).composition.key
        )
        assert resolve(s, spec(low)).composition.key != resolve(s, spec("alpha")).composition.key


def test_a_segment_beyond_the_last_block_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, resolve: Resolve
) -> None:
    with sqlite_database.transaction() as s:
        register(s, sqlite_tenant, "alpha", seed=1)
        with pytest.raises(InvalidInputError, match="2 blocks, 0 to 1"):
            resolve(s, spec(Term(adapter="alpha", layers=(1, 2))))
        heavy = [Term(adapter="alpha", layers=(0, 0), weight=7.0), Term(adapter="alpha", weight=7.0)]
        with pytest.raises(InvalidInputError, match="weight 14"):
            resolve(s, spec(*heavy))


def test_a_child_acts_only_where_its_parent_does(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, resolve: Resolve
) -> None:
    with sqlite_database.transaction() as s:
        parent = register(s, sqlite_tenant, "parent", seed=1)
        register(s, sqlite_tenant, "child", seed=2, parents=[parent.digest])
        low = Term(adapter="parent", layers=(0, 0))
        assert len(resolve(s, spec(Term(adapter="child", layers=(0, 0)), low)).adapters) == 2
        assert len(resolve(s, spec("child", low, Term(adapter="parent", layers=(1, 1)))).adapters) == 3
        with pytest.raises(ConflictError, match="blocks where its parent does not"):
            resolve(s, spec("child", low))
        with pytest.raises(ConflictError, match="cannot be chosen by a gate"):
            resolve(s, gated("child", "parent", kind=GateKind.TOKEN))
        apart = tuple(Stage(name=name, composition=spec(name)) for name in ("parent", "child"))
        with pytest.raises(ConflictError, match="needs another one"):
            resolve(s, CompositionSpec(method=Method.SEQUENTIAL, stages=apart))


def test_a_token_gate_is_part_of_the_composition_and_never_wider_than_it(
    sqlite_database: Database, sqlite_tenant: Tenant, register: Register, resolve: Resolve
) -> None:
    with sqlite_database.transaction() as s:
        for seed, name in enumerate(("alpha", "beta")):
            register(s, sqlite_tenant, name, seed=seed)
        narrow = resolve(s, gated("alpha", "beta", kind=GateKind.TOKEN, top_k=1, temperature=0.5))
        wide = [resolve(s, gated("alpha", "beta", kind=GateKind.TOKEN, top_k=k)) for k in (2, 9)]
        plain = resolve(s, spec("alpha", "beta"))
        nothing = resolve(s, gated(Term(adapter="alpha", weight=0.0), kind=GateKind.TOKEN))
    assert narrow.composition.gate == TokenGate(1, 0.5)
    assert narrow.composition.method == "gated"
    assert wide[0].composition.key == wide[1].composition.key
    assert len({narrow.composition.key, wide[0].composition.key, plain.composition.key}) == 3
    assert (nothing.composition.method, nothing.composition.terms) == ("additive", ())


def test_a_static_gate_gives_each_adapter_its_gains(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    resolve: Resolve,
    make_gate: MakeGate,
    base_facts: BaseFacts,
) -> None:
    modules = tuple(base_facts.linears)[:2]
    with sqlite_database.transaction() as s:
        both = [register(s, sqlite_tenant, name, seed=i) for i, name in enumerate(("alpha", "beta"))]
        gains = np.array([[0.5, 1.0], [0.0, 2.0]], np.float32)
        gate = make_gate(s, "mix", GateKind.STATIC, both, {"gains": gains}, modules)
        found = resolve(s, gated("alpha", "beta", kind=GateKind.STATIC, gate=gate.id))
        assert [dict(term.gains) for term in found.composition.terms] == [
            {modules[0]: 0.5, modules[1]: 1.0},
            {modules[0]: 0.0, modules[1]: 2.0},
        ]
        assert found.gate == gate
        assert found.composition.key != resolve(s, spec("alpha", "beta")).composition.key
        with pytest.raises(ConflictError, match="other adapters"):
            resolve(s, gated("alpha", kind=GateKind.STATIC, gate=gate.id))
        with pytest.raises(ConflictError, match="another kind"):
            resolve(s, gated("alpha", "beta", kind=GateKind.ROUTER, gate=gate.id))
        with pytest.raises(ConflictError, match="promoted"):
            resolve(s, gated("alpha", "beta", kind=GateKind.STATIC, gate="mix"))
        with pytest.raises(NotFoundError):
            resolve(s, gated("alpha", "beta", kind=GateKind.STATIC, gate="nothing"))
        Path(gate.path).write_bytes(b"changed")
        with pytest.raises(IntegrityError, match="gate"):
            resolve(s, gated("alpha", "beta", kind=GateKind.STATIC, gate=gate.id))


def test_a_router_leaves_one_adapter_with_its_weight_or_none(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    resolve: Resolve,
    make_gate: MakeGate,
    router_tensors_of_two: dict[str, Any],
) -> None:
    with sqlite_database.transaction() as s:
        both = [register(s, sqlite_tenant, name, seed=i) for i, name in enumerate(("alpha", "beta"))]
        make_gate(s, "desk", GateKind.ROUTER, both, router_tensors_of_two)
        terms = (Term(adapter="beta", weight=0.5), Term(adapter="alpha", weight=2.0))
        found = resolve(s, gated(*terms, kind=GateKind.ROUTER, gate="desk@1"))
        alone = resolve(s, spec(Term(adapter="alpha", weight=2.0)))
    assert len(found.composition.terms) == 2
    chosen, routed = found.choose((1.0, 0.0, 0.0, 0.0))
    assert (routed.chosen, chosen.adapters) == (both[0].digest, ((both[0], 2.0),))
    assert chosen.composition.key == alone.composition.key
    other, _ = found.choose((0.0, 0.0, 0.0, 1.0))
    assert other.adapters == ((both[1], 0.5),)
    none, foreign = found.choose((90.0, -50.0, 70.0, 90.0))
    assert (none.composition.terms, foreign.abstained, foreign.reason) == ((), True, "foreign")


def test_a_pipeline_resolves_each_stage_by_itself(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    register: Register,
    resolve: Resolve,
    base_facts: BaseFacts,
) -> None:
    with sqlite_database.transaction() as s:
        for seed, name in enumerate(("alpha", "beta")):
            register(s, sqlite_tenant, name, seed=seed)
        stages = (
            Stage(name="one", composition=spec("alpha")),
            Stage(name="two", composition=gated("alpha", "beta", kind=GateKind.TOKEN), prompt="{one}"),
        )
        what = CompositionSpec(method=Method.SEQUENTIAL, stages=stages)
        found: Any = resolve(s, what)
        assert isinstance(found, ResolvedPipeline)
        assert [[a.name for a, _ in stage.resolved.adapters] for stage in found.stages] == [
            ["alpha"],
            ["alpha", "beta"],
        ]
        parts = service.resolve_parts(s, sqlite_tenant.id, what, base_digest=base_facts.digest)
        assert [part.composition for part in parts] == [stage.resolved.composition for stage in found.stages]
        broken = what.model_copy(update={"stages": stages[::-1]})
        with pytest.raises(InvalidInputError, match=r"asks for \{one\}"):
            resolve(s, broken)


def test_a_name_means_the_version_that_it_serves_and_an_exact_one_stays_exact(
    database: Database, tenant: Tenant, register: Register, now: datetime
) -> None:
    with database.transaction() as s:
        old, _, newest = [register(s, tenant, "alpha", seed=i) for i in range(3)]
        same = register(s, tenant, "alpha_v2", seed=9)
        assert service.find_adapter(s, tenant.id, "alpha") == newest
        serve(s, tenant, "adapter", "alpha", 1, now)
        assert service.find_adapter(s, tenant.id, "alpha") == old
        assert service.find_adapter(s, tenant.id, "alpha@3") == newest
        assert service.find_adapter(s, tenant.id, newest.id) == newest
        assert service.find_adapter(s, tenant.id, "alpha_v2") == same
        registry.quarantine_adapter(s, tenant.id, old.id)
        assert service.find_adapter(s, tenant.id, "alpha") == newest


def test_a_federation_name_means_the_version_that_it_serves(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    def save(s: Session, at: Tenant) -> Federation:
        return service.save_federation(
            s, at.id, name="both", description="", spec=spec(), created_by="a", now=now
        )

    with database.transaction() as s:
        first, second = save(s, tenant), save(s, tenant)
        theirs = [save(s, other_tenant), save(s, other_tenant)]
        serve(s, tenant, "federation", "both", 1, now)
        assert service.find_federation(s, tenant.id, "both") == first
        assert service.find_federation(s, tenant.id, "both@2") == second
        assert service.find_federation(s, other_tenant.id, "both") == theirs[1]


def test_words_of_a_pipeline_come_back_from_every_database(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    contract = {"kind": "schema", "schema": {"type": "string", "const": "ä\u0000{}"}}
    stage = {"name": "a", "composition": {}, "prompt": "ü {input}\u0000", "contract": contract}
    what = CompositionSpec.model_validate({"method": "sequential", "stages": [stage]})
    with database.transaction() as s:
        saved = service.save_federation(
            s, tenant.id, name="p", description="", spec=what, created_by="a", now=now
        )
    with database.transaction() as s:
        [kept] = service.get_federation(s, tenant.id, saved.id).spec.stages
    assert kept.prompt == "ü {input}\ufffd"
    assert kept.contract.json_schema == {"type": "string", "const": "ä\ufffd{}"}


@pytest.mark.parametrize("schema", [{"const": float("nan")}, {"const": "\ud800"}])
def test_a_schema_that_no_database_can_hold_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="no JSON"):
        StageContract.model_validate({"kind": "schema", "schema": schema})


def test_a_difference_tells_of_method_gate_segments_and_stages(now: datetime) -> None:
    def version(what: CompositionSpec) -> Federation:
        return Federation("f", "t", "f", 1, "", what, "a", now)

    plain = version(spec("a", "b"))
    token = version(gated("a", Term(adapter="b", layers=(0, 3)), kind=GateKind.TOKEN))
    diff = service.diff_federations(plain, token)
    assert diff.method == (Method.ADDITIVE, Method.GATED)
    assert diff.gate is not None
    assert (diff.added, diff.removed) == ({"b [0–3]": 1.0}, {"b": 1.0})
    one, two = Stage(name="one", composition=spec("a")), Stage(name="two", composition=spec("b"))
    shorter = two.model_copy(update={"max_new_tokens": 9})

    def pipe(*stages: Stage) -> Federation:
        return version(CompositionSpec(method=Method.SEQUENTIAL, stages=stages))

    changed = service.diff_federations(pipe(one, two), pipe(shorter, one))
    assert (changed.stages_changed, changed.stages_moved, changed.same) == (("two",), True, False)
    grown = service.diff_federations(pipe(one), pipe(one, two))
    assert (grown.stages_added, grown.added, grown.stages_moved) == (("two",), {"two: b": 1.0}, False)
    assert service.diff_federations(pipe(one, two), pipe(one, two)).same
