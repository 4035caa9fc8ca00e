"""What the routes of mappings and harmonized rows take and answer."""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.actions.harmonize import RowFormat
from app.api.schemas import Answered, DatasetOut
from core.datasets import raw
from core.datasets.records import Dataset
from core.errors import InvalidInputError
from core.harmonize.records import Mapping, MappingState, Qualifier, SourceCard
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.harmonize.suggest.suggest import Suggestion

EXAMPLE_MAPPING: dict[str, Any] = {
    "retailer": "North Stores",
    "network": "North Ads",
    "report": "campaign_daily",
    "account_timezone": "America/Chicago",
    "currency": "USD",
    "headline": {"window_click_days": 14},
    "rules": [
        {
            "source_field": "Date",
            "target": "ts",
            "transform": {
                "op": "to_utc",
                "format": "%Y-%m-%d",
                "source_tz": "account_timezone",
                "grain": "day",
            },
        },
        {"source_field": "Campaign ID", "target": "campaign_id", "transform": {"op": "string_id"}},
        {"source_field": "Spend", "target": "cost", "transform": {"op": "divide", "by": 1000000}},
        {
            "source_field": "14 Day Sales",
            "target": "attributed_sales",
            "transform": {"op": "parse_number"},
            "qualifiers": {"window_click_days": 14, "touch": "click"},
        },
    ],
}
EXAMPLE_CARD: dict[str, Any] = {
    "retailer": "North Stores",
    "network": "North Ads",
    "account_timezone": "America/Chicago",
}


class RawDatasetOut(DatasetOut):
    """A raw export of your workspace."""

    format: str
    columns: list[str]
    broken_rows: int = Field(description="Rows that cannot be read; harmonizing lists them.")
    notes: list[str] = Field(description="What was assumed while the file was read.")
    source_card: SourceCard | None = Field(description="Given, or said by the lines above the header.")


class MappingIn(BaseModel):
    """A mapping to save under a name. Saving a name again makes its next version."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "north campaign daily",
                    "note": "Spend is in micros",
                    "activate": True,
                    "mapping": EXAMPLE_MAPPING,
                }
            ]
        },
    )

    name: str = Field(min_length=1, max_length=200, description="Without slashes and without @.")
    mapping: Mapping = Field(description="RMIS §3; its `version` is replaced by the number it gets here.")
    note: str = Field("", max_length=2000, description="What is new in this version.")
    activate: bool = Field(False, description="Put it into use at once.")


class ActivateIn(BaseModel):
    """Which version to put into use."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2}]})

    version: int | None = Field(None, ge=1, lt=2**31, description="The newest if left out.")


class SuggestIn(BaseModel):
    """A raw file of the library, and what is known of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "dataset": "ds_01h…",
                    "card": EXAMPLE_CARD,
                    "documents": {"Spend": "Advertiser cost in micros of the account currency."},
                }
            ]
        },
    )

    dataset: str = Field(min_length=1, max_length=200, description="Id or name of a dataset of kind events.")
    card: SourceCard | None = Field(None, description="That of the dataset if left out.")
    documents: dict[str, str] = Field(
        default_factory=dict, max_length=5000, description="What the report's description says of a column."
    )


class HarmonizeIn(BaseModel):
    """A dataset to harmonize with a saved mapping."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"dataset": "north_march", "mapping": "north campaign daily", "format": "parquet"}]
        },
    )

    dataset: str = Field(min_length=1, max_length=200, description="Id or name of a dataset of kind events.")
    mapping: str = Field(
        min_length=1, max_length=240, description="Id, name (the version in use), or name@version."
    )
    format: RowFormat = Field("parquet", description="Format of the rows that come out.")
    card: SourceCard | None = Field(None, description="Counts for more than the card of the dataset.")


class MappingOut(Answered):
    """A saved mapping of your workspace."""

    id: str
    name: str
    retailer: str
    network: str
    report: str
    latest_version: int
    active_version: int | None = Field(description="The version in use.")
    coverage: float | None = Field(description="Share of the columns that its newest run covered, 0 to 1.")
    created_at: datetime


class MappingVersionOut(Answered):
    """A version of a mapping, without its rules."""

    id: str
    mapping_id: str
    name: str
    version: int
    state: MappingState
    digest: str = Field(description="SHA-256 of everything that it says but for its version.")
    note: str
    author: str
    created_at: datetime


class MappingVersionDetail(MappingVersionOut):
    """A version of a mapping as RMIS §3 writes it. It never changes."""

    mapping: dict[str, Any]


class MappingDetail(MappingOut):
    """A saved mapping with its versions, newest first."""

    versions: list[MappingVersionOut]


class AlternativeOut(BaseModel):
    """Another target that was considered."""

    target: str | None
    confidence: float


class SuggestionOut(BaseModel):
    """A rule that is proposed for a column."""

    source_field: str
    target: str | None
    transform: dict[str, Any]
    qualifiers: dict[str, Qualifier]
    confidence: float = Field(ge=0, le=1)
    reason: str
    abstained: bool = Field(description="Nothing is proposed: the evidence is too weak.")
    question: str | None = Field(
        None, description="What only a person can say: a zone, a decimal sign, a code."
    )
    alternatives: list[AlternativeOut]


class HarmonizedRunOut(Answered):
    """Rows that came out of a dataset and a version of a mapping."""

    id: str
    dataset_id: str
    dataset_digest: str
    mapping_version_id: str
    mapping_label: str = Field(description="name@version")
    mapping_digest: str
    job_id: str | None
    digest: str = Field(description="SHA-256 of the file of rows.")
    size_bytes: int
    rows_in: int
    rows_out: int
    coverage: float
    report: dict[str, Any] = Field(description="Totals of every measure, findings, and what was left out.")
    created_by: str
    created_at: datetime


def raw_dataset_out(dataset: Dataset) -> RawDatasetOut:
    """With its columns, and what was found while it was read."""
    return RawDatasetOut(
        **DatasetOut.model_validate(dataset).model_dump(),
        format=str(dataset.card.get("format", "")),
        columns=[str(column["name"]) for column in dataset.card.get("columns", [])],
        broken_rows=int(dataset.card.get("broken_rows", 0)),
        notes=[str(note) for note in dataset.card.get("notes", [])],
        source_card=raw.source_card_of(dataset),
    )


def read_card_field(text: str | None) -> SourceCard | None:
    """A card that was sent as JSON in a form. Raises InvalidInputError."""
    if not text or not text.strip():
        return None
    try:
        return SourceCard.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        reasons = (
            [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            if isinstance(error, ValidationError)
            else ["it is no JSON object"]
        )
        raise InvalidInputError(
            "The source card is not valid.",
            f"{'; '.join(reasons)[:500]}.",
            "Correct the card and send it again.",
        ) from None


def version_detail(version: MappingVersion) -> MappingVersionDetail:
    """With its rules."""
    told = MappingVersionOut.model_validate(version).model_dump()
    return MappingVersionDetail(**told, mapping=version.mapping.plain())


def run_out(run: HarmonizedRun) -> HarmonizedRunOut:
    """Without the place of its file."""
    return HarmonizedRunOut.model_validate(run)


def suggestion_out(found: Suggestion) -> SuggestionOut:
    """As the suggester says it."""
    return SuggestionOut.model_validate(found.plain())
