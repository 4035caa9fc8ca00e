"""Which names a composition depends on, and whether they still mean what they meant."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from core.compose.records import CompositionSpec
from core.compose.store.stamps import Stamp, read_stamp
from core.storage.versions import split_version

__all__ = ["Stamp", "names_of", "read_stamp_of"]


def names_of(spec: CompositionSpec) -> frozenset[str]:
    """Every name or id that resolving `spec` looks up; of «name@2» also «name»."""
    return with_bare(_written(spec))


def with_bare(names: Iterator[str] | tuple[str, ...]) -> frozenset[str]:
    """These names, and of each «name@2» or «name v2» also «name»."""
    found = set(names)
    found |= {numbered[0] for name in found if (numbered := split_version(name))}
    return frozenset(found)


def read_stamp_of(s: Session, tenant_id: str, names: frozenset[str]) -> Stamp:
    """What these names stand for now. Equal stamps: a resolution from then is still right."""
    return read_stamp(s, tenant_id, names) if names else ()


def _written(spec: CompositionSpec) -> Iterator[str]:
    yield from (term.adapter for term in spec.terms)
    if spec.gate is not None and spec.gate.gate is not None:
        yield spec.gate.gate
    for stage in spec.stages:
        yield from _written(stage.composition)
