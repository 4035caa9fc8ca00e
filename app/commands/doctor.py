"""doctor: what this machine can do, and what to do about what it cannot. Changes nothing."""

from typing import Annotated

import typer

from app.commands.output import JsonOption, answer, table
from app.health_checks import Status, check_installation
from core.settings import load_settings

_SIGNS = {Status.OK: "✓", Status.WARN: "!", Status.FAIL: "✗"}


def doctor(
    as_json: JsonOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="A warning counts as a finding.")] = False,
) -> None:
    """Check this machine and this installation. Exit status 1: something is missing that is needed."""
    checks = check_installation(load_settings())
    worst = max((check.status for check in checks), key=list(Status).index)
    answer(
        {"status": worst, "checks": checks},
        lambda: table(
            ("", "CHECK", "FOUND", "NEXT"),
            ((_SIGNS[c.status], c.name, c.found, c.next_step) for c in checks),
            "Nothing to check.",
        ),
        as_json,
    )
    raise typer.Exit(1 if worst is Status.FAIL or (strict and worst is Status.WARN) else 0)
