"""Adapters: list, look into, import, export."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse

from app.actions import adapters
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import AdapterDetail, AdapterOut, Listed, adapter_out
from core.registry.records import AdapterType

router = APIRouter(prefix="/adapters", tags=["adapters"], dependencies=KEY_NEEDED)


@router.get("", summary="List adapters", responses=errors())
def list_adapters(
    console: TheConsole,
    caller: Caller,
    type: Annotated[AdapterType | None, Query(description="Only those of this type.")] = None,
    include_archived: bool = False,
) -> Listed[AdapterOut]:
    """Newest first."""
    found = adapters.list_adapters(console, caller, type=type, include_archived=include_archived)
    return Listed(items=[adapter_out(adapter) for adapter in found])


@router.get("/{adapter_id}", summary="One adapter with its manifest", responses=errors(404))
def get_adapter(console: TheConsole, caller: Caller, adapter_id: str) -> AdapterDetail:
    """Training, evaluation and lineage are in the manifest."""
    return AdapterDetail.model_validate(adapters.get_adapter(console, caller, adapter_id))


@router.post("", status_code=201, summary="Import an adapter", responses=errors(409))
def import_adapter(
    console: TheConsole,
    caller: Caller,
    file: Annotated[
        UploadFile, File(description="A zip as the export makes it, or adapter_model.safetensors.")
    ],
    config: Annotated[
        UploadFile | None, File(description="adapter_config.json, when `file` is a safetensors file.")
    ] = None,
    name: Annotated[str | None, Form(description="Needed when there is no manifest in the zip.")] = None,
    type: Annotated[
        AdapterType | None, Form(description="Needed when there is no manifest in the zip.")
    ] = None,
) -> AdapterDetail:
    """LoRA in PEFT's safetensors format, made for the base that runs here. Verified before anything is kept."""
    adapter = adapters.import_adapter(
        console, caller, file.file, name=name, type=type, config=None if config is None else config.file
    )
    return AdapterDetail.model_validate(adapter)


@router.get(
    "/{adapter_id}/export",
    summary="Download an adapter",
    response_class=FileResponse,
    responses={
        **errors(404),
        200: {
            "description": "A zip with weights, configuration, manifest and card.",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def export_adapter(console: TheConsole, caller: Caller, adapter_id: str) -> FileResponse:
    """The same adapter gives the same bytes."""
    path = adapters.export_adapter(console, caller, adapter_id)
    return FileResponse(path, media_type="application/zip", filename=path.name)
