"""What is made ready at the start, before anybody asks for it."""

import threading

import structlog

from app.actions.composing import compose_sync
from app.bootstrap import Console
from core.errors import NotFoundError, RmnError
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

LOG = structlog.get_logger(__name__)
ACTOR = "pre-warm list"


def prewarm(console: Console) -> threading.Thread | None:
    """Prepare what the setting `prewarm` names, one after another, in the background; None when it names nothing.

    What cannot be prepared is logged and left out: it is prepared, or refused with its reason, when it is asked.
    """
    wanted = [each.strip() for each in console.settings.prewarm.split(",") if each.strip()]
    if not wanted:
        return None
    thread = threading.Thread(target=_prepare_all, args=(console, wanted), name="prewarm", daemon=True)
    thread.start()
    return thread


def _prepare_all(console: Console, wanted: list[str]) -> None:
    for each in wanted:
        if console.stopping.is_set():
            return
        slug, _, model = each.partition(":")
        try:
            with console.database.reading() as s:
                tenant = tenants.find_tenant_by_slug(s, slug)
            if tenant is None or not model:
                raise NotFoundError(
                    f"«{each[:200]}» cannot be made ready.",
                    "There is no workspace with this slug, or no model behind the colon.",
                    "Write workspace:model.",
                )
            caller = Principal(tenant.id, tenant.name, ACTOR, Role.ADMIN)
            compose_sync(console, caller, model=model, spec=None)
        except RmnError as error:
            LOG.warning("prewarm.left_out", model=each[:200], error=str(error))
        else:
            LOG.info("prewarm.ready", model=each[:200])
