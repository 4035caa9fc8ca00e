"""The command line: `python -m app …`. Exit status 0: done; 1: a finding, or it failed; 2: wrong usage.

Of `experiment` 1 is a finding alone, and what cannot be judged is 2: a script must tell harm from a file that is missing.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType

import typer

from app.commands.output import printable, tell
from core.errors import RmnError

# Where each command and each group of commands is. Only those that are asked for are loaded: a command that works on
# a bare file should not wait for the parts of a server.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "up": "serving",
        "console": "serving",
        "api": "serving",
        "worker": "serving",
        "doctor": "doctor",
        "demo": "upkeep",
        "train": "training",
        "infer": "inference",
        "harmonize": "harmonize",
    }
)
GROUPS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "adapters": ("adapters", "commands"),
        "federation": ("federations", "commands"),
        "gate": ("gates", "commands"),
        "dataset": ("dataset_changes", "commands"),
        "experiment": ("experiments", "commands"),
        "mapping": ("mapping", "commands"),
        "jobs": ("jobs", "commands"),
        "users": ("people", "users"),
        "keys": ("people", "keys"),
        "tenants": ("tenants", "tenants"),
        "base": ("upkeep", "base"),
        "audit": ("database", "audit_log"),
        "db": ("database", "db"),
    }
)


def build_cli(names: Iterable[str] = (*COMMANDS, *GROUPS)) -> typer.Typer:
    """The command line with the commands of these names, all by default."""
    cli = typer.Typer(
        name="python -m app",
        help="Train, compose and serve LoRA adapters for retail media.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    cli.callback()(lambda: None)  # else a single command would swallow its own name
    for name in names:
        if name in COMMANDS:
            cli.command(name)(getattr(import_module(f"app.commands.{COMMANDS[name]}"), name))
        else:
            module, attribute = GROUPS[name]
            cli.add_typer(getattr(import_module(f"app.commands.{module}"), attribute), name=name)
    return cli


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    # Both must be said before torch and its friends are imported: two processes that spin starve each other, and
    # progress bars of libraries do not belong into an answer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TQDM_DISABLE", "1")
    asked = [given[0]] if given and given[0] in {*COMMANDS, *GROUPS} else [*COMMANDS, *GROUPS]
    try:
        build_cli(asked)(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except RmnError as error:
        _tell_failure(error, as_json="--json" in given)
        return 2 if asked == ["experiment"] else 1
    return 0


def _tell_failure(error: RmnError, *, as_json: bool) -> None:
    if as_json:
        told = {"code": error.code, "what": error.what, "why": error.why, "next_step": error.next_step}
        sys.stdout.write(json.dumps({"error": told}, ensure_ascii=False, indent=2) + "\n")
    else:
        lines = ["✗ " + error.what, *(f"  {text}" for text in (error.why, error.next_step) if text)]
        tell(printable("\n".join(lines)))


if __name__ == "__main__":
    sys.exit(main())
