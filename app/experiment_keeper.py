"""What keeps experiments going while nobody looks: starts, ends, folding, and what is to happen by itself.

Every process that serves keeps all experiments; rows decide who is first, so it may be any number of processes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.orm import Session

from app.actions import promotion
from app.bootstrap import Console
from core.errors import RmnError
from core.experiments import promotions, service
from core.experiments.records import Experiment, State
from core.tenants import audit

LOG = structlog.get_logger(__name__)
EVERY_S = 5.0
SYSTEM = "system"


@contextmanager
def keep_experiments(c: Console) -> Iterator[None]:
    """In the background, as long as the block lasts."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(EVERY_S):
            try:
                keep_once(c)
            except Exception:  # the database may be away for a while
                LOG.exception("experiments.not_kept")

    thread = threading.Thread(target=run, name="experiments", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def keep_once(c: Console) -> None:
    """Look at all that run, and at promotions that a process left half done. What goes wrong with one is logged, and the
    others follow."""
    with c.database.reading() as s:
        running = [each for each in service.running_anywhere(s) if service.is_waiting(s, *each)]
        promoting = promotions.promoting_anywhere(s)
    for step, found in ((_keep, running), (promotion.take_up, promoting)):
        for tenant_id, experiment_id in found:
            try:
                step(c, tenant_id, experiment_id)
            except RmnError as error:
                LOG.warning("experiment.not_kept", experiment_id=experiment_id, reason=str(error))
            except Exception:  # one that goes wrong must not end the others
                LOG.exception("experiment.not_kept", experiment_id=experiment_id)


def _keep(c: Console, tenant_id: str, experiment_id: str) -> None:
    with c.database.transaction() as s:
        ended = service.tick(s, tenant_id, experiment_id, now=c.clock())
        judged = service.evaluate(s, tenant_id, experiment_id, now=c.clock())
        if ended is not None:
            _note_end(c, s, ended)
    if ended is not None:
        c.variants.forget(tenant_id)
    elif judged.experiment.state is State.RUNNING and judged.experiment.reached is not None:
        promotion.act(c, judged.experiment)


def _note_end(c: Console, s: Session, ended: Experiment) -> None:
    audit.append(
        s,
        tenant_id=ended.tenant_id,
        actor=SYSTEM,
        action="experiment.stopped",
        subject=ended.id,
        detail={"name": ended.name, "reason": ended.reason},
        now=c.clock(),
    )
