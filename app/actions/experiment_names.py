"""Names in an experiment: its own, which requests may ask for, and the one that it serves and may be promoted under."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from app import arms
from app.bootstrap import Console
from core.compose import swap_target
from core.compose.swap_records import ServedKind
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.experiments import service
from core.experiments.records import Automatic, Experiment, ExperimentDraft, Pinned, State
from core.serve.models import find_model
from core.tenants.records import Principal


def check_names(c: Console, s: Session, p: Principal, draft: ExperimentDraft, own: str | None = None) -> None:
    """An experiment answers to its id, so it must not be the name of something that serves; and what it serves must be
    such a name. Raises ConflictError, NotFoundError, InvalidInputError."""
    if draft.id is not None and draft.id != own:
        check_free(c, s, p, draft.id)
    if draft.serves is not None:
        kind, name = draft.serves.kind, draft.serves.name
        find_model(s, p.tenant_id, f"{kind}:{name}", c.settings.base_model)
        if swap_target.current(s, p.tenant_id, ServedKind(kind.value), name) is None:
            raise InvalidInputError(
                f"«{name[:100]}» is no name whose versions can be swapped.",
                f"It is an id or one version of a name; «serves» takes the name of the {kind} alone.",
                "Give the name.",
            )


def check_promotable(
    c: Console, s: Session, p: Principal, experiment: Experiment, pinned: Mapping[str, Pinned]
) -> None:
    """What is to be promoted by itself must be something that its name can be swapped to. Raises ConflictError."""
    if experiment.serves is None or experiment.automatic not in (Automatic.PROMOTE, Automatic.BOTH):
        return
    for arm in experiment.arms[1:]:
        if arm.weight > 0:
            arms.version_of(c, s, p.tenant_id, experiment.serves, arm.id, pinned[arm.id])


def check_free(c: Console, s: Session, p: Principal, name: str) -> None:
    """Raise ConflictError for what requests call something else already."""
    try:
        found = find_model(s, p.tenant_id, name, c.settings.base_model)
    except NotFoundError:
        return
    raise ConflictError(
        f"«{name}» is what requests call {found.label}.",
        "An experiment with this id would take its requests.",
        "Choose another id; to test under that name, give it as «serves».",
    )


def check_served_once(s: Session, p: Principal, draft: Experiment) -> None:
    """Two that run under one name share its requests only where their namespace keeps them apart. Raises
    ConflictError."""
    if draft.serves is None:
        return
    for other in service.list_experiments(s, p.tenant_id, states=(State.RUNNING, State.PAUSED)):
        if other.id != draft.id and other.serves == draft.serves and other.namespace != draft.namespace:
            raise ConflictError(
                f"«{other.id}» runs under the name «{draft.serves.name}» already.",
                "Both would want the same requests.",
                "Put both into one namespace, or wait until it has ended.",
            )
