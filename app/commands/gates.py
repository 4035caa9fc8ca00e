"""gate train | list | show | promote."""

from typing import Annotated, Any

import typer

from app.actions import gates
from app.commands.jobs import summary
from app.commands.local import local
from app.commands.output import JsonOption, TenantOption, answer, facts, moment, plain, table
from app.commands.training import follow
from core.compose.gate_records import Gate
from core.compose.records import GateKind
from core.jobs.records import Job, JobState

commands = typer.Typer(
    help="Gates: what decides how much of each adapter answers a prompt.", no_args_is_help=True
)
Given = Annotated[str, typer.Argument(metavar="GATE", help="Name (its newest version), name@version, or id.")]


@commands.command("train")
def train(
    name: Annotated[str, typer.Option(help="Its name; one that exists gets its next version.")],
    adapter: Annotated[
        list[str],
        typer.Option(
            help="NAME, or NAME=DATASET whose prompts it is best at; else the set that it was trained on. Repeat it."
        ),
    ],
    kind: Annotated[
        GateKind, typer.Option(help="router: per request; static: learned factors; token: per token.")
    ] = GateKind.ROUTER,
    base_rows: Annotated[str | None, typer.Option(help="Dataset of prompts for the base alone.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="One dataset whose column «adapter» names the best adapter of each row."),
    ] = None,
    evaluation_rows: Annotated[
        int | None, typer.Option(min=8, help="Held-out rows that every choice answers.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of a static gate's training.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Adapters at a token, for the kind token.")] = None,
    temperature: Annotated[float | None, typer.Option(help="For the kind token.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the rows.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; run it here if no worker runs.")
    ] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a gate over adapters and compare it with each of them on held-out rows."""
    chosen = {
        "evaluation_rows": evaluation_rows,
        "steps": steps,
        "top_k": top_k,
        "temperature": temperature,
        "seed": seed,
    }
    with local(tenant) as here:
        spec = gates.plan_gate(
            here.console,
            here.principal,
            name=name,
            kind=kind,
            adapters=[_source(each) for each in adapter],
            base_rows=base_rows,
            labelled=rows,
            **{key: value for key, value in chosen.items() if value is not None},
        )
        job = follow(here, gates.submit_gate(here.console, here.principal, spec), wait=wait)
    if not wait:
        answer(summary(job), lambda: f"Submitted {job.name}: {job.id}", as_json)
        return
    answer(_outcome(job), lambda: _job_text(job), as_json)
    raise typer.Exit(0 if job.state is JobState.SUCCEEDED else 1)


@commands.command("list")
def list_all(
    kind: Annotated[GateKind | None, typer.Option(help="Only this kind.")] = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the gates, newest first."""
    with local(tenant) as here:
        found = gates.list_gates(here.console, here.principal, kind=kind)
    answer(
        [gate_summary(gate) for gate in found],
        lambda: table(
            ("NAME", "KIND", "STATE", "ADAPTERS", "TRAINED", "ID"),
            ((g.label, g.kind, g.state, _adapters(g), moment(g.created_at), g.id) for g in found),
            "No gates yet. Train one: python -m app gate train --help",
        ),
        as_json,
    )


@commands.command("show")
def show(gate: Given, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Show a gate with its report: what it was compared with, and whether it may be promoted."""
    with local(tenant) as here:
        found = gates.find_gate(here.console, here.principal, gate)
    answer({**gate_summary(found), "report": plain(dict(found.report))}, lambda: _gate_text(found), as_json)


@commands.command("promote")
def promote(gate: Given, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Let a gate answer for its name. Refused unless it beats every other choice on held-out rows."""
    with local(tenant) as here:
        promoted = gates.promote_gate(here.console, here.principal, gate)
    answer(gate_summary(promoted), lambda: f"{promoted.label} is promoted.", as_json)


def gate_summary(gate: Gate) -> dict[str, Any]:
    """A gate without its report and where its file lies."""
    told: dict[str, Any] = plain(gate)
    for field in ("tenant_id", "path", "report"):
        told.pop(field)
    return {**told, **gate.report.get("decision", {})}


def _source(given: str) -> tuple[str, str | None]:
    adapter, _, dataset = given.partition("=")
    return adapter, dataset or None


def _adapters(gate: Gate) -> str:
    return ", ".join(adapter.label for adapter in gate.adapters)


def _outcome(job: Job) -> dict[str, Any]:
    told = {"job_id": job.id, "name": job.name, "state": job.state}
    if job.state is JobState.SUCCEEDED:
        return {**told, **(job.result or {})}
    error = {"what": f"The job is {job.state}.", "why": "", "next_step": ""}
    return {**told, "error": {"code": "job_failed", **(error if job.error is None else plain(job.error))}}


def _job_text(job: Job) -> str:
    if job.state is not JobState.SUCCEEDED or job.result is None:
        why = job.error
        return f"✗ {why.what}\n  {why.why}\n  {why.next_step}" if why else f"{job.name} is {job.state}."
    result = job.result
    lines = [f"{result['gate']}: {result['gate_id']} in {result['seconds']:.0f} s", f"  {result['reason']}"]
    if result["promotable"]:
        lines.append(f"  Promote it: python -m app gate promote {result['gate_id']}")
    return "\n".join([*lines, *_report_lines(result["report"])])


def _gate_text(gate: Gate) -> str:
    decision = gate.report.get("decision", {})
    head = facts(
        [
            ("name", gate.label),
            ("id", gate.id),
            ("kind", gate.kind),
            ("state", gate.state),
            ("adapters", _adapters(gate)),
            ("trained", f"{gate.created_at.isoformat()} by {gate.created_by}"),
            ("digest", gate.digest),
            ("verdict", decision.get("reason")),
        ]
    )
    return "\n".join([head, *_report_lines(gate.report)])


def _report_lines(report: Any) -> list[str]:
    """What each choice came to on the same rows, and how the router chose."""
    lines = [
        f"  {policy['label']}: exact match {_share(policy['exact_match'])}, "
        f"field accuracy {policy['field_accuracy']['value']:.1%}"
        + (f", loss {policy['answer_loss']['value']:.3f}" if policy["answer_loss"] else "")
        for policy in report.get("comparison", {}).get("policies", [])
    ]
    if (routing := report.get("routing")) is not None:
        calibration = routing["calibration"]["ece"]
        lines.append(
            f"  routing: {_share(routing['accuracy'])} right of {routing['n']} held-out prompts; "
            f"left to the base {routing['abstention']['value']:.1%}"
            + (f"; calibration error {calibration:.3f}" if calibration is not None else "")
        )
    return lines


def _share(share: dict[str, Any]) -> str:
    return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"
