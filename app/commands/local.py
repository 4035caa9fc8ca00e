"""Who a command acts as: the administrator of a workspace on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.bootstrap import Console, build_console
from app.commands.output import tell
from app.logs import configure_logging
from app.prepare import PreparedWorkspace, ensure_ready
from core.errors import NotFoundError
from core.settings import Settings, load_settings
from core.storage.migrate import current_revision
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

ACTOR = "command line"


@dataclass(frozen=True, slots=True)
class Local:
    """The services of this process, and who uses them."""

    console: Console
    principal: Principal


@contextmanager
def local(tenant_slug: str | None) -> Iterator[Local]:
    """Set up what is missing, then open the workspace. Raises NotFoundError for a slug that nobody has."""
    settings = quiet_settings()
    workspace = prepared(settings)
    console = build_console(settings)
    try:
        with console.database.reading() as s:
            found = tenants.find_tenant_by_slug(s, tenant_slug or workspace.tenant_slug)
        if found is None:
            raise NotFoundError(
                f"There is no workspace «{tenant_slug}».",
                "No workspace of this installation has this slug.",
                "Leave --tenant out for the demo workspace.",
            )
        yield Local(console, Principal(found.id, found.name, ACTOR, Role.ADMIN))
    finally:
        console.close()


def prepared(settings: Settings) -> PreparedWorkspace:
    """Tables and demo workspace, made where they are missing; says so the first time."""
    first = current_revision(settings.resolved_database_url) is None
    return ensure_ready(settings, lambda what: tell(f"• {what} …") if first else None)


def quiet_settings() -> Settings:
    """The settings, with logging that leaves the terminal to the command."""
    settings = load_settings()
    if settings.log_level == "info":
        settings = settings.model_copy(update={"log_level": "warning"})
    configure_logging(settings)
    return settings
