"""What a request asks for, resolved once and kept as long as its names mean the same.

Kept by tenant and by what was asked. Before each use one statement reads which versions the names have and which of
them serves (core.compose.stamps): a swap, a new version, a quarantine or another process's change is seen by the very
next request. Nothing here goes by time.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.compose import service as compose
from core.compose.gates import OpenGates
from core.compose.records import CompositionSpec
from core.compose.resolved import Resolved, ResolvedComposition
from core.compose.stamps import Stamp, names_of, read_stamp_of, with_bare
from core.engine.records import Composition, EnginePort
from core.serve.models import ADAPTER, FEDERATION, ChosenModel, find_model
from core.serve.records import InferenceRequest
from core.storage.database import Database

MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Meaning:
    """What answers, as shown, and what that is for the engine."""

    label: str
    resolved: Resolved


@dataclass(frozen=True, slots=True)
class _Kept:
    names: frozenset[str]
    stamp: Stamp
    meaning: Meaning


class Resolutions:
    """From a tenant's request to adapters, weights, gates and stages. Safe from any thread."""

    def __init__(self, database: Database, *, most: int = MOST_KEPT) -> None:
        self._database, self._most = database, most
        self._gates = OpenGates()
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()

    def find(self, tenant_id: str, request: InferenceRequest, engine: EnginePort, base_name: str) -> Meaning:
        """Raises what `find_model` and `compose.resolve` raise."""
        if request.model is None and request.composition is None:
            return Meaning(base_name, ResolvedComposition(Composition(engine.base_digest), ()))
        spec = "" if request.composition is None else request.composition.model_dump_json()
        key = (tenant_id, engine.base_digest, base_name, request.model or "", spec)
        with self._database.reading() as s:
            kept = self._recall(key)
            if kept is not None and read_stamp_of(s, tenant_id, kept.names) == kept.stamp:
                return kept.meaning
            chosen = _choose(s, tenant_id, request, base_name)
            names = names_of(chosen.spec) | with_bare((_bare(request.model or ""),))
            stamp = read_stamp_of(s, tenant_id, names)
            # Read again after the stamp, so that a change in between makes the stamp too old, never too new.
            meaning = self._resolve(s, tenant_id, _choose(s, tenant_id, request, base_name), engine)
        if meaning.label == chosen.label:
            self._keep(key, _Kept(names, stamp, meaning))
        return meaning

    def _resolve(self, s: Session, tenant_id: str, chosen: ChosenModel, engine: EnginePort) -> Meaning:
        resolved = compose.resolve(
            s,
            tenant_id,
            chosen.spec,
            base_digest=engine.base_digest,
            modules=engine.module_names(),
            gates=self._gates,
        )
        return Meaning(chosen.label, resolved)

    def _recall(self, key: tuple[str, ...]) -> _Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, ...], kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _choose(s: Session, tenant_id: str, request: InferenceRequest, base_name: str) -> ChosenModel:
    if request.model is not None:
        return find_model(s, tenant_id, request.model, base_name)
    return ChosenModel("composition", request.composition or CompositionSpec())


def _bare(model: str) -> str:
    return model.removeprefix(ADAPTER) if model.startswith(ADAPTER) else model.removeprefix(FEDERATION)
