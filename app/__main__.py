"""The command line: `python -m app …`. Exit status 0: done; 1: a finding, or it failed; 2: wrong usage."""

import json
import os
import sys

import typer

from app.commands import adapters, database, datasets, federations, jobs, mapping, people, serving, upkeep
from app.commands.doctor import doctor
from app.commands.harmonize import harmonize
from app.commands.inference import infer
from app.commands.output import tell
from app.commands.training import train
from core.errors import RmnError

cli = typer.Typer(
    name="python -m app",
    help="Train, compose and serve LoRA adapters for retail media.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    serving.up,
    serving.console,
    serving.api,
    serving.worker,
    doctor,
    upkeep.demo,
    train,
    infer,
    harmonize,
):
    cli.command()(command)
cli.add_typer(adapters.commands, name="adapters")
cli.add_typer(federations.commands, name="federation")
cli.add_typer(datasets.commands, name="dataset")
cli.add_typer(mapping.commands, name="mapping")
cli.add_typer(jobs.commands, name="jobs")
cli.add_typer(people.users, name="users")
cli.add_typer(people.keys, name="keys")
cli.add_typer(upkeep.base, name="base")
cli.add_typer(database.audit_log, name="audit")
cli.add_typer(database.db, name="db")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    # Both must be said before torch and its friends are imported: two processes that spin starve each other, and
    # progress bars of libraries do not belong into an answer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        cli(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except RmnError as error:
        return _failed(error, as_json="--json" in given)
    return 0


def _failed(error: RmnError, *, as_json: bool) -> int:
    if as_json:
        told = {"code": error.code, "what": error.what, "why": error.why, "next_step": error.next_step}
        sys.stdout.write(json.dumps({"error": told}, ensure_ascii=False, indent=2) + "\n")
    else:
        tell("\n".join(["✗ " + error.what, *(f"  {text}" for text in (error.why, error.next_step) if text)]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
