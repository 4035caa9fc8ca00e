"""Mappings: suggest, save, look into, put into use."""

from typing import Annotated

from fastapi import APIRouter, Body, Path

from app.actions import datasets, mappings
from app.api.mapping_schemas import (
    ActivateIn,
    MappingDetail,
    MappingIn,
    MappingOut,
    MappingVersionDetail,
    MappingVersionOut,
    SuggestIn,
    SuggestionOut,
    suggestion_out,
    version_detail,
)
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import Listed

router = APIRouter(prefix="/mappings", tags=["mappings"], dependencies=KEY_NEEDED)


@router.get("", summary="List mappings", responses=errors())
def list_mappings(console: TheConsole, caller: Caller) -> Listed[MappingOut]:
    """Newest first, each with the version in use and the coverage of its newest run."""
    return Listed(items=[MappingOut.model_validate(each) for each in mappings.list_mappings(console, caller)])


@router.post("", status_code=201, summary="Save a mapping", responses=errors())
def save_mapping(console: TheConsole, caller: Caller, body: MappingIn) -> MappingVersionDetail:
    """A name that exists gets its next version; rules that were saved under it before are that version again."""
    saved = mappings.save_mapping(
        console, caller, name=body.name, mapping=body.mapping, note=body.note, activate=body.activate
    )
    return version_detail(saved)


@router.post("/suggest", summary="Suggest a mapping", responses=errors(404))
def suggest_mapping(console: TheConsole, caller: Caller, body: SuggestIn) -> Listed[SuggestionOut]:
    """A rule for every column of a raw file, in the order of the file. Learns from the mappings that are in use."""
    dataset = datasets.find_dataset(console, caller, body.dataset)
    found = mappings.suggest_for_dataset(
        console, caller, dataset.id, card=body.card, documents=body.documents
    )
    return Listed(items=[suggestion_out(each) for each in found])


@router.get("/{mapping_id}", summary="One mapping with its versions", responses=errors(404))
def get_mapping(console: TheConsole, caller: Caller, mapping_id: str) -> MappingDetail:
    """Versions newest first, without their rules."""
    found = MappingOut.model_validate(mappings.get_mapping(console, caller, mapping_id))
    versions = mappings.list_versions(console, caller, mapping_id)
    return MappingDetail(
        **found.model_dump(), versions=[MappingVersionOut.model_validate(each) for each in versions]
    )


@router.get("/{mapping_id}/versions/{version}", summary="One version of a mapping", responses=errors(404))
def get_version(
    console: TheConsole,
    caller: Caller,
    mapping_id: str,
    version: int = Path(ge=1, lt=2**31, description="Number of the version."),
) -> MappingVersionDetail:
    """With its rules, as a mapping file has them."""
    return version_detail(mappings.get_version(console, caller, mapping_id, version))


@router.post("/{mapping_id}/activate", summary="Put a version into use", responses=errors(404))
def activate(
    console: TheConsole,
    caller: Caller,
    mapping_id: str,
    body: Annotated[
        ActivateIn | None, Body(openapi_examples={"the second": {"value": {"version": 2}}})
    ] = None,
) -> MappingVersionDetail:
    """The version that was in use is retired. Without a number the newest is taken."""
    number = None if body is None else body.version
    return version_detail(mappings.activate_mapping(console, caller, mapping_id, number))
