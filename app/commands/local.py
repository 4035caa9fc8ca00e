"""Who a command acts as: the administrator of a workspace on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.commands.output import tell
from app.logs import configure_logging
from core.errors import NotFoundError, RmnError
from core.settings import Settings, load_settings
from core.tenants.records import Principal, Role

# What opens a workspace is loaded when one is opened: some commands need none.
if TYPE_CHECKING:
    from app.bootstrap import Console
    from app.prepare import PreparedWorkspace

ACTOR = "command line"


@dataclass(frozen=True, slots=True)
class Local:
    """The services of this process, and who uses them."""

    console: "Console"
    principal: Principal


@contextmanager
def local(tenant_slug: str | None) -> Iterator[Local]:
    """Set up what is missing, then open the workspace. Raises NotFoundError for a slug that nobody has."""
    from app.bootstrap import build_console
    from core.tenants import service as tenants

    settings = quiet_settings()
    workspace = prepared(settings)
    console = build_console(settings)
    try:
        with console.database.reading() as s:
            found = tenants.find_tenant_by_slug(s, tenant_slug or workspace.tenant_slug)
        if found is None:
            raise _no_workspace(tenant_slug or workspace.tenant_slug)
        yield Local(console, Principal(found.id, found.name, ACTOR, Role.ADMIN))
    finally:
        console.close()


def prepared(settings: Settings) -> "PreparedWorkspace":
    """Tables and demo workspace, made where they are missing; says so the first time."""
    from app.prepare import ensure_ready
    from core.storage.migrate import current_revision

    first = current_revision(settings.resolved_database_url) is None
    return ensure_ready(settings, lambda what: tell(f"• {what} …") if first else None)


def quiet_settings() -> Settings:
    """The settings, with logging that leaves the terminal to the command."""
    settings = load_settings()
    if settings.log_level == "info":
        settings = settings.model_copy(update={"log_level": "warning"})
    configure_logging(settings)
    return settings


@contextmanager
def local_if_there(tenant_slug: str | None) -> Iterator[Local | None]:
    """The workspace of this machine where it has been set up, else None. Sets nothing up and raises for no lack of it.

    For commands that work on a bare file and only profit from what the workspace knows. Raises NotFoundError for
    a slug that nobody has.
    """
    settings = quiet_settings()
    if not _is_set_up(settings):
        if tenant_slug is not None:
            raise _no_workspace(tenant_slug)
        yield None
        return
    from app.bootstrap import build_console
    from app.prepare import DEMO_SLUG
    from core.tenants import service as tenants

    console = build_console(settings)
    try:
        with console.database.reading() as s:
            found = tenants.find_tenant_by_slug(s, tenant_slug or DEMO_SLUG)
        if found is None and tenant_slug is not None:
            raise _no_workspace(tenant_slug)
        yield None if found is None else Local(console, Principal(found.id, found.name, ACTOR, Role.ADMIN))
    finally:
        console.close()


def _is_set_up(settings: Settings) -> bool:
    if not settings.database_url and not (settings.home / "rmn.sqlite").is_file():
        return False
    from core.storage.migrate import is_current

    try:
        return is_current(settings.resolved_database_url)
    except RmnError:
        return False


def _no_workspace(slug: str) -> NotFoundError:
    return NotFoundError(
        f"There is no workspace «{slug}».",
        "No workspace of this installation has this slug.",
        "Leave --tenant out for the demo workspace.",
    )
