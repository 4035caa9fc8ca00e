"""federation list | save | show."""

from typing import Annotated, Any

import typer

from app.actions import compositions
from app.commands.inference import term_of
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, moment, table
from core.compose.records import CompositionSpec, Federation
from core.errors import InvalidInputError

commands = typer.Typer(help="Federations: named compositions.", no_args_is_help=True)


@commands.command("list")
def list_all(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the federations in their newest versions."""
    with local(tenant) as here:
        found = compositions.list_federations(here.console, here.principal)
    answer(
        [_summary(federation) for federation in found],
        lambda: table(
            ("NAME", "COMPOSITION", "SAVED", "BY"),
            ((f"{f.name} v{f.version}", _terms(f), moment(f.created_at), f.created_by) for f in found),
            "No federations yet. Save one: python -m app federation save NAME --adapter …",
        ),
        as_json,
    )


@commands.command("save")
def save(
    name: Annotated[str, typer.Argument(help="Its name; one that exists gets its next version.")],
    adapter: Annotated[list[str], typer.Option(help="NAME or NAME:0.5. Repeat it to compose.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide the weights by their sum.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save a composition under a name."""
    try:
        spec = CompositionSpec(terms=tuple(term_of(each) for each in adapter), normalize=normalize)
    except ValueError as error:
        raise InvalidInputError(
            "These adapters cannot be composed.", str(error)[:300], "Correct them."
        ) from None
    with local(tenant) as here:
        saved = compositions.save_federation(here.console, here.principal, name, description, spec)
    answer(_summary(saved), lambda: f"Saved {saved.name} v{saved.version}: {_terms(saved)}.", as_json)


@commands.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name, name@version, or id.")],
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one federation."""
    with local(tenant) as here:
        found = compositions.find_federation(here.console, here.principal, name)
    answer(
        _summary(found),
        lambda: facts(
            [
                ("name", f"{found.name} v{found.version}"),
                ("id", found.id),
                ("composition", _terms(found)),
                ("description", found.description or None),
                ("saved", f"{found.created_at.isoformat()} by {found.created_by}"),
            ]
        ),
        as_json,
    )


def _terms(federation: Federation) -> str:
    return " + ".join(f"{term.weight:g}·{term.adapter}" for term in federation.spec.terms) or "the base alone"


def _summary(federation: Federation) -> dict[str, Any]:
    names = ("id", "name", "version", "description", "spec", "created_by", "created_at")
    return {name: getattr(federation, name) for name in names}
