"""Which version serves, what is ready, and what is in memory."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.actions import composing, compositions
from app.api.composition_schemas import (
    ComposeIn,
    CompositionIn,
    CompositionStatsOut,
    PreparationOut,
    SwapIn,
    SwapOut,
)
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors, threads_of
from app.api.schemas import Listed
from app.bootstrap import Console
from core.compose.swap_records import Swap
from core.errors import InvalidInputError
from core.serve.composing import Preparation
from core.tenants.records import Principal

router = APIRouter(prefix="/composition", tags=["composition"], dependencies=KEY_NEEDED)


@router.post("/swap", summary="Swap the version of a name", responses=errors(404, 409))
async def swap(request: Request, console: TheConsole, caller: Caller, body: SwapIn) -> SwapOut:
    """The new version is checked, built beside the old one and tried; then the name means it, and no request fails.

    Answers once requests that began with the old version are over.
    """
    threads = threads_of(request, console, caller)
    return SwapOut.model_validate(await threads.run(lambda: _swap(console, caller, body)))


@router.get("/swaps", summary="List swaps", responses=errors())
def list_swaps(
    console: TheConsole,
    caller: Caller,
    name: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listed[SwapOut]:
    """Newest first, also those that failed, with the reason."""
    found = compositions.list_swaps(console, caller, name=name, limit=limit)
    return Listed(items=[SwapOut.model_validate(each) for each in found])


@router.get("/stats", summary="Cache and memory", responses=errors())
async def stats(request: Request, console: TheConsole, caller: Caller) -> CompositionStatsOut:
    """How often a composition was ready, against the best possible; what of your adapters is in memory."""
    threads = threads_of(request, console, caller)
    return CompositionStatsOut.of(await threads.run(lambda: composing.memory_view(console, caller)))


@router.post("/prefetch", status_code=202, summary="Prepare what will be wanted", responses=errors(404, 409))
async def prefetch(
    request: Request, console: TheConsole, caller: Caller, body: CompositionIn
) -> PreparationOut:
    """In the background, after everything more urgent."""
    threads = threads_of(request, console, caller)
    asked = await threads.run(lambda: composing.prefetch(console, caller, model=body.model, spec=body.spec()))
    return PreparationOut.of(asked, body.note())


@router.post("/compose", status_code=202, summary="Have a composition ready", responses=errors(404, 409))
async def compose(request: Request, console: TheConsole, caller: Caller, body: ComposeIn) -> PreparationOut:
    """Answers at once with an id to ask again, or with `wait` when it is ready."""
    threads = threads_of(request, console, caller)
    return PreparationOut.of(await threads.run(lambda: _compose(console, caller, body)), body.note())


@router.get("/compose/{preparation_id}", summary="How far a preparation is", responses=errors(404))
def get_preparation(console: TheConsole, caller: Caller, preparation_id: str) -> PreparationOut:
    """Of this process; it forgets the oldest."""
    return PreparationOut.of(composing.get_preparation(console, caller, preparation_id))


@router.delete("/compose/{preparation_id}", summary="Cancel a preparation", responses=errors(404))
def cancel_preparation(console: TheConsole, caller: Caller, preparation_id: str) -> PreparationOut:
    """One that is over stays as it is."""
    return PreparationOut.of(composing.cancel_preparation(console, caller, preparation_id))


def _swap(console: Console, caller: Principal, body: SwapIn) -> Swap:
    if body.old_adapter_id is not None and body.new_adapter_id is not None:
        return compositions.swap_between(
            console, caller, body.old_adapter_id, body.new_adapter_id, warm=body.warm_swap
        )
    if body.name is None or body.to_version is None:  # SwapIn has seen to it
        raise InvalidInputError("The swap names no version.", "", "Give name and to_version.")
    return compositions.swap(console, caller, body.kind, body.name, body.to_version, warm=body.warm_swap)


def _compose(console: Console, caller: Principal, body: ComposeIn) -> Preparation:
    if body.wait:
        return composing.compose_sync(console, caller, model=body.model, spec=body.spec())
    return composing.compose_async(
        console, caller, model=body.model, spec=body.spec(), priority=body.priority
    )
