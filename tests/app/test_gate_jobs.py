"""Gate jobs in their child process and on the command line, with the shipped base and its demo adapters."""

import json
from typing import Any

import pytest

from app import gate_child, job_child
from app.actions import gates
from app.bootstrap import Console
from app.worker import GATE, job_command
from core.compose import gates as compose_gates
from core.compose.gate_records import GateState
from core.compose.records import GateKind
from core.demo.workspace import prepare_workspace
from core.errors import InvalidInputError, NotFoundError, PermissionDeniedError
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.settings import PROJECT_ROOT
from core.tenants.records import Principal, Role
from core.training.gate_spec import KIND
from core.training.progress import Stop

DEMO = (("retailer_beta", None), ("task_planning", None), ("brand_pomelia", None))


@pytest.fixture
def principal(console: Console, workspace: Any) -> Principal:
    who: Principal = workspace.principal()
    with console.database.transaction() as s:
        prepare_workspace(s, who.tenant_id, project_root=PROJECT_ROOT, now=console.clock())
    return who


def submit(c: Console, p: Principal, **more: Any) -> Job:
    choices: dict[str, Any] = {"name": "chooser", "kind": GateKind.ROUTER, "adapters": DEMO, **more}
    return gates.submit_gate(c, p, gates.plan_gate(c, p, **choices))


def claimed(c: Console, job: Job) -> Job:
    with c.database.transaction() as s:
        found = jobs.claim(s, job.id, now=c.clock())
    assert found is not None
    return found


def attempt(c: Console, job: Job, stop: Stop | None = None) -> int:
    return gate_child.run_job(c.database, c.settings, job.id, job.fence, stop or Stop())


def ended(c: Console, p: Principal, job: Job) -> Job:
    with c.database.reading() as s:
        return jobs.get(s, p.tenant_id, job.id)


def test_a_gate_job_has_its_child_and_names_the_sets_that_its_adapters_learned_from(
    console: Console, principal: Principal
) -> None:
    job = submit(console, principal, evaluation_rows=9)
    assert job.kind == KIND == GATE
    assert job_command(job)[1:] == ["-m", "app.gate_child", "--job", job.id, "--fence", job.fence]
    assert len({source["dataset_id"] for source in job.spec["sources"]}) == 3
    assert json.dumps(job.spec)


def test_what_cannot_work_is_said_before_the_job_is_written(console: Console, principal: Principal) -> None:
    for more, error in (
        ({"adapters": DEMO[:1]}, InvalidInputError),
        ({"adapters": (DEMO[0], DEMO[0])}, InvalidInputError),
        ({"adapters": (("nobody", None), DEMO[0])}, NotFoundError),
        ({"adapters": (("retailer_beta", "no such set"), DEMO[1])}, NotFoundError),
        ({"name": "a/b"}, InvalidInputError),
        ({"evaluation_rows": 1}, InvalidInputError),
    ):
        with pytest.raises(error):
            submit(console, principal, **more)
    with console.database.reading() as s:
        assert jobs.list_jobs(s, principal.tenant_id, kind=KIND) == []


def test_a_stop_leaves_the_job_to_the_next_attempt_and_a_cancel_ends_it(
    console: Console, principal: Principal
) -> None:
    job = claimed(console, submit(console, principal))
    stop = Stop()
    stop.request()
    assert attempt(console, job, stop) == job_child.INTERRUPTED
    with console.database.transaction() as s:
        jobs.request_cancel(s, principal.tenant_id, job.id, now=console.clock())
    assert attempt(console, job) == job_child.DONE
    assert ended(console, principal, job).state is JobState.CANCELLED
    assert gates.list_gates(console, principal) == []


def test_a_viewer_may_look_but_not_train(console: Console, principal: Principal, workspace: Any) -> None:
    viewer = workspace.principal(Role.VIEWER)
    assert gates.list_gates(console, viewer) == []
    with pytest.raises(PermissionDeniedError):
        submit(console, viewer)
    with pytest.raises(NotFoundError):
        gates.find_gate(console, viewer, "chooser")


@pytest.mark.slow
def test_the_router_over_the_demo_adapters_routes_right_and_is_promoted_because_it_is_better(
    console: Console, principal: Principal
) -> None:
    job = claimed(console, submit(console, principal, evaluation_rows=24))
    assert attempt(console, job) == job_child.DONE
    done = ended(console, principal, job)
    assert done.error is None
    assert done.result is not None
    gate = gates.find_gate(console, principal, done.result["gate_id"])
    routing = gate.report["routing"]
    assert routing["accuracy"]["low"] >= 0.95
    assert routing["n"] == 460
    assert routing["abstention"]["value"] < 0.02
    assert routing["calibration"]["ece"] < 0.05
    comparison = gate.report["comparison"]
    assert (comparison["n"], comparison["figure"]) == (24, "exact_match")
    assert gate.report["decision"]["promotable"] is True, gate.report["decision"]
    promoted = gates.promote_gate(console, principal, gate.id)
    assert promoted.state is GateState.PROMOTED
    with console.database.reading() as s:
        found = compose_gates.find_gate(s, principal.tenant_id, "chooser")
    router = compose_gates.read_router(found)
    places = {a.digest: a.name for a in found.adapters}
    for text, name in (
        ("Plan: Split 36850 GBP for Marrow over 10 weeks, best ROAS wins", "task_planning"),
        ("Write: Pomelia, frozen diapers", "brand_pomelia"),
    ):
        assert places[router.choose(_features(console, text)).chosen or ""] == name
    for foreign in ("What is the capital of France?", "Hello", "SELECT * FROM users WHERE id = 3;"):
        assert router.choose(_features(console, foreign)).reason == "foreign"


def _features(c: Console, text: str) -> tuple[float, ...]:
    from core.engine.records import Message

    return c.engine().features([Message("user", text)])
