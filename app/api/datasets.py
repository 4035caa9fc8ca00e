"""Datasets: list and import training files and raw exports."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile

from app.actions import datasets
from app.api.mapping_schemas import RawDatasetOut, raw_dataset_out, read_card_field
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import DatasetOut, Listed, dataset_out
from core.datasets.records import DatasetKind
from core.registry.records import AdapterType

router = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=KEY_NEEDED)


@router.get("", summary="List datasets", responses=errors())
def list_datasets(
    console: TheConsole,
    caller: Caller,
    kind: Annotated[DatasetKind | None, Query(description="Only those of this kind.")] = None,
) -> Listed[DatasetOut]:
    """Newest first."""
    found = datasets.list_datasets(console, caller, kind)
    return Listed(items=[dataset_out(dataset) for dataset in found])


@router.post("", status_code=201, summary="Import a training file", responses=errors(409))
def import_dataset(
    console: TheConsole,
    caller: Caller,
    file: Annotated[UploadFile, File(description="JSONL, JSON or CSV, plain or gzipped.")],
    name: Annotated[str, Form(min_length=1, max_length=200)],
    adapter_type: Annotated[
        AdapterType | None, Form(description="What an adapter should learn from it.")
    ] = None,
) -> DatasetOut:
    """Prompt and completion, messages, or chosen and rejected. Every row must be readable; wrong lines are named."""
    return dataset_out(datasets.import_dataset(console, caller, file.file, name, adapter_type))


@router.post("/raw", status_code=201, summary="Import a raw export", responses=errors())
def import_raw(
    console: TheConsole,
    caller: Caller,
    file: Annotated[
        UploadFile,
        File(description="CSV, TSV, JSON, JSONL, Parquet or XLSX, also gzipped; as the retailer made it."),
    ],
    name: Annotated[str, Form(min_length=1, max_length=200)],
    card: Annotated[
        str | None,
        Form(
            max_length=20_000,
            description="What the file does not say, as JSON: retailer, network, report, account_timezone, "
            "currency, headline.",
            examples=['{"retailer": "North Stores", "account_timezone": "America/Chicago"}'],
        ),
    ] = None,
) -> RawDatasetOut:
    """A dataset of kind events, to be harmonized. Broken rows are counted and named, never a reason to refuse."""
    return raw_dataset_out(datasets.import_raw(console, caller, file.file, name, read_card_field(card)))
