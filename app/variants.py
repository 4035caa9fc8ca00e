"""Which requests belong to an experiment, and which arm answers them.

The experiments of a workspace are read from the database once a second at most, by one request, while the others go on
with what is known: a change that is made in this process counts at once, one that another process made a second later.
A workspace without any pays for one look into a dictionary. Arms are pinned when an experiment starts, so what is
remembered here never says another composition than the one that is tested.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.compose.records import CompositionSpec
from core.errors import NotFoundError
from core.experiments import service
from core.experiments.assign import Assigner, unit_of
from core.experiments.records import Arm, Assignment, Experiment, State, Strategy
from core.serve.records import InferenceRequest
from core.storage.database import Database

GOOD_FOR_S = 1.0
MOST_TENANTS = 10_000
MOST_STICKY = 100_000
PREFIX = "experiment:"


@dataclass(frozen=True, slots=True)
class Routed:
    """A request that belongs to an experiment: as the arm's composition answers it. `variant` None: the unit takes no
    part, and the control answers uncounted."""

    request: InferenceRequest
    experiment: Experiment
    arm: Arm
    assignment: Assignment
    session_id: str | None

    @property
    def variant(self) -> str | None:
        """The arm that counts."""
        return self.assignment.variant


@dataclass(frozen=True, slots=True)
class _Ready:
    """One experiment, with the compositions of its arms read once."""

    experiment: Experiment
    assigner: Assigner
    specs: Mapping[str, CompositionSpec]


@dataclass(frozen=True, slots=True)
class _Known:
    read_at: float
    by_model: Mapping[str, tuple[_Ready, ...]] = field(default_factory=dict)


class Variants:
    """Safe from any thread."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._now, self._clock = database, now, clock
        self._reading = threading.Lock()
        self._kept: dict[str, _Known] = {}
        self._sticky: dict[tuple[str, str], dict[str, Assignment]] = {}

    def forget(self, tenant_id: str) -> None:
        """Something was changed: the next request reads it anew."""
        self._kept.pop(tenant_id, None)

    def route(
        self, tenant_id: str, request: InferenceRequest, session_id: str | None, request_id: str
    ) -> Routed | None:
        """The arm that answers a request; None: it belongs to no experiment."""
        if request.model is None:
            return None
        found = self._known(tenant_id).by_model.get(request.model)
        if found is None:
            return None
        now = self._now()
        for ready in found:
            routed = self._route(ready, request, session_id, request_id, now)
            if routed.variant is not None:
                return routed
        ready = found[0]
        return (
            self._route(ready, request, session_id, request_id, now)
            if self._is_own(ready, request.model)
            else None
        )

    def of_ended(self, tenant_id: str, request: InferenceRequest) -> Routed | None:
        """The arm that answers a request that names an experiment that does not run: what was promoted, else the control.
        For requests whose model nobody knows."""
        if request.model is None:
            return None
        with self._database.reading() as s:
            try:
                experiment = service.get_experiment(s, tenant_id, request.model.removeprefix(PREFIX))
            except NotFoundError:
                return None
        settled = None if experiment.promoting else experiment.settled_arm  # it has not passed its test yet
        arm = experiment.arm(settled or experiment.control.id) or experiment.control
        if arm.pinned is None:  # never started
            return None
        outside = Assignment(experiment.id, None)
        return Routed(
            _asking(request, CompositionSpec.model_validate(dict(arm.pinned))), experiment, arm, outside, None
        )

    def running(self, tenant_id: str) -> list[Experiment]:
        """Experiments that requests may name as their model."""
        found = {
            each.experiment.id: each.experiment
            for group in self._known(tenant_id).by_model.values()
            for each in group
        }
        return sorted(found.values(), key=lambda each: each.id)

    def _route(
        self, ready: _Ready, request: InferenceRequest, session_id: str | None, request_id: str, now: datetime
    ) -> Routed:
        experiment = ready.experiment
        unit, independent = unit_of(request.user_id, session_id, request_id, experiment.unit)
        context = request.context if request.task is None else {**request.context, "task": request.task}
        given = ready.assigner.assign(unit, context, now)
        if experiment.shadow and given.variant is not None:
            given = Assignment(experiment.id, experiment.control.id)
        elif experiment.strategy is Strategy.BANDIT and given.variant is not None and not independent:
            given = self._keep(experiment, unit, given, context, now)
        arm = experiment.arm(given.variant or experiment.control.id) or experiment.control
        return Routed(_asking(request, ready.specs[arm.id]), experiment, arm, given, session_id)

    def _keep(
        self, experiment: Experiment, unit: str, given: Assignment, context: Mapping[str, str], now: datetime
    ) -> Assignment:
        """A bandit's shares move, so what a unit was given first is written down before it is used."""
        sticky = self._sticky.setdefault((experiment.tenant_id, experiment.id), {})
        if unit in sticky:
            return given
        with self._database.transaction() as s:
            kept = service.claim(s, experiment, unit, given, context, independent=False, now=now)
        if len(sticky) >= MOST_STICKY:
            sticky.clear()
        sticky[unit] = kept
        return kept

    def _is_own(self, ready: _Ready, model: str) -> bool:
        """Whether the request names the experiment itself, so that nothing else can answer it."""
        return model.removeprefix(PREFIX) == ready.experiment.id

    def _known(self, tenant_id: str) -> _Known:
        known = self._kept.get(tenant_id)
        if known is not None and self._clock() - known.read_at < GOOD_FOR_S:
            return known
        if known is not None and not self._reading.acquire(blocking=False):
            return known  # another request reads it
        if known is None:
            self._reading.acquire()
        try:
            return self._read(tenant_id)
        finally:
            self._reading.release()

    def _read(self, tenant_id: str) -> _Known:
        read_at = self._clock()
        with self._database.reading() as s:
            found = service.list_experiments(s, tenant_id, states=(State.RUNNING, State.PAUSED))
        by_model: dict[str, tuple[_Ready, ...]] = {}
        ended = {key for key in tuple(self._sticky) if key[0] == tenant_id} - {
            (tenant_id, e.id) for e in found
        }
        for key in ended:
            self._sticky.pop(key, None)
        for experiment in reversed(found):  # the oldest first
            ready = self._ready(experiment)
            for name in _names(experiment):
                by_model[name] = (*by_model.get(name, ()), ready)
        known = _Known(read_at, by_model)
        if len(self._kept) >= MOST_TENANTS:
            self._kept.clear()
        self._kept[tenant_id] = known
        return known

    def _ready(self, experiment: Experiment) -> _Ready:
        sticky = self._sticky.setdefault((experiment.tenant_id, experiment.id), {})
        specs = {arm.id: CompositionSpec.model_validate(dict(arm.pinned or {})) for arm in experiment.arms}
        return _Ready(experiment, Assigner(experiment, self._now(), sticky), specs)


def _names(experiment: Experiment) -> tuple[str, ...]:
    own = (experiment.id, PREFIX + experiment.id)
    if experiment.serves is None or experiment.state is not State.RUNNING:
        return own
    return *own, experiment.serves.name, f"{experiment.serves.kind}:{experiment.serves.name}"


def _asking(request: InferenceRequest, spec: CompositionSpec) -> InferenceRequest:
    return request.model_copy(update={"model": None, "composition": spec})
