"""experiment analyze | simulate: the decision on a file, and the benchmark of the decision. Neither needs a workspace."""

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.output import JsonOption, answer, plain, printable, table, tell
from core.errors import InvalidInputError
from core.experiments.analyze import Analysis, Choices, analyze_file
from core.experiments.plan import Comparison, MetricKind, MetricPlan, Mode, Verdict

commands = typer.Typer(
    help="Experiments from files: what they show, and how often such a verdict is wrong.",
    no_args_is_help=True,
)


@commands.command("analyze")
def analyze(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV, TSV or Parquet, one row per request."),
    ],
    primary: Annotated[
        str, typer.Option(help="What decides: a column, or column:share, :mean, :p50, :p90, :p95, :p99.")
    ] = "success",
    guardrail: Annotated[
        list[str] | None,
        typer.Option(
            help="What must not get worse: the same, with =MARGIN for what is still accepted. Repeat it."
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="The variant that others are compared with; else «control», «a» or the first."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Planned shares, such as a=0.9,b=0.1; equal if left out.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of all intervals.")] = 0.95,
    mode: Annotated[Mode, typer.Option(help="When it may be judged.")] = Mode.ALWAYS_VALID,
    margin: Annotated[float, typer.Option(help="By how much the primary must win, in its unit.")] = 0.0,
    equivalence: Annotated[
        float | None, typer.Option(help="Differences up to this matter to nobody.")
    ] = None,
    returning: Annotated[
        bool | None,
        typer.Option(
            "--returning/--no-returning",
            help="Judge a share by all requests of a unit, or by its first; else by what is there.",
        ),
    ] = None,
    lower_is_better: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric of which less is better; latency, cost, errors and durations are known. Repeat it."
        ),
    ] = None,
    cap: Annotated[
        float | None, typer.Option(help="Values of the primary, a mean, above this count as this.")
    ] = None,
    minimum_units: Annotated[int, typer.Option(min=1, help="Per variant, before anything may win.")] = 100,
    planned_units: Annotated[
        int | None, typer.Option(min=2, help="Per variant, for the modes hybrid, group_sequential and fixed.")
    ] = None,
    looks: Annotated[int, typer.Option(min=1, max=100, help="Planned looks, for group_sequential.")] = 5,
    unit_column: Annotated[str, typer.Option(help="The column that names the unit.")] = "unit",
    variant_column: Annotated[str, typer.Option(help="The column that names the variant.")] = "variant",
    as_json: JsonOption = False,
) -> None:
    """Decide on a file of requests. Status 1: harm is shown, or the variants are not as large as planned; 2: the file or
    an option cannot be used."""
    choices = Choices(
        primary=primary,
        guardrails=tuple(guardrail or ()),
        control=control,
        weights=None if weights is None else _weights(weights),
        confidence=confidence,
        mode=mode,
        margin=margin,
        equivalence=equivalence,
        returning=returning,
        lower_is_better=tuple(lower_is_better or ()),
        minimum_units=minimum_units,
        planned_units=planned_units,
        looks=looks,
        cap=cap,
        unit=unit_column,
        variant=variant_column,
    )
    found = analyze_file(file, choices)
    answer(_told(found), lambda: _text(found), as_json)
    found_something = found.decision.verdict is Verdict.ROLLBACK or found.decision.mismatch.found
    raise typer.Exit(1 if found_something else 0)


@commands.command("simulate")
def simulate(
    runs: Annotated[int, typer.Option(min=10, help="Experiments per cell.")] = 2_000,
    units: Annotated[int, typer.Option(min=100, help="Units per arm.")] = 10_000,
    cell: Annotated[str | None, typer.Option(help="Only cells whose name holds this.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="20 runs of 1,000 units per arm.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the units.")] = 20_260,
    as_json: JsonOption = False,
) -> None:
    """Count wrong winners where no arm differs, and power where one does. Status 1: some cell has more than 6 %; 2: an
    option cannot be used."""
    from core.experiments.trials import run_null, run_power

    if quick:
        runs, units = 20, 1_000
    nulls = run_null(runs=runs, units_per_arm=units, seed=seed, named=cell or "", tell=tell)
    powers = run_power(runs=runs, units_per_arm=units, seed=seed, named=cell or "", tell=tell)
    if not nulls and not powers:
        raise InvalidInputError(f"No cell is named like «{cell}».", "", "Leave --cell out to see all.")
    told = {
        "runs": runs,
        "units_per_arm": units,
        "seed": seed,
        "load_average": round(os.getloadavg()[0], 1),
        "false_positives": [asdict(each) for each in nulls],
        "power": [asdict(each) for each in powers],
    }
    answer(told, lambda: _simulated(told), as_json)
    worst = max((rate for each in nulls for rate in each.winners.values()), default=0.0)
    raise typer.Exit(0 if worst <= 0.06 or quick else 1)


def _weights(given: str) -> dict[str, float]:
    found = {}
    for part in given.split(","):
        name, _, value = part.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise InvalidInputError(
                f"«{given}» does not give weights.", "Each is NAME=SHARE.", "Write a=0.5,b=0.5."
            ) from None
    return found


def _told(found: Analysis) -> dict[str, Any]:
    """Everything, without what JSON does not know: an interval's missing end is null."""
    decision = plain(found.decision)
    told = {
        "verdict": decision.pop("verdict"),
        "winner": decision.pop("winner"),
        "reason": decision.pop("reason"),
        "rows": found.rows,
        "units": found.units,
        "crossed_units": found.evidence.crossed_units,
        "plan": plain(found.plan),
        **decision,
        "notes": list(found.notes),
    }
    cleaned: dict[str, Any] = _finite(told)
    return cleaned


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(found: Analysis) -> str:
    decision = found.decision
    heading = decision.verdict.replace("_", " ")
    winner = f": {decision.winner}" if decision.winner else ""
    lines = [f"{heading}{winner}", f"  {decision.reason}"]
    if decision.units_needed:
        lines.append(
            f"  About {decision.units_needed:,} more units per arm would be needed at this difference."
        )
    metrics = {metric.name: metric for metric in (found.plan.primary, *found.plan.guardrails)}
    shown = [_row(metrics[each.metric], each) for each in (*decision.comparisons, *decision.guardrails)]
    lines += [
        "",
        table(
            ("METRIC", "ARM", "VALUE", "CONTROL", "DIFFERENCE", "LIFT", "P"), shown, "Nothing to compare yet."
        ),
    ]
    lines += [
        f"  {each.name}, {each.label}: {each.statistic:.2f}, p = {each.p_value:.3g}"
        for each in decision.one_look
    ]
    ratio = "off" if decision.mismatch.found else "as planned"
    lines.append(f"  Sizes of the arms: {ratio} (p = {decision.mismatch.p_value:.3g} at any time).")
    lines += [f"  {note}" for note in (*decision.warnings, *found.notes)]
    return printable("\n".join(lines))


def _row(metric: MetricPlan, found: Comparison) -> tuple[str, ...]:
    ends, lift = found.interval, found.relative
    return (
        metric.name + (f" q{metric.quantile:g}" if metric.quantile else ""),
        found.arm,
        _value(metric, found.value),
        _value(metric, found.control_value),
        f"{_value(metric, ends.value)} ({_value(metric, ends.low)} to {_value(metric, ends.high)})",
        "" if lift is None else f"{lift.value:+.1%} ({lift.low:+.1%} to {lift.high:+.1%})",
        f"{found.p_value:.3g}",
    )


def _value(metric: MetricPlan, value: float) -> str:
    if not math.isfinite(value):
        return "?"
    return f"{value:.2%}" if metric.kind is MetricKind.SHARE else f"{value:.4g}"


def _simulated(told: dict[str, Any]) -> str:
    nulls, powers = told["false_positives"], told["power"]
    lines = [f"{told['runs']:,} runs of {told['units_per_arm']:,} units per arm, seed {told['seed']}"]
    if nulls:
        names = list(nulls[0]["winners"])
        rows = [
            (each["cell"], *(f"{each['winners'][name]:.1%}" for name in names), _peer(each["peers"]))
            for each in nulls
        ]
        lines += ["", table(("NO ARM DIFFERS", *(name.upper() for name in names), "CLASSIC TEST"), rows, "")]
    if powers:
        rows = [
            (
                each["cell"],
                f"{each['shipped']:.1%}",
                f"{each['rolled_back']:.1%}",
                f"{each['mean_units_per_arm']:,.0f}",
                f"{each['coverage']:.1%}",
            )
            for each in powers
        ]
        heads = ("ONE ARM IS BETTER", "SHIPPED", "ROLLED BACK", "MEAN UNITS", "INTERVAL HOLDS")
        lines += ["", table(heads, rows, "")]
    return "\n".join(lines)


def _peer(peers: dict[str, dict[str, float]]) -> str:
    rates = next(iter(peers.values()), None)  # the classic test comes first
    return f"{rates['every unit from 100']:.1%}" if rates else ""
