"""Compositions of a tenant: from names to adapters that fit together, and saved as federations."""

import math
import re
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from core.compose import store
from core.compose.records import CompositionSpec, Federation, FederationDiff, ResolvedComposition, Term
from core.engine.records import AdapterRef, Composition, WeightedAdapter
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.storage.ids import new_id

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
VERSIONED = re.compile(r"(?P<name>.+?)(?:@| v)(?P<version>[1-9][0-9]{0,8})")
MAX_WEIGHT = 8.0
MAX_DESCRIPTION = 2000


def resolve(s: Session, tenant_id: str, spec: CompositionSpec, *, base_digest: str) -> ResolvedComposition:
    """The adapters and weights that `spec` means for this tenant on this base.

    Weights of the same content are added up; what sums to zero is left out, so W' = W exactly. Raises
    NotFoundError, ConflictError (not active, another base, a parent is missing), InvalidInputError (weight).
    """
    weights: dict[str, list[float]] = {}
    adapters: dict[str, Adapter] = {}
    for term in spec.terms:
        adapter = registry.resolve(s, tenant_id, term.adapter)
        _check_servable(adapter, base_digest)
        adapters.setdefault(adapter.digest, adapter)
        weights.setdefault(adapter.digest, []).append(term.weight)
    total = math.fsum(term.weight for term in spec.terms) if spec.normalize else 1.0
    sums = {digest: math.fsum(parts) / total for digest, parts in weights.items()}
    used = tuple((adapters[digest], weight) for digest, weight in sums.items() if weight != 0)
    for adapter, weight in used:
        if abs(weight) > MAX_WEIGHT:
            raise InvalidInputError(
                f"{adapter.label} would get the weight {weight:.4g}.",
                f"Weights beyond ±{MAX_WEIGHT:g} drown the base: terms were doubled or nearly cancel.",
                "Lower its weight, or do not normalize.",
            )
    _check_parents(used)
    terms = tuple(
        WeightedAdapter(AdapterRef(adapter.digest, Path(adapter.path)), weight) for adapter, weight in used
    )
    return ResolvedComposition(Composition(base_digest, terms, spec.method.value), used)


def single(adapter: Adapter) -> CompositionSpec:
    """One adapter alone, with weight 1."""
    return CompositionSpec(terms=(Term(adapter=adapter.id),))


def save_federation(
    s: Session,
    tenant_id: str,
    *,
    name: str,
    description: str,
    spec: CompositionSpec,
    created_by: str,
    now: datetime,
) -> Federation:
    """Save as the next version of `name`. Its adapters must exist; that they fit is checked at each use.

    A term that names an adapter follows its newest active version; one that gives an id stays with that version.
    Raises InvalidInputError, NotFoundError.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidInputError(
            f"«{name[:100]}» cannot be the name of a federation.",
            "Use 1 to 100 letters, digits, spaces, dots, dashes, underscores; begin with a letter or digit.",
            "Choose another name.",
        )
    if len(description) > MAX_DESCRIPTION:
        raise InvalidInputError(
            "The description is too long.",
            f"It has {len(description)} of {MAX_DESCRIPTION} signs.",
            "Shorten it.",
        )
    for term in spec.terms:
        registry.resolve(s, tenant_id, term.adapter)
    federation = Federation(
        id=new_id("fed"),
        tenant_id=tenant_id,
        name=name,
        version=0,
        description=description,
        spec=spec,
        created_by=created_by,
        created_at=now,
    )
    return store.add(s, federation)


def get_federation(s: Session, tenant_id: str, federation_id: str) -> Federation:
    """One version by id. Raises NotFoundError."""
    federation = store.get(s, tenant_id, federation_id)
    if federation is None:
        raise NotFoundError(
            f"There is no federation «{federation_id[:200]}».",
            "Nothing here has this id.",
            "List the federations.",
        )
    return federation


def find_federation(s: Session, tenant_id: str, name: str) -> Federation | None:
    """An id, a name (its newest version), «name v2» or «name@2» (that version). None: no such."""
    if (federation := store.get(s, tenant_id, name)) is not None:
        return federation
    if versions := store.by_name(s, tenant_id, name):
        return versions[0]
    if (match := VERSIONED.fullmatch(name)) is not None:
        for federation in store.by_name(s, tenant_id, match["name"]):
            if federation.version == int(match["version"]):
                return federation
    return None


def list_federations(s: Session, tenant_id: str, *, name: str | None = None) -> list[Federation]:
    """The newest version of each federation, or all versions of `name`; newest first."""
    if name is not None:
        return store.by_name(s, tenant_id, name)
    newest: dict[str, Federation] = {}
    for federation in store.list_all(s, tenant_id):
        if federation.name not in newest or federation.version > newest[federation.name].version:
            newest[federation.name] = federation
    return sorted(newest.values(), key=lambda f: (f.created_at, f.id), reverse=True)


def diff_federations(older: Federation, newer: Federation) -> FederationDiff:
    """What changed from `older` to `newer`, adapters as they are written in the specs."""
    before, after = _written_weights(older.spec), _written_weights(newer.spec)
    return FederationDiff(
        added={name: after[name] for name in after.keys() - before.keys()},
        removed={name: before[name] for name in before.keys() - after.keys()},
        changed={
            name: (before[name], after[name])
            for name in before.keys() & after.keys()
            if before[name] != after[name]
        },
        normalize_changed=older.spec.normalize != newer.spec.normalize,
        description_changed=older.description != newer.description,
    )


def _check_servable(adapter: Adapter, base_digest: str) -> None:
    if adapter.state is not AdapterState.ACTIVE:
        raise ConflictError(
            f"The adapter {adapter.label} is {adapter.state}.",
            "Its files changed after they were registered."
            if adapter.state is AdapterState.QUARANTINED
            else "It was put away.",
            "Restore it, or choose another version.",
        )
    if adapter.base_digest != base_digest:
        raise ConflictError(
            f"The adapter {adapter.label} was made for another base model.",
            f"It needs {adapter.base_name} ({adapter.base_digest[:12]}…); {base_digest[:12]}… is loaded.",
            "Serve that base, or train the adapter again on this one.",
        )


def _check_parents(used: tuple[tuple[Adapter, float], ...]) -> None:
    present = {adapter.digest for adapter, _ in used}
    for adapter, _ in used:
        for parent in adapter.manifest.parents:
            if parent not in present:
                raise ConflictError(
                    f"The adapter {adapter.label} needs another one that is not in this composition.",
                    f"It was trained on top of the adapter with the digest {parent[:12]}….",
                    "Add the parent with a weight other than zero, or leave this adapter out.",
                )


def _written_weights(spec: CompositionSpec) -> dict[str, float]:
    weights: dict[str, list[float]] = {}
    for term in spec.terms:
        weights.setdefault(term.adapter, []).append(term.weight)
    return {name: math.fsum(parts) for name, parts in weights.items()}
