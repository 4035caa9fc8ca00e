"""Experiments: compare compositions on real traffic, and let the numbers say when to stop."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request

from app.actions import experiments, offline
from app.api.ab_testing_requests import (
    AdviceIn,
    AdviceOut,
    AssignIn,
    AssignOut,
    ImpressionIn,
    OfflineIn,
    OfflineOut,
    RecordedOut,
)
from app.api.ab_testing_results import ResultsOut
from app.api.ab_testing_schemas import ExperimentIn, ExperimentOut, PromoteIn, ReasonIn, ShareIn
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors, threads_of
from app.api.schemas import Listed

router = APIRouter(prefix="/ab-testing", tags=["experiments"], dependencies=KEY_NEEDED)
WHY = Body(openapi_examples={"reason": {"summary": "Why", "value": {"reason": "A holiday."}}})
WHICH = Body(openapi_examples={"variant": {"summary": "This variant", "value": {"variant_id": "v2"}}})
ExperimentId = Annotated[str, Path(max_length=64, description="Id of an experiment.")]


@router.post("/experiments", status_code=201, summary="Create an experiment", responses=errors(404, 409))
def create(console: TheConsole, caller: Caller, body: ExperimentIn) -> ExperimentOut:
    """A draft: nothing runs before it is started. The first variant is the control."""
    return ExperimentOut.of(experiments.create_experiment(console, caller, body.draft()))


@router.get("/experiments", summary="List experiments", responses=errors())
def list_all(
    console: TheConsole,
    caller: Caller,
    include_archived: Annotated[bool, Query(description="Those put away, too.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listed[ExperimentOut]:
    """Newest first."""
    found = experiments.list_experiments(console, caller, include_archived=include_archived, limit=limit)
    return Listed(items=[ExperimentOut.of(each) for each in found])


@router.get("/experiments/{experiment_id}", summary="Read an experiment", responses=errors(404))
def read(console: TheConsole, caller: Caller, experiment_id: ExperimentId) -> ExperimentOut:
    """Its plan and its state."""
    return ExperimentOut.of(experiments.get_experiment(console, caller, experiment_id))


@router.put("/experiments/{experiment_id}", summary="Change a draft", responses=errors(404, 409))
def change(
    console: TheConsole, caller: Caller, experiment_id: ExperimentId, body: ExperimentIn
) -> ExperimentOut:
    """Once it has started its plan is fixed: 409."""
    return ExperimentOut.of(experiments.change_experiment(console, caller, experiment_id, body.draft()))


@router.delete("/experiments/{experiment_id}", summary="Put an experiment away", responses=errors(404, 409))
def archive(console: TheConsole, caller: Caller, experiment_id: ExperimentId) -> ExperimentOut:
    """A draft, or one that has ended. Its sums and its history stay; single requests and units are deleted."""
    return ExperimentOut.of(experiments.archive_experiment(console, caller, experiment_id))


@router.post("/experiments/{experiment_id}/start", summary="Start", responses=errors(404, 409))
def start(console: TheConsole, caller: Caller, experiment_id: ExperimentId) -> ExperimentOut:
    """From now on its plan is fixed, and its variants are what they are at this moment."""
    return ExperimentOut.of(experiments.start_experiment(console, caller, experiment_id))


@router.post("/experiments/{experiment_id}/pause", summary="Pause", responses=errors(404, 409))
def pause(
    console: TheConsole,
    caller: Caller,
    experiment_id: ExperimentId,
    body: Annotated[ReasonIn | None, WHY] = None,
) -> ExperimentOut:
    """Everybody gets the control and nothing is counted."""
    told = body.reason if body else ""
    return ExperimentOut.of(experiments.pause_experiment(console, caller, experiment_id, told))


@router.post("/experiments/{experiment_id}/resume", summary="Resume", responses=errors(404, 409))
def resume(console: TheConsole, caller: Caller, experiment_id: ExperimentId) -> ExperimentOut:
    """Every unit gets the variant that it had."""
    return ExperimentOut.of(experiments.resume_experiment(console, caller, experiment_id))


@router.post("/experiments/{experiment_id}/stop", summary="Stop", responses=errors(404, 409))
def stop(
    console: TheConsole,
    caller: Caller,
    experiment_id: ExperimentId,
    body: Annotated[ReasonIn | None, WHY] = None,
) -> ExperimentOut:
    """Its numbers are final."""
    told = body.reason if body else ""
    return ExperimentOut.of(experiments.stop_experiment(console, caller, experiment_id, told))


@router.post("/experiments/{experiment_id}/ramp", summary="Let more traffic in", responses=errors(404, 409))
def ramp(console: TheConsole, caller: Caller, experiment_id: ExperimentId, body: ShareIn) -> ExperimentOut:
    """Nobody who is in moves; a share that falls is refused."""
    return ExperimentOut.of(experiments.raise_share(console, caller, experiment_id, body.share))


@router.post(
    "/experiments/{experiment_id}/promote", summary="Let a variant serve", responses=errors(404, 409)
)
async def promote(
    request: Request,
    console: TheConsole,
    caller: Caller,
    experiment_id: ExperimentId,
    body: Annotated[PromoteIn | None, WHICH] = None,
) -> ExperimentOut:
    """By a hot swap, where the experiment serves a name. Without `variant_id`: the winner."""
    threads, chosen = threads_of(request, console, caller), body.variant_id if body else None
    found = await threads.run(lambda: experiments.promote_experiment(console, caller, experiment_id, chosen))
    return ExperimentOut.of(found)


@router.post(
    "/experiments/{experiment_id}/rollback", summary="Back to the control", responses=errors(404, 409)
)
async def roll_back(
    request: Request,
    console: TheConsole,
    caller: Caller,
    experiment_id: ExperimentId,
    body: Annotated[ReasonIn | None, WHY] = None,
) -> ExperimentOut:
    """Ends an experiment that runs; swaps back what was promoted."""
    threads, told = threads_of(request, console, caller), body.reason if body else ""
    found = await threads.run(lambda: experiments.roll_back_experiment(console, caller, experiment_id, told))
    return ExperimentOut.of(found)


@router.get("/experiments/{experiment_id}/results", summary="What it says now", responses=errors(404))
def results(console: TheConsole, caller: Caller, experiment_id: ExperimentId) -> ResultsOut:
    """Valid however often it is asked, in the modes always_valid and hybrid. The chi-square among the statistical tests
    holds for one look only and decides nothing."""
    return ResultsOut.of(experiments.get_experiment_results(console, caller, experiment_id))


@router.post("/assign", summary="The variant of a user", responses=errors(404))
def assign(console: TheConsole, caller: Caller, body: AssignIn) -> AssignOut:
    """The same user (or session, or request) always gets the same variant; the first time counts as exposure."""
    found = experiments.assign_variant(
        console,
        caller,
        body.experiment_id,
        body.user_id,
        body.context,
        session_id=body.session_id,
        event_id=body.event_id,
    )
    return AssignOut(
        experiment_id=found.experiment_id,
        variant=found.variant,
        outside=None if found.outside is None else found.outside.value,
        propensity=found.propensity,
    )


@router.post(
    "/impressions", status_code=201, summary="Record what came of a request", responses=errors(404, 409)
)
def record(console: TheConsole, caller: Caller, body: ImpressionIn) -> RecordedOut:
    """Counted once for each `event_id`; what is sent later of the same event adds what is not there yet. Requests that
    name the experiment as their model are recorded by themselves, under their request id."""
    return RecordedOut.model_validate(
        experiments.record_impression(
            console,
            caller,
            body.experiment_id,
            body.variant_id,
            body.success,
            body.latency_ms,
            body.feedback_score,
            body.user_id,
            body.event_id,
            body.metrics,
            body.context,
            session_id=body.session_id,
        )
    )


@router.post("/advice", summary="How long an experiment would take", responses=errors())
def advise(console: TheConsole, caller: Caller, body: AdviceIn) -> AdviceOut:
    """Nothing is kept. Units per variant to see a difference, and days with your traffic."""
    found = experiments.advise(
        console,
        caller,
        body.experiment.draft(),
        baseline=body.baseline,
        difference=body.difference,
        units_per_day=body.units_per_day,
        spread=body.spread,
        power=body.power,
    )
    return AdviceOut.model_validate(found)


@router.post("/offline", summary="Compare two compositions on the same prompts", responses=errors(404, 409))
async def compare(request: Request, console: TheConsole, caller: Caller, body: OfflineIn) -> OfflineOut:
    """Both answer every prompt; each answer is right or not. Waits until all are there."""
    threads = threads_of(request, console, caller)
    found = await threads.run(
        lambda: offline.compare_offline(
            console,
            caller,
            body.control.draft().composition,
            body.treatment.draft().composition,
            body.prompts,
            scorer=body.scorer,
            max_new_tokens=body.max_new_tokens,
        )
    )
    return OfflineOut.of(found)
