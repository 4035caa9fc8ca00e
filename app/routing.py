"""A request that belongs to an experiment is answered by its arm; any other passes through untouched.

An arm that cannot answer any more (its adapter was archived, or its files changed) never costs anybody an answer: the
experiment is paused with the reason, and the request, uncounted, is answered as if there were no experiment.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import structlog

from app.admission import Entry, Pieces
from app.arms import digest_of
from app.bootstrap import Console
from app.variants import Routed
from core.compose.records import CompositionSpec
from core.errors import ConflictError, IntegrityError, NotFoundError
from core.experiments import service
from core.experiments.records import State
from core.serve.pieces import AnswerPieces
from core.serve.records import AnswerPiece, InferenceAnswer, InferenceRequest, ServedModel
from core.tenants import audit
from core.tenants.records import Principal

LOG = structlog.get_logger(__name__)
Given = TypeVar("Given")


def answer(c: Console, p: Principal, entry: Entry, session_id: str | None) -> InferenceAnswer:
    """Answer the request of an entry. Raises what the runtime raises."""

    def ask(asked: InferenceRequest) -> InferenceAnswer:
        return c.runtime.answer(p, asked, request_id=entry.request_id)

    given, routed = _given(c, p, entry, session_id, ask)
    return given if routed is None else labelled(given, routed)


def stream(c: Console, p: Principal, entry: Entry, session_id: str | None) -> Pieces:
    """Answer it piece by piece. Raises what the runtime raises."""

    def ask(asked: InferenceRequest) -> AnswerPieces:
        return c.runtime.stream(p, asked, request_id=entry.request_id)

    given, routed = _given(c, p, entry, session_id, ask)
    return given if routed is None else RoutedPieces(given, routed)


def running_models(c: Console, p: Principal) -> list[ServedModel]:
    """Experiments that a request may name."""
    return [
        ServedModel(
            each.id,
            "experiment",
            each.id,
            None,
            f"Experiment «{each.name}»: {', '.join(arm.id for arm in each.arms)}.",
            each.started_at,
        )
        for each in c.variants.running(p.tenant_id)
    ]


def labelled(given: InferenceAnswer, routed: Routed) -> InferenceAnswer:
    """An answer with the arm that it came from."""
    shown = routed.arm.label or given.model
    if routed.variant is None:
        return replace(given, model=shown)
    return replace(given, model=shown, experiment=routed.experiment.id, variant=routed.arm.id)


class RoutedPieces(Iterator[AnswerPiece]):
    """A streamed answer of an arm: its last piece says so."""

    def __init__(self, pieces: AnswerPieces, routed: Routed) -> None:
        self._pieces, self._routed = pieces, routed

    @property
    def request_id(self) -> str:
        """The id that the whole answer will have."""
        return self._pieces.request_id

    @property
    def model(self) -> str:
        """What answers, as shown."""
        return self._routed.arm.label or self._pieces.model

    def __next__(self) -> AnswerPiece:
        piece = next(self._pieces)
        return piece if piece.final is None else replace(piece, final=labelled(piece.final, self._routed))

    def close(self) -> None:
        """Stop the answer; what was not read is lost."""
        self._pieces.close()


def _given(
    c: Console, p: Principal, entry: Entry, session_id: str | None, ask: Callable[[InferenceRequest], Given]
) -> tuple[Given, Routed | None]:
    """What the arm, or else the request itself, gives; and the arm, where it did. From then on the entry's request is
    what was really asked, so that a failure is noted of the adapters that failed."""
    request, request_id = entry.request, entry.request_id
    routed = c.variants.route(p.tenant_id, request, session_id, request_id)
    if routed is None:
        try:
            return ask(request), None
        except NotFoundError:
            ended = c.variants.of_ended(p.tenant_id, request)
            if ended is None:
                raise
            entry.request = ended.request
            return ask(ended.request), ended
    c.impressions.expect(request_id, routed)
    entry.request = routed.request
    try:
        return ask(routed.request), routed
    except (NotFoundError, ConflictError, IntegrityError) as error:
        if not _is_broken(c, p, routed):
            raise
        c.impressions.forget(request_id)
        _pause(c, p, routed, error)
    instead = c.variants.route(p.tenant_id, request, session_id, request_id)
    entry.request = request if instead is None else instead.request
    return ask(entry.request), instead


def _is_broken(c: Console, p: Principal, routed: Routed) -> bool:
    """Whether the arm itself cannot answer, or is not what it was any more."""
    arm = routed.arm
    with c.database.reading() as s:
        try:
            return (
                digest_of(c, s, p.tenant_id, CompositionSpec.model_validate(dict(arm.pinned or {})))
                != arm.digest
            )
        except (NotFoundError, ConflictError, IntegrityError):
            return True


def _pause(
    c: Console, p: Principal, routed: Routed, error: NotFoundError | ConflictError | IntegrityError
) -> None:
    """Once: whoever comes second finds it paused."""
    reason = f"The variant «{routed.arm.id}» cannot answer: {error.what}"
    with c.database.transaction() as s:
        experiment = service.get_experiment(s, p.tenant_id, routed.experiment.id)
        if experiment.state is State.RUNNING:
            service.pause_experiment(s, p.tenant_id, experiment.id, reason=reason, now=c.clock())
            audit.append(
                s,
                tenant_id=p.tenant_id,
                actor="system",
                action="experiment.paused",
                subject=experiment.id,
                detail={"name": experiment.name, "variant": routed.arm.id, "reason": reason[:500]},
                now=c.clock(),
            )
            LOG.warning("experiment.paused", experiment_id=experiment.id, reason=reason)
    c.variants.forget(p.tenant_id)
