"""From an empty folder to a workspace that can be used: migrate, demo tenant, demo data."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from core.demo.requests import simulate_requests
from core.demo.workspace import prepare_workspace
from core.errors import UnavailableError
from core.settings import PROJECT_ROOT, Settings
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import Role, Tenant, User

DEMO_SLUG = "demo-workspace"
DEMO_NAME = "Demo workspace"
ADMIN_EMAIL = "admin@demo.example"


@dataclass(frozen=True, slots=True)
class PreparedWorkspace:
    """The workspace that `make run` signs in to. Its administrator has no password: sign-in is by link."""

    tenant_id: str
    tenant_slug: str
    admin_user_id: str


def ensure_ready(settings: Settings, report: Callable[[str], None]) -> PreparedWorkspace:
    """Make the home folder, the tables and the demo workspace where they are missing. Safe to call again and again.

    Raises UnavailableError when the home folder cannot be written or the database cannot be reached.
    """
    with _only_one(settings.home):
        report("Database")
        upgrade(settings.resolved_database_url)
        database = Database(settings.resolved_database_url)
        try:
            with database.transaction() as session:
                tenant, admin = _demo_tenant(session, now=datetime.now(UTC))
                report("Demo workspace")
                prepare_workspace(session, tenant.id, project_root=PROJECT_ROOT, now=datetime.now(UTC))
                simulate_requests(session, tenant.id, now=datetime.now(UTC))
        finally:
            database.close()
    return PreparedWorkspace(tenant.id, tenant.slug, admin.id)


def _demo_tenant(session: Session, *, now: datetime) -> tuple[Tenant, User]:
    tenant = tenants.find_tenant_by_slug(session, DEMO_SLUG)
    if tenant is None:
        tenant = tenants.create_tenant(session, name=DEMO_NAME, simulated=True, now=now)
        audit.append(
            session,
            tenant_id=tenant.id,
            actor="setup",
            action="tenant.created",
            subject=tenant.id,
            detail={"name": tenant.name},
            now=now,
        )
    admin = tenants.find_user(session, tenant.id, ADMIN_EMAIL)
    if admin is None:
        admin = tenants.add_user(
            session, tenant.id, email=ADMIN_EMAIL, name="Administrator", role=Role.ADMIN, now=now
        )
        audit.append(
            session,
            tenant_id=tenant.id,
            actor="setup",
            action="user.added",
            subject=admin.id,
            detail={"role": str(admin.role)},
            now=now,
        )
    return tenant, admin


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Two starts at once would both find an empty database: the second waits for the first."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / ".prepare.lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"The folder {home} cannot be written.",
            f"{error.strerror}.",
            "Free some disk space or correct its permissions, or set RMN_HOME to another folder.",
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
