"""tenants limits | usage."""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from app.actions import limits
from app.actions.limits import LimitsView
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, table
from core.errors import InvalidInputError
from core.tenants.limits import MOST_DAYS
from core.tenants.records import LIMIT_NAMES

tenants = typer.Typer(help="What workspaces may use, and what they used.", no_args_is_help=True)
Number = Annotated[int | None, typer.Option(help="Set it; as it is if left out.")]


@tenants.command("limits")
def show_limits(
    requests_per_minute: Number = None,
    tokens_per_minute: Number = None,
    tokens_per_day: Number = None,
    concurrent_requests: Number = None,
    weight: Annotated[int | None, typer.Option(help="Part of the engine beside other workspaces.")] = None,
    priority: Annotated[int | None, typer.Option(help="Whose request gets a thread first.")] = None,
    default: Annotated[
        list[str] | None, typer.Option(help=f"Give a limit back to the settings: {', '.join(LIMIT_NAMES)}.")
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the limits of a workspace, or set those that are named."""
    wanted = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent_requests": concurrent_requests,
        "weight": weight,
        "priority": priority,
    }
    changes: dict[str, int | None] = {name: value for name, value in wanted.items() if value is not None}
    changes |= dict.fromkeys(_names(default or []))
    with local(tenant) as here:
        view = limits.own_limits(here.console, here.principal)
        if changes:
            given = replace(view.given, **changes)  # type: ignore[arg-type]  # a limit may be None, the others are not
            view = limits.set_limits(here.console, here.principal, view.tenant_id, given)
    answer(asdict(view), lambda: _text(view), as_json)


@tenants.command("usage")
def show_usage(
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="How many days, today among them.")] = 30,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answers and tokens by day (UTC), newest first."""
    with local(tenant) as here:
        found = limits.own_usage(here.console, here.principal, days=days)
    answer(
        [{**asdict(each), "day": each.day.isoformat()} for each in found],
        lambda: table(
            ("DAY", "ANSWERS", "TOKENS READ", "TOKENS GENERATED"),
            ((d.day, f"{d.requests:,}", f"{d.prompt_tokens:,}", f"{d.completion_tokens:,}") for d in found),
            "Nothing was used in these days.",
        ),
        as_json,
    )


def _names(given: list[str]) -> list[str]:
    names = [name.replace("-", "_") for name in given]
    for name in names:
        if name not in LIMIT_NAMES:
            raise InvalidInputError(
                f"There is no limit «{name[:100]}».",
                f"There are {', '.join(LIMIT_NAMES)}.",
                "Name one of these.",
            )
    return names


def _text(view: LimitsView) -> str:
    def shown(name: str) -> str:
        value = getattr(view.counting, name)
        source = "" if getattr(view.given, name) is not None else " (from the settings)"
        return f"{'no limit' if value is None else f'{value:,}'}{source}"

    names = (*LIMIT_NAMES, "weight", "priority")
    return facts([("workspace", view.tenant_slug), *((n.replace("_", " "), shown(n)) for n in names)])
