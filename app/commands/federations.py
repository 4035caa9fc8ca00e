"""federation list | save | show | export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.actions import compositions, exports
from app.commands.inference import read_composition
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, moment, table
from core.compose.export import Exported, ExportMethod
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
    adapter: Annotated[list[str] | None, typer.Option(help="NAME or NAME:0.5. Repeat it to compose.")] = None,
    composition: Annotated[
        Path | None,
        typer.Option(help="A composition of any method: a JSON file as in the API; - is standard input."),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide the weights by their sum.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save a composition under a name."""
    if bool(adapter) is (composition is not None):
        raise typer.BadParameter("Give either --adapter or --composition.")
    try:
        spec = read_composition(adapter, composition) or CompositionSpec()
        if normalize:
            spec = CompositionSpec.model_validate({**spec.model_dump(by_alias=True), "normalize": True})
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


@commands.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Name, name@version, or id.")],
    method: Annotated[
        ExportMethod, typer.Option(help="cat is exact; compress keeps a rank; merged is a whole model.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not be there yet.")],
    rank: Annotated[int | None, typer.Option(help="Rank of the adapter; compress needs it.")] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of values that ties, dare and magnitude_prune keep.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What dare drops at random.")] = 0,
    whole_model: Annotated[
        bool,
        typer.Option("--whole-model", help="Merge what ties, dare or magnitude_prune make into the base."),
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a federation as one PEFT adapter, or as a whole model, for another server."""
    with local(tenant) as here:
        made = exports.export_federation(
            here.console,
            here.principal,
            name,
            method=method,
            out=out,
            rank=rank,
            density=density,
            seed=seed,
            whole_model=whole_model,
        )
    answer(_exported(made), lambda: facts([*_exported(made).items()]), as_json)


def _exported(made: Exported) -> dict[str, Any]:
    """What was written and what was lost: ‖what is missing‖ and its share of ‖ΔW‖ (Frobenius)."""
    return {
        "folder": made.folder,
        "kind": made.kind,
        "method": made.method,
        "rank": made.rank or None,
        "density": made.density,
        "seed": made.seed,
        "residual": made.residual,
        "lost_share": made.lost_share,
        "size_bytes": made.size_bytes,
        "digest": made.digest,
        "key": made.key,
    }


def _terms(federation: Federation) -> str:
    spec = federation.spec
    if spec.stages:
        return " → ".join(f"{stage.name}: {_sum(stage.composition)}" for stage in spec.stages)
    return _sum(spec)


def _sum(spec: CompositionSpec) -> str:
    terms = (
        f"{term.weight:g}·{term.adapter}" + (f" [{term.layers[0]}–{term.layers[1]}]" if term.layers else "")
        for term in spec.terms
    )
    gate = f" by {spec.gate.gate or f'the token gate, {spec.gate.top_k} of them'}" if spec.gate else ""
    return (" + ".join(terms) or "the base alone") + gate


def _summary(federation: Federation) -> dict[str, Any]:
    names = ("id", "name", "version", "description", "spec", "created_by", "created_at")
    return {name: getattr(federation, name) for name in names}
