"""db upgrade, db current; audit verify."""

from typing import Annotated

import typer

from app.actions import audit
from app.commands.local import local, quiet_settings
from app.commands.output import JsonOption, TenantOption, answer
from core.storage.migrate import current_revision, is_current, upgrade

db = typer.Typer(help="The schema of the database.", no_args_is_help=True)
audit_log = typer.Typer(help="The audit log.", no_args_is_help=True)


@db.command("upgrade")
def upgrade_schema(as_json: JsonOption = False) -> None:
    """Bring the database to the schema of this version. A SQLite file is copied first."""
    revision = upgrade(quiet_settings().resolved_database_url)
    answer({"revision": revision}, lambda: f"The database is at revision {revision}.", as_json)


@db.command("current")
def current(as_json: JsonOption = False) -> None:
    """Say which schema the database has. Exit status 1: not that of this version."""
    url = quiet_settings().resolved_database_url
    revision = current_revision(url)
    good = revision is not None and is_current(url)
    told = "is not set up yet" if revision is None else f"is at revision {revision}"
    more = "" if good else " Run `python -m app db upgrade`."
    answer({"revision": revision, "current": good}, lambda: f"The database {told}.{more}", as_json)
    raise typer.Exit(0 if good else 1)


@audit_log.command("verify")
def verify(
    anchored_head: Annotated[
        str | None, typer.Option(help="Hash of an entry, kept elsewhere, that must still be there.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the chain of the audit log. Exit status 1: it is broken."""
    with local(tenant) as here:
        verdict = audit.verify(here.console, here.principal, anchored_head=anchored_head)
    whole = verdict.first_bad_seq is None
    answer(
        verdict,
        lambda: (
            f"Whole: {verdict.entries} entries hold. Head: {verdict.head}"
            if whole
            else f"Broken at entry {verdict.first_bad_seq}: {verdict.problem}"
        ),
        as_json,
    )
    raise typer.Exit(0 if whole else 1)
