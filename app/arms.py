"""What the arms of an experiment are made of: a model by its name, or a composition said in full, pinned to ids; and
which version of a name an arm is, found by its content."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.bootstrap import Console
from core.compose import service as compose
from core.compose import swap_target
from core.compose.gates import find_gate
from core.compose.records import CompositionSpec, Stage
from core.compose.resolved import Resolved, ResolvedComposition, ResolvedPipeline
from core.compose.swap_records import ServedKind
from core.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError
from core.experiments.records import Pinned, Serves, ServesKind
from core.registry import service as registry
from core.serve.models import find_model

MODEL = "model"


def arm_of_adapters(adapter_ids: list[str]) -> dict[str, Any]:
    """The composition of an arm that is given as a list of adapters: one is asked by its name, several are added up."""
    if len(adapter_ids) == 1:
        return {MODEL: adapter_ids[0]}
    return {"terms": [{"adapter": adapter} for adapter in adapter_ids]}


def spec_of(
    c: Console, s: Session, tenant_id: str, composition: Mapping[str, Any]
) -> tuple[str, CompositionSpec]:
    """How an arm is shown, and its composition. Raises InvalidInputError, NotFoundError, ConflictError."""
    if MODEL in composition:
        if set(composition) != {MODEL} or not isinstance(composition[MODEL], str):
            raise InvalidInputError(
                "An arm is a model or a composition.", "It names both.", "Give one of them."
            )
        chosen = find_model(s, tenant_id, composition[MODEL], c.settings.base_model)
        return chosen.label, chosen.spec
    try:
        spec = CompositionSpec.model_validate(dict(composition))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            "The composition of an arm is not valid.", f"{place}: {first['msg']}.", "Correct it."
        ) from None
    return _label(spec), spec


def pin(c: Console, s: Session, tenant_id: str, composition: Mapping[str, Any]) -> Pinned:
    """An arm as it is now: ids in place of names, and the digest of what they hold. Raises as `spec_of`, and whatever
    keeps a composition from answering here."""
    label, spec = spec_of(c, s, tenant_id, composition)
    spec = _by_ids(s, tenant_id, spec)
    return Pinned(json.loads(spec.model_dump_json(by_alias=True)), digest_of(c, s, tenant_id, spec), label)


def digest_of(c: Console, s: Session, tenant_id: str, spec: CompositionSpec) -> str:
    """Names what a composition is made of, down to its bytes. Raises what keeps it from answering here."""
    base = c.base()
    found = compose.resolve(s, tenant_id, spec, base_digest=base.digest, modules=tuple(base.linears))
    return hashlib.sha256(json.dumps(_content(found), ensure_ascii=True).encode()).hexdigest()


def check_unchanged(c: Console, s: Session, tenant_id: str, arm_id: str, pinned: Pinned) -> None:
    """Raise ConflictError unless an arm can answer here and is what it was when it was pinned."""
    try:
        digest = digest_of(c, s, tenant_id, CompositionSpec.model_validate(dict(pinned.composition)))
    except (NotFoundError, ConflictError, InvalidInputError, IntegrityError) as error:
        raise ConflictError(
            f"The variant «{arm_id}» cannot answer: {error.what}", error.why, error.next_step
        ) from error
    if digest != pinned.digest:
        raise ConflictError(
            f"The variant «{arm_id}» is not what it was when the experiment started.",
            "What would serve was not tested.",
            "Test it in another experiment.",
        )


def version_of(
    c: Console, s: Session, tenant_id: str, serves: Serves, arm_id: str, pinned: Pinned
) -> int | None:
    """The version of the served name that holds what the arm holds, the newest of several. None: a federation has none,
    and may get one. Raises ConflictError for an arm that is no version of the adapter."""
    for version in _candidates(s, tenant_id, serves, pinned):
        if holds(c, s, tenant_id, serves, version, pinned.digest):
            return version
    if serves.kind is ServesKind.FEDERATION:
        return None
    raise ConflictError(
        f"The variant «{arm_id}» is no version of the adapter «{serves.name}».",
        "A swap changes which version of one name answers.",
        "Promote it by hand: save it as a federation, and let that serve.",
    )


def holds(c: Console, s: Session, tenant_id: str, serves: Serves, version: int, digest: str) -> bool:
    """Whether a version of a name can answer here, and with exactly this content."""
    try:
        spec = swap_target.spec_of(s, tenant_id, ServedKind(serves.kind.value), serves.name, version)
        return digest_of(c, s, tenant_id, spec) == digest
    except (NotFoundError, ConflictError, InvalidInputError, IntegrityError):
        return False


def _candidates(s: Session, tenant_id: str, serves: Serves, pinned: Pinned) -> list[int]:
    """Versions of the name, the newest first. Those of an adapter are looked for among what the arm is made of."""
    if serves.kind is ServesKind.FEDERATION:
        return [each.version for each in compose.list_federations(s, tenant_id, name=serves.name)]
    spec = CompositionSpec.model_validate(dict(pinned.composition))
    adapters = [registry.get_adapter(s, tenant_id, term.adapter) for term in spec.terms]
    return sorted({each.version for each in adapters if each.name == serves.name}, reverse=True)


def _content(found: Resolved) -> list[Any]:
    if isinstance(found, ResolvedPipeline):
        return [
            [stage.stage.model_dump_json(exclude={"composition"}), *_parts(stage.resolved)]
            for stage in found.stages
        ]
    return _parts(found)


def _parts(found: ResolvedComposition) -> list[Any]:
    return [found.composition.key, "" if found.gate is None else found.gate.digest]


def _by_ids(s: Session, tenant_id: str, spec: CompositionSpec) -> CompositionSpec:
    terms = tuple(
        term.model_copy(update={"adapter": compose.find_adapter(s, tenant_id, term.adapter).id})
        for term in spec.terms
    )
    gate = spec.gate
    if gate is not None and gate.gate is not None:
        gate = gate.model_copy(update={"gate": find_gate(s, tenant_id, gate.gate).id})
    stages: tuple[Stage, ...] = tuple(
        stage.model_copy(update={"composition": _by_ids(s, tenant_id, stage.composition)})
        for stage in spec.stages
    )
    return spec.model_copy(update={"terms": terms, "gate": gate, "stages": stages})


def _label(spec: CompositionSpec) -> str:
    if spec.stages:
        return f"pipeline of {len(spec.stages)} stages"
    names = " + ".join(
        term.adapter if term.weight == 1 else f"{term.weight:g} × {term.adapter}" for term in spec.terms
    )
    return (names or "the base alone")[:200]
