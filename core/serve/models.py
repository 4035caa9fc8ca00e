"""Names that a request may give as its model: the base, adapters and federations of the tenant."""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.compose import service as compose
from core.compose.records import CompositionSpec, Federation, Method
from core.compose.served import served_version
from core.compose.swap_records import ServedKind
from core.errors import ConflictError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.serve.records import ServedModel

ADAPTER, FEDERATION, BASE = "adapter:", "federation:", "base"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """What a model name means: how it is shown, and its composition."""

    label: str
    spec: CompositionSpec


def find_model(s: Session, tenant_id: str, name: str, base_name: str) -> ChosenModel:
    """An adapter by id or name, a federation by id or name, or the base by name or as «base».

    «name@2» is one version. «adapter:name» and «federation:name» say which is meant when both have one name; without
    that such a name is refused, so that nothing new can take over the name of something that serves. Raises
    NotFoundError, ConflictError.
    """
    if name.startswith(ADAPTER):
        return _of_adapter(compose.find_adapter(s, tenant_id, name.removeprefix(ADAPTER)))
    if name.startswith(FEDERATION):
        found = _federation(s, tenant_id, name.removeprefix(FEDERATION))
    else:
        found = _federation(s, tenant_id, name)
        adapter: Adapter | None = None
        with suppress(NotFoundError):
            adapter = compose.find_adapter(s, tenant_id, name)
        if adapter is not None and found is not None:
            raise ConflictError(
                f"«{name}» is the name of an adapter and of a federation.",
                "It is not clear which one is meant.",
                f"Write {ADAPTER}{name} or {FEDERATION}{name}.",
            )
        if adapter is not None:
            return _of_adapter(adapter)
        if found is None and name in (base_name, BASE):
            return ChosenModel(base_name, CompositionSpec())
    if found is None:
        raise NotFoundError(
            f"There is no model «{name[:200]}».",
            "No adapter and no federation of this workspace has this name, and the base has another one.",
            "GET /v1/models lists what there is.",
        )
    return found


def list_models(s: Session, tenant_id: str, *, base_name: str, base_digest: str) -> list[ServedModel]:
    """The base, then each adapter made for it, then each federation, by name, in the version that the name serves."""
    models = [ServedModel(base_name, "base", base_digest, None, "The base model alone.", None)]
    federations = [_served_federation(s, tenant_id, each) for each in compose.list_federations(s, tenant_id)]
    versions: dict[str, list[Adapter]] = {}
    for adapter in registry.list_adapters(s, tenant_id):
        if adapter.state is AdapterState.ACTIVE and adapter.base_digest == base_digest:
            versions.setdefault(adapter.name, []).append(adapter)
    doubled = {federation.name for federation in federations} & versions.keys()
    for name, found in sorted(versions.items()):
        swapped = served_version(s, tenant_id, ServedKind.ADAPTER, name)
        adapter = max(found, key=lambda each: (each.version == swapped, each.version))
        written = ADAPTER + name if name in doubled else name
        text = f"{adapter.type.value.capitalize()} adapter, rank {adapter.rank}."
        models.append(ServedModel(written, "adapter", adapter.id, adapter.version, text, adapter.created_at))
    for federation in sorted(federations, key=lambda f: f.name):
        written = FEDERATION + federation.name if federation.name in doubled else federation.name
        text = federation.description or _described(federation.spec)
        models.append(
            ServedModel(written, "federation", federation.id, federation.version, text, federation.created_at)
        )
    return models


def _served_federation(s: Session, tenant_id: str, newest: Federation) -> Federation:
    """The version that the bare name means."""
    swapped = served_version(s, tenant_id, ServedKind.FEDERATION, newest.name)
    if swapped is None or swapped == newest.version:
        return newest
    others = compose.list_federations(s, tenant_id, name=newest.name)
    return next((each for each in others if each.version == swapped), newest)


def _described(spec: CompositionSpec) -> str:
    if spec.method is Method.SEQUENTIAL:
        return f"Pipeline of {len(spec.stages)} stages."
    gated = " behind a gate" if spec.method is Method.GATED else ""
    return f"Federation of {len(spec.terms)} adapters{gated}."


def _of_adapter(adapter: Adapter) -> ChosenModel:
    return ChosenModel(adapter.label, compose.single(adapter))


def _federation(s: Session, tenant_id: str, name: str) -> ChosenModel | None:
    federation = compose.find_federation(s, tenant_id, name)
    return None if federation is None else ChosenModel(federation.label, federation.spec)
