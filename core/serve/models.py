"""Names that a request may give as its model: the base, adapters and federations of the tenant."""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.compose import service as compose
from core.compose.records import CompositionSpec
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
        return _of_adapter(registry.resolve(s, tenant_id, name.removeprefix(ADAPTER)))
    if name.startswith(FEDERATION):
        found = _federation(s, tenant_id, name.removeprefix(FEDERATION))
    else:
        found = _federation(s, tenant_id, name)
        adapter: Adapter | None = None
        with suppress(NotFoundError):
            adapter = registry.resolve(s, tenant_id, name)
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
    """The base, then each adapter made for it, then each federation, by name."""
    models = [ServedModel(base_name, "base", base_digest, None, "The base model alone.", None)]
    federations = compose.list_federations(s, tenant_id)
    newest: dict[str, Adapter] = {}
    for adapter in registry.list_adapters(s, tenant_id):
        if adapter.state is AdapterState.ACTIVE and adapter.base_digest == base_digest:
            known = newest.get(adapter.name)
            newest[adapter.name] = adapter if known is None or adapter.version > known.version else known
    doubled = {federation.name for federation in federations} & newest.keys()
    for name, adapter in sorted(newest.items()):
        written = ADAPTER + name if name in doubled else name
        text = f"{adapter.type.value.capitalize()} adapter, rank {adapter.rank}."
        models.append(ServedModel(written, "adapter", adapter.id, adapter.version, text, adapter.created_at))
    for federation in sorted(federations, key=lambda f: f.name):
        written = FEDERATION + federation.name if federation.name in doubled else federation.name
        text = federation.description or f"Federation of {len(federation.spec.terms)} adapters."
        models.append(
            ServedModel(written, "federation", federation.id, federation.version, text, federation.created_at)
        )
    return models


def _of_adapter(adapter: Adapter) -> ChosenModel:
    return ChosenModel(adapter.label, compose.single(adapter))


def _federation(s: Session, tenant_id: str, name: str) -> ChosenModel | None:
    federation = compose.find_federation(s, tenant_id, name)
    return None if federation is None else ChosenModel(federation.label, federation.spec)
