"""adapters list | show | import | export | archive | restore."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from app.actions import adapters
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, moment, table
from core.registry.records import Adapter, AdapterType

commands = typer.Typer(help="Adapters: list, look into, move, put away.", no_args_is_help=True)
Named = Annotated[str, typer.Argument(help="Id, name, or name@version.")]


@commands.command("list")
def list_all(
    type: Annotated[AdapterType | None, typer.Option(help="Only those of this type.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the adapters, newest first."""
    with local(tenant) as here:
        found = adapters.list_adapters(here.console, here.principal, type=type, include_archived=archived)
    answer(
        [summary(adapter) for adapter in found],
        lambda: table(
            ("NAME", "TYPE", "STATE", "SOURCE", "EXACT MATCH", "MADE", "ID"),
            ((a.label, a.type, a.state, a.source, _score(a), moment(a.created_at), a.id) for a in found),
            "No adapters yet. Train one: python -m app train --help",
        ),
        as_json,
    )


@commands.command("show")
def show(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Show an adapter with its manifest and lineage."""
    with local(tenant) as here:
        adapter = adapters.resolve_adapter(here.console, here.principal, name)
        line = adapters.lineage(here.console, here.principal, adapter.id)
    value = {
        **summary(adapter),
        "manifest": adapter.manifest,
        "parents": [parent.label for parent in line.parents],
        "children": [child.label for child in line.children],
        "missing_parents": line.missing_parents,
    }
    answer(
        value,
        lambda: facts(
            [
                ("name", adapter.label),
                ("id", adapter.id),
                ("type", adapter.type),
                ("state", adapter.state),
                ("source", adapter.source),
                ("digest", adapter.digest),
                ("base", f"{adapter.base_name} ({adapter.base_digest[:12]}…)"),
                ("rank", adapter.rank),
                ("parameters", f"{adapter.parameters:,}"),
                ("bytes", f"{adapter.size_bytes:,}"),
                ("dataset", line.dataset_name),
                ("job", adapter.job_id),
                ("exact match", _score(adapter) or None),
                ("simulated data", "yes" if adapter.simulated else "no"),
                ("made", adapter.created_at.isoformat()),
            ]
        ),
        as_json,
    )


@commands.command("import")
def import_one(
    source: Annotated[
        Path, typer.Argument(help="A zip, a folder, or adapter_model.safetensors.", exists=True)
    ],
    name: Annotated[str | None, typer.Option(help="Needed where there is no manifest.")] = None,
    type: Annotated[AdapterType | None, typer.Option(help="Needed where there is no manifest.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify an adapter and register it. Pickles and everything that is no plain LoRA are refused."""
    with local(tenant) as here:
        adapter = adapters.import_adapter(here.console, here.principal, source, name=name, type=type)
    answer(summary(adapter), lambda: f"Imported {adapter.label} ({adapter.id}).", as_json)


@commands.command("export")
def export_one(
    name: Named,
    to: Annotated[Path, typer.Option("--to", help="Folder or file to write.")] = Path(),
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an adapter as a zip: weights, configuration, manifest, card."""
    with local(tenant) as here:
        adapter = adapters.resolve_adapter(here.console, here.principal, name)
        package = adapters.export_adapter(here.console, here.principal, adapter.id)
        target = Path(shutil.copy(package, to))
    value = {"id": adapter.id, "digest": adapter.digest, "path": target, "bytes": target.stat().st_size}
    answer(value, lambda: f"Wrote {target}.", as_json)


@commands.command("archive")
def archive(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Hide an adapter from choice; its files stay."""
    with local(tenant) as here:
        adapter = adapters.resolve_adapter(here.console, here.principal, name)
        adapter = adapters.archive_adapter(here.console, here.principal, adapter.id)
    answer(summary(adapter), lambda: f"Archived {adapter.label}.", as_json)


@commands.command("restore")
def restore(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Make an archived adapter active again. Name it by id or name@version."""
    with local(tenant) as here:
        adapter = adapters.resolve_adapter(here.console, here.principal, name)
        adapter = adapters.restore_adapter(here.console, here.principal, adapter.id)
    answer(summary(adapter), lambda: f"{adapter.label} is active again.", as_json)


def summary(adapter: Adapter) -> dict[str, Any]:
    """An adapter without its manifest."""
    names = (
        "id", "name", "version", "type", "state", "source", "digest", "base_name", "base_digest", "size_bytes",
        "parameters", "rank", "simulated", "job_id", "dataset_digest", "created_at",
    )  # fmt: skip
    return {name: getattr(adapter, name) for name in names}


def _score(adapter: Adapter) -> str:
    evaluation = adapter.manifest.evaluation or {}
    before, after = evaluation.get("base_exact_match"), evaluation.get("adapter_exact_match")
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    return f"{before:.0%} → {after:.0%} (n {evaluation.get('n')})"
