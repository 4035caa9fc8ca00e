"""Federations: named compositions, versioned."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request

from app.actions import compositions
from app.api.composition_schemas import DiffOut, RollbackIn
from app.api.federation_examples import FEDERATIONS
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import FederationIn, FederationOut, Listed
from app.api.waiting import AnswerThreads
from core.compose.records import Federation

router = APIRouter(prefix="/composition", tags=["composition"], dependencies=KEY_NEEDED)
NAME = Path(min_length=1, max_length=200, description="Its name.", examples=["Alpha in Acme's voice"])
VERSION = Query(ge=1, le=10**9)


@router.get("/federations", summary="List federations", responses=errors())
def list_federations(console: TheConsole, caller: Caller) -> Listed[FederationOut]:
    """The newest version of each."""
    return _listed(compositions.list_federations(console, caller))


@router.post("/federations", status_code=201, summary="Save a federation", responses=errors(404, 409))
def save_federation(
    console: TheConsole, caller: Caller, body: Annotated[FederationIn, Body(openapi_examples=FEDERATIONS)]
) -> FederationOut:
    """A name that exists gets its next version. Use the name as `model` in a request.

    A name whose version was swapped or rolled back goes on with that one until it is swapped again.
    """
    saved = compositions.save_federation(console, caller, body.name, body.description, body.spec)
    return FederationOut.model_validate(saved)


@router.get("/federations/{name}", summary="One federation", responses=errors(404))
def get_federation(console: TheConsole, caller: Caller, name: Annotated[str, NAME]) -> FederationOut:
    """By id, by «name@2», or by name: the version that serves."""
    return FederationOut.model_validate(compositions.find_federation(console, caller, name))


@router.get("/federations/{name}/versions", summary="Versions of a federation", responses=errors(404))
def list_versions(console: TheConsole, caller: Caller, name: Annotated[str, NAME]) -> Listed[FederationOut]:
    """All of them, newest first."""
    return _listed(compositions.federation_versions(console, caller, name))


@router.get("/federations/{name}/diff", summary="What changed between two versions", responses=errors(404))
def diff_versions(
    console: TheConsole,
    caller: Caller,
    name: Annotated[str, NAME],
    older: Annotated[int, VERSION],
    newer: Annotated[int, VERSION],
) -> DiffOut:
    """Method, gate, adapters with weights and segments, stages."""
    return DiffOut.of(compositions.diff_federations(console, caller, name, older, newer))


@router.post("/federations/{name}/rollback", summary="Let an older version serve", responses=errors(404, 409))
async def roll_back(
    request: Request, console: TheConsole, caller: Caller, name: Annotated[str, NAME], body: RollbackIn
) -> FederationOut:
    """Answers the version that serves now. Going back to what served before is a flip; another one is tried first."""
    threads: AnswerThreads = request.app.state.answer_threads
    serves = await threads.run(lambda: compositions.rollback_federation(console, caller, name, body.version))
    return FederationOut.model_validate(serves)


def _listed(found: list[Federation]) -> Listed[FederationOut]:
    return Listed(items=[FederationOut.model_validate(federation) for federation in found])
