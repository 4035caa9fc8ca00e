"""mapping suggest | check | apply | list | show | diff | save | activate | export.

What opens a workspace is loaded where one is needed: `suggest` and `check` of bare files answer without it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.harmonize import (
    CardOption,
    RawFile,
    SheetOption,
    find_card,
    find_mapping,
    harmonize,
    opened,
)
from app.commands.local import Local, local, local_if_there, quiet_settings
from app.commands.mapping_text import (
    change_document,
    changes_text,
    check_text,
    suggestions_text,
    version_text,
)
from app.commands.output import JsonOption, TenantOption, answer, moment, plain, table, tell
from app.pseudonyms import key_for
from core.harmonize.documents import read_documents
from core.harmonize.dry_run import check_mapping
from core.harmonize.mapping_files import read_mapping, write_mapping
from core.harmonize.propose import propose_rules
from core.harmonize.records import SourceCard
from core.harmonize.saved import MappingVersion
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.suggest import Suggestion

commands = typer.Typer(help="Mappings: from a retailer's columns to RMIS.", no_args_is_help=True)
Named = Annotated[str, typer.Argument(metavar="MAPPING", help="Id, name, or name@version.")]
Given = Annotated[
    str, typer.Argument(metavar="MAPPING", help="A mapping file, or a saved mapping: name or name@version.")
]


@commands.command("suggest")
def suggest(
    file: RawFile,
    card: CardOption = None,
    documents: Annotated[
        Path | None,
        typer.Option("--documents", help="Description of the columns.", exists=True, dir_okay=False),
    ] = None,
    sheet: SheetOption = None,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice", metavar="ADAPTER", help="A retailer adapter that is asked about unsure columns."
        ),
    ] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a rule for every column, with a confidence and a reason. Needs no workspace, network or GPU."""
    told = read_documents(documents) if documents else {}
    known = find_card(file, card)
    if voice is None:
        with local_if_there(tenant) as here:
            memory = None if here is None else _memory(here)
        with opened(file, sheet) as (source, _):
            found = propose_rules(source, card=known, documents=told, memory=memory)
    else:
        found = _with_voice(file, sheet, known, told, voice, tenant)
    answer([each.plain() for each in found], lambda: suggestions_text(found), as_json)


def _with_voice(
    file: Path,
    sheet: str | None,
    card: SourceCard | None,
    told: dict[str, str],
    voice: str,
    tenant: str | None,
) -> list[Suggestion]:
    from app.actions.mapping_voice import suggest_with_voice

    with local(tenant) as here, opened(file, sheet) as (source, _):
        heard = suggest_with_voice(
            here.console,
            here.principal,
            source,
            adapter=voice,
            card=card,
            documents=told,
            memory=_memory(here),
        )
    tell(
        f"{heard.adapter}: right on {heard.agreed} of {heard.tried} sure columns, asked about {heard.asked}."
    )
    return heard.suggestions


@commands.command("check")
def check(
    mapping: Given,
    file: RawFile,
    card: CardOption = None,
    sheet: SheetOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a mapping on a file without writing anything. Exit status 1: an error, or a total that is not kept."""
    rules, label = find_mapping(mapping, tenant)
    with opened(file, sheet) as (source, work_dir):
        key = key_for(rules, quiet_settings().home)
        found = check_mapping(
            source,
            rules,
            find_card(file, card),
            work_dir=work_dir,
            pseudonym_key=key,
            now=datetime.now(UTC),
        )
    value = {
        **plain(found.report),
        "file": file,
        "mapping": label,
        "good": found.good,
        "findings": found.findings,
        "warnings": [each for each in found.findings if each.severity != "note"],
    }
    answer(value, lambda: check_text(found), as_json)
    raise typer.Exit(0 if found.good else 1)


commands.command("apply", help="The same as `harmonize`.")(harmonize)


@commands.command("list")
def list_all(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the saved mappings, newest first."""
    from app.actions import mappings

    with local(tenant) as here:
        found = mappings.list_mappings(here.console, here.principal)
    answer(
        [{key: value for key, value in plain(each).items() if key != "tenant_id"} for each in found],
        lambda: table(
            ("NAME", "NETWORK", "REPORT", "IN USE", "NEWEST", "COVERAGE", "MADE", "ID"),
            (
                (
                    m.name,
                    m.network,
                    m.report,
                    m.active_version or "",
                    m.latest_version,
                    "" if m.coverage is None else f"{m.coverage:.0%}",
                    moment(m.created_at),
                    m.id,
                )
                for m in found
            ),
            "No mappings yet. Save one: python -m app mapping save FILE --name NAME",
        ),
        as_json,
    )


@commands.command("show")
def show(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Show a version of a mapping with its rules."""
    from app.actions import mappings

    with local(tenant) as here:
        version = mappings.find_version(here.console, here.principal, name)
        others = mappings.list_versions(here.console, here.principal, version.mapping_id)
    answer(
        {**summary(version), "mapping": version.mapping.plain(), "versions": [summary(o) for o in others]},
        lambda: version_text(version, others),
        as_json,
    )


@commands.command("diff")
def diff(
    name: Annotated[str, typer.Argument(metavar="MAPPING", help="Id or name.")],
    old: Annotated[int, typer.Argument(min=1, help="Version to begin with.")],
    new: Annotated[int, typer.Argument(min=1, help="Version to compare it with.")],
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two versions, column by column."""
    from app.actions import mappings

    with local(tenant) as here:
        mapping_id = mappings.find_version(here.console, here.principal, name).mapping_id
        found = mappings.compare_versions(here.console, here.principal, mapping_id, old, new)
    answer(
        [change_document(each) for each in found],
        lambda: changes_text(found),
        as_json,
    )


@commands.command("save")
def save(
    file: Annotated[Path, typer.Argument(help="A mapping file, YAML or JSON.", exists=True, dir_okay=False)],
    name: Annotated[str | None, typer.Option(help="Its name; that of the file if left out.")] = None,
    note: Annotated[str, typer.Option(help="What is new in this version.")] = "",
    activate_it: Annotated[bool, typer.Option("--activate", help="Put it into use at once.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save a mapping file as the next version of its name. The same rules again make no new version."""
    from app.actions import mappings

    rules = read_mapping(file)
    with local(tenant) as here:
        version = mappings.save_mapping(
            here.console,
            here.principal,
            name=name or file.name.partition(".")[0],
            mapping=rules,
            note=note,
            activate=activate_it,
        )
    answer(summary(version), lambda: f"Saved {version.label} ({version.state}).", as_json)


@commands.command("activate")
def activate(name: Named, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Put a version into use: NAME@VERSION, or the newest of NAME."""
    from app.actions import mappings

    with local(tenant) as here:
        version = mappings.find_version(here.console, here.principal, name)
        number = version.version if "@" in name or name == version.id else None
        version = mappings.activate_mapping(here.console, here.principal, version.mapping_id, number)
    answer(summary(version), lambda: f"{version.label} is in use.", as_json)


@commands.command("export")
def export_one(
    name: Named,
    to: Annotated[Path, typer.Option("--to", help="File to write: *.yaml or *.json; or a folder.")] = Path(),
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version of a mapping as a file that runs on any machine."""
    from app.actions import mappings

    with local(tenant) as here:
        version = mappings.find_version(here.console, here.principal, name)
    target = to / f"{version.name}.v{version.version}.yaml" if to.is_dir() else to
    write_mapping(version.mapping, target)
    answer({**summary(version), "path": target}, lambda: f"Wrote {target}.", as_json)


def _memory(here: Local) -> Memory:
    from app.actions import mappings

    return mappings.memory_of(here.console, here.principal)


def summary(version: MappingVersion) -> dict[str, Any]:
    """A version without its rules."""
    names = ("id", "mapping_id", "name", "version", "state", "digest", "note", "author", "created_at")
    return {**{name: getattr(version, name) for name in names}, "rules": len(version.mapping.rules)}
