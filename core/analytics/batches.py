"""One write of one process: requests and what they add up to, in one transaction, once.

Who takes part is settled here and not on the request's path: a name becomes the id of the registry, what a failed
request asked for is looked up, and names from outside, tasks and compositions beyond a number for each workspace count
as «other», so that nobody can fill the tables by inventing words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from core.analytics.costs import Prices
from core.analytics.periods import Grain
from core.analytics.records import RequestEvent, SubjectKind, Tally
from core.analytics.store import cells, names
from core.analytics.store import requests as request_store
from core.analytics.store.names import TASK, KnownName
from core.analytics.tallies import NAMED, OTHER, CellKey, add_all
from core.errors import NotFoundError, RmnError
from core.registry import service as registry
from core.registry.records import Adapter
from core.storage.text import storable
from core.tenants import service as tenants

MOST: Mapping[str, int] = {SubjectKind.ADAPTER: 1_000, SubjectKind.COMPOSITION: 1_000, TASK: 200}
LONGEST_LABEL = 400
OWN_IDS = "adp_"  # of adapters in the registry, which keep what they are
Identify = Callable[[Session, str, str], tuple[Adapter, ...]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written together. The same `number` of the same writer is written at most once."""

    number: int
    tallies: Mapping[CellKey, Tally]
    events: Sequence[RequestEvent]


@dataclass(slots=True)
class KnownNames:
    """What this process knows to be in the table of names, by tenant. Filled from the database when a tenant is met."""

    found: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    nobody: set[str] = field(default_factory=set)  # tenants that do not exist

    def learn(self, s: Session, tenant_id: str) -> set[tuple[str, str]]:
        """Kinds and ids of a tenant."""
        if tenant_id not in self.found:
            self.found[tenant_id] = {(each.kind, each.subject) for each in names.list_names(s, tenant_id)}
        return self.found[tenant_id]


def identify_adapter(s: Session, tenant_id: str, name: str) -> tuple[Adapter, ...]:
    """The adapter that a request means by a name or an id; nothing where there is none."""
    try:
        return (registry.resolve(s, tenant_id, name),)
    except RmnError:
        return ()


def write_batch(
    s: Session,
    writer: str,
    batch: Batch,
    *,
    prices: Prices,
    identify: Identify,
    known: KnownNames,
    now: datetime,
) -> int:
    """Write it, unless that has happened before. How many requests were left out, for their workspace does not exist."""
    if not names.begin_batch(s, writer, batch.number, now):
        return 0
    settling = Settling(s, identify, known, now)
    events = [settled for event in batch.events if (settled := settling.event(event)) is not None]
    tallies: dict[CellKey, Tally] = {}
    for key, tally in batch.tallies.items():
        for settled_key in settling.keys(key):
            add_all(tallies, {settled_key: tally})
    names.add_names(s, settling.new)
    cells.add(s, tallies, Grain.MINUTE, writer)
    request_store.insert_all(s, events, prices)
    left_out = (key for key in batch.tallies if key.kind == SubjectKind.ALL and key.tenant_id in known.nobody)
    return sum(batch.tallies[key].requests for key in left_out)


class Settling:
    """Which subject each name is, within one batch."""

    def __init__(self, s: Session, identify: Identify, known: KnownNames, now: datetime) -> None:
        self._s, self._identify, self._known, self._now = s, identify, known, now
        self._adapters: dict[tuple[str, str], tuple[str, ...]] = {}
        self._compositions: dict[tuple[str, str], str] = {}
        self._types: dict[tuple[str, str], str] = {}
        self._met: set[tuple[str, str, str]] = set()
        self.new: list[KnownName] = []

    def keys(self, key: CellKey) -> Iterable[CellKey]:
        """Under which keys a tally counts."""
        if not self._exists(key.tenant_id):
            return
        key = key._replace(task=self._task(key.tenant_id, key.task))
        if key.kind == SubjectKind.ALL:
            yield key
        elif key.kind == SubjectKind.COMPOSITION:
            yield key._replace(subject=self._composition(key.tenant_id, key.subject))
        elif key.kind == SubjectKind.ADAPTER:
            for adapter in self._adapter(key.tenant_id, key.subject):
                yield key._replace(subject=adapter)
        elif key.kind == NAMED:
            for adapter in self._named(key.tenant_id, key.subject):
                yield key._replace(kind=SubjectKind.ADAPTER.value, subject=adapter)

    def event(self, event: RequestEvent) -> RequestEvent | None:
        """The same with settled names; None where the workspace does not exist."""
        tenant_id = event.tenant_id
        if not self._exists(tenant_id):
            return None
        adapters: dict[str, str] = {}
        for name, kind in event.adapters:
            self._types.setdefault((tenant_id, name), kind)
            adapters |= dict.fromkeys(self._adapter(tenant_id, name), kind)
        for name in event.named:
            adapters |= dict.fromkeys(self._named(tenant_id, name), "")
        composition = event.composition and self._composition(tenant_id, event.composition, event)
        task = self._task(tenant_id, event.task)
        return event._replace(adapters=tuple(adapters.items()), composition=composition, task=task, named=())

    def _exists(self, tenant_id: str) -> bool:
        if tenant_id in self._known.nobody:
            return False
        if tenant_id not in self._known.found:
            try:
                tenants.get_tenant(self._s, tenant_id)
            except NotFoundError:
                self._known.nobody.add(tenant_id)
                return False
        return True

    def _adapter(self, tenant_id: str, name: str) -> tuple[str, ...]:
        """The id of an adapter that is called so, or the name itself, from outside."""
        place = tenant_id, name
        if (SubjectKind.ADAPTER.value, name) in self._known.learn(self._s, tenant_id) and name.startswith(
            OWN_IDS
        ):
            return (name,)
        if place not in self._adapters:
            found = identify_adapter(self._s, tenant_id, name)
            if found:
                self._adapters[place] = (self._registered(tenant_id, found[0]),)
            else:
                kind = self._types.get(place, "")
                self._adapters[place] = (self._counted(tenant_id, SubjectKind.ADAPTER, name, name, kind),)
        return self._adapters[place]

    def _named(self, tenant_id: str, name: str) -> tuple[str, ...]:
        place = tenant_id, f"{NAMED}:{name}"
        if place not in self._adapters:
            found = self._identify(self._s, tenant_id, name)
            self._adapters[place] = tuple(
                dict.fromkeys(self._registered(tenant_id, adapter) for adapter in found)
            )
        return self._adapters[place]

    def _composition(self, tenant_id: str, digest: str, event: RequestEvent | None = None) -> str:
        place = tenant_id, digest
        if place not in self._compositions:
            label = digest[:12] if event is None else self._label(event)
            self._compositions[place] = self._counted(tenant_id, SubjectKind.COMPOSITION, digest, label)
        return self._compositions[place]

    def _label(self, event: RequestEvent) -> str:
        """What a composition is called: as asked for, or by its adapters."""
        if event.model and event.model != SubjectKind.COMPOSITION:
            return event.model
        ids = [adapter for name, _ in event.adapters for adapter in self._adapter(event.tenant_id, name)]
        known = {each.subject: each.label for each in self.new}
        return " + ".join(known.get(adapter, adapter) for adapter in ids) or "base"

    def _task(self, tenant_id: str, task: str) -> str:
        return self._counted(tenant_id, TASK, task, task) if task else ""

    def _registered(self, tenant_id: str, adapter: Adapter) -> str:
        """Adapters of the registry are never too many."""
        self._note(tenant_id, SubjectKind.ADAPTER, adapter.id, adapter.label, adapter.type.value)
        return adapter.id

    def _counted(self, tenant_id: str, kind: str, subject: str, label: str, type: str = "") -> str:
        known = self._known.learn(self._s, tenant_id)
        if (kind, subject) not in known:
            if sum(each == kind for each, _ in known) >= MOST[kind]:
                subject, label, type = OTHER, OTHER, ""
            self._note(tenant_id, kind, subject, label, type)
        return subject

    def _note(self, tenant_id: str, kind: str, subject: str, label: str, type: str) -> None:
        known = self._known.learn(self._s, tenant_id)
        if (kind, subject) not in known:
            known.add((kind, subject))
            label = storable(label)[:LONGEST_LABEL]
            self.new.append(KnownName(tenant_id, kind, subject, label, type, self._now))
