"""What the arms of an experiment are made of: a model by its name, or a composition said in full, pinned to ids."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.bootstrap import Console
from core.compose import service as compose
from core.compose.gates import find_gate
from core.compose.records import CompositionSpec, Stage
from core.compose.resolved import Resolved, ResolvedComposition, ResolvedPipeline
from core.errors import InvalidInputError
from core.experiments.records import Pinned
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
