"""Find an experiment, or say that there is none."""

from sqlalchemy.orm import Session

from core.errors import NotFoundError
from core.experiments.records import Experiment
from core.experiments.store import experiments as store


def get_experiment(s: Session, tenant_id: str, experiment_id: str) -> Experiment:
    """One by id. Raises NotFoundError."""
    found = store.get(s, tenant_id, experiment_id)
    if found is None:
        raise NotFoundError(
            f"There is no experiment «{experiment_id[:80]}».",
            "Nothing here has this id.",
            "List the experiments.",
        )
    return found
