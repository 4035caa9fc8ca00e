"""What was done with an experiment, by whom, and why: its entries of the audit log, for everybody who may see it."""

from app.actions import experiments
from app.bootstrap import Console
from core.tenants import audit
from core.tenants.records import AuditEntry, Principal

PREFIX = "experiment."
MOST = 500


def list_decisions(c: Console, p: Principal, experiment_id: str, *, limit: int = 200) -> list[AuditEntry]:
    """Newest first. The rest of the log is for administrators. Raises NotFoundError."""
    found = experiments.get_experiment(c, p, experiment_id)
    with c.database.reading() as s:
        entries = audit.list_entries(s, p.tenant_id, limit=min(limit, MOST), subject=found.id)
    return [entry for entry in entries if entry.action.startswith(PREFIX)]
