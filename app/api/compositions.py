"""Federations: named compositions, versioned."""

from fastapi import APIRouter

from app.actions import compositions
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import FederationIn, FederationOut, Listed

router = APIRouter(prefix="/composition", tags=["composition"], dependencies=KEY_NEEDED)


@router.get("/federations", summary="List federations", responses=errors())
def list_federations(console: TheConsole, caller: Caller) -> Listed[FederationOut]:
    """The newest version of each."""
    found = compositions.list_federations(console, caller)
    return Listed(items=[FederationOut.model_validate(federation) for federation in found])


@router.post("/federations", status_code=201, summary="Save a federation", responses=errors(404, 409))
def save_federation(console: TheConsole, caller: Caller, body: FederationIn) -> FederationOut:
    """A name that exists gets its next version. Use the name as `model` in a request."""
    saved = compositions.save_federation(console, caller, body.name, body.description, body.spec)
    return FederationOut.model_validate(saved)
