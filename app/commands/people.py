"""users add | list | link; keys create | list | revoke."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from app.actions import people
from app.commands.local import Local, local
from app.commands.output import JsonOption, TenantOption, answer, moment, table, tell
from core.errors import NotFoundError
from core.tenants.records import Role, User

users = typer.Typer(help="People of a workspace.", no_args_is_help=True)
keys = typer.Typer(help="API keys of a workspace.", no_args_is_help=True)


@users.command("add")
def add_user(
    email: str,
    role: Annotated[Role, typer.Option(help="What this person may do.")] = Role.VIEWER,
    name: Annotated[str | None, typer.Option(help="Shown name; the e-mail address if left out.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password; else sign-in is by link.")
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a person. Their first sign-in is by link: python -m app users link EMAIL."""
    secret = (
        typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True) if password else None
    )
    with local(tenant) as here:
        user = people.add_user(
            here.console, here.principal, email=email, name=name or email, role=role, password=secret
        )
    answer(user, lambda: f"Added {user.email} as {user.role}.", as_json)


@users.command("list")
def list_users(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the people."""
    with local(tenant) as here:
        found = people.list_users(here.console, here.principal)
    answer(
        found,
        lambda: table(
            ("EMAIL", "NAME", "ROLE", "ACTIVE", "PASSWORD"),
            ((u.email, u.name, u.role, _yes(u.active), _yes(u.has_password)) for u in found),
            "Nobody yet.",
        ),
        as_json,
    )


@users.command("link")
def link_user(
    email: str,
    base_url: Annotated[
        str | None, typer.Option(help="Address of the console; where it runs on this machine if left out.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link that signs this person in once."""
    with local(tenant) as here:
        user = _user(here, email)
        address = base_url or _running_address(here.console.settings.home)
        url = people.make_sign_in_link(here.console, here.principal, user.id, base_url=address)
        minutes = here.console.settings.sign_in_link_minutes
    answer({"email": user.email, "url": url, "minutes": minutes}, lambda: url, as_json)
    if not as_json:
        tell(f"Works once, for {minutes:g} minutes.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[Role, typer.Option(help="What programs with this key may do.")] = Role.VIEWER,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days it is good for; endless if left out.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key. Its secret is printed this once and kept nowhere."""
    with local(tenant) as here:
        ends = None if days is None else here.console.clock() + timedelta(days=days)
        made = people.create_key(here.console, here.principal, name=name, role=role, expires_at=ends)
    answer({"key": made.key, "secret": made.secret}, lambda: made.secret, as_json)
    if not as_json:
        tell(f"{made.key.name}, {made.key.role} ({made.key.id}). Copy it now: it is kept nowhere.")


@keys.command("list")
def list_keys(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the keys, newest first, without their secrets."""
    with local(tenant) as here:
        found = people.list_keys(here.console, here.principal)
        now = here.console.clock()
    answer(
        found,
        lambda: table(
            ("NAME", "ROLE", "BEGINS WITH", "STATE", "LAST USED", "ID"),
            (
                (
                    k.name,
                    k.role,
                    k.prefix,
                    "revoked"
                    if k.revoked_at
                    else "expired"
                    if k.expires_at and k.expires_at <= now
                    else "good",
                    moment(k.last_used_at) or "never",
                    k.id,
                )
                for k in found
            ),
            "No keys yet.",
        ),
        as_json,
    )


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")],
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key useless, at once."""
    with local(tenant) as here:
        key = people.revoke_key(here.console, here.principal, key_id)
    answer(key, lambda: f"Revoked {key.name} ({key.prefix}…).", as_json)


def _user(here: Local, email: str) -> User:
    wanted = email.strip().lower()
    for user in people.list_users(here.console, here.principal):
        if wanted in (user.email, user.id):
            return user
    raise NotFoundError(
        f"Nobody here has the address {email}.", "", "List the people: python -m app users list"
    )


def _running_address(home: Path) -> str | None:
    """Where the console that `up` started can be reached; it may have had to take another port."""
    try:
        noted = json.loads((home / "up.json").read_text("utf-8"))
        os.kill(int(noted["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(noted["url"])


def _yes(value: bool) -> str:
    return "yes" if value else "no"
