"""What the API answers with. Server paths and hashes of credentials are never part of it."""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from core.compose.records import CompositionSpec
from core.datasets.records import Dataset, DatasetKind
from core.jobs.records import Job, JobState
from core.registry.records import Adapter, AdapterSource, AdapterState, AdapterType, Manifest
from core.tenants.records import Role

Item = TypeVar("Item")


class Answered(BaseModel):
    """Read from records by attribute."""

    model_config = ConfigDict(from_attributes=True)


class Listed(BaseModel, Generic[Item]):
    """A list, newest first."""

    items: list[Item]


class ErrorDetail(BaseModel):
    """What happened, why, and what to do next."""

    code: str = Field(description="Stable name of the kind of error.", examples=["not_found"])
    what: str
    why: str
    next_step: str
    request_id: str


class ErrorBody(BaseModel):
    """Every error looks like this."""

    error: ErrorDetail


class HealthOut(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"
    version: str


class PartOut(BaseModel):
    """One part that is needed to serve."""

    name: str
    ready: bool
    reason: str = ""


class ReadyOut(BaseModel):
    """Whether requests can be served now, and if not, why."""

    ready: bool
    parts: list[PartOut]


class AdapterOut(Answered):
    """An adapter of your workspace."""

    id: str
    name: str
    version: int
    label: str
    type: AdapterType
    state: AdapterState
    source: AdapterSource
    digest: str = Field(description="SHA-256 of weights and configuration.")
    base_name: str
    base_digest: str
    size_bytes: int
    parameters: int
    rank: int
    simulated: bool = Field(description="Trained on simulated data.")
    job_id: str | None
    dataset_digest: str | None
    created_at: datetime


class AdapterDetail(AdapterOut):
    """An adapter with the manifest that travels with it: training, evaluation, lineage."""

    manifest: Manifest


class DatasetOut(Answered):
    """A dataset of your workspace."""

    id: str
    name: str
    title: str
    kind: DatasetKind
    adapter_type: str | None
    description: str
    simulated: bool
    digest: str
    size_bytes: int
    rows: int
    created_at: datetime


class JobErrorOut(Answered):
    """Why a job failed."""

    what: str
    why: str
    next_step: str


class JobOut(Answered):
    """A training job: where it stands and, once it has ended, how."""

    id: str
    kind: str
    name: str
    state: JobState
    stage: str
    step: int
    total_steps: int
    progress: float = Field(ge=0, le=1)
    eta_s: float | None
    attempt: int
    cancel_requested: bool
    submitted_by: str
    spec: dict[str, Any]
    result: dict[str, Any] | None
    error: JobErrorOut | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class PointOut(Answered):
    """One reading of a training curve."""

    step: int
    at: datetime
    loss: float | None
    validation_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens_per_s: float | None


class FederationOut(Answered):
    """A saved composition. Saving a name again makes its next version."""

    id: str
    name: str
    version: int
    description: str
    spec: CompositionSpec
    created_by: str
    created_at: datetime


class FederationIn(BaseModel):
    """A composition to save under a name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Alpha in Acme's voice",
                    "description": "Records of Retailer Alpha, copy in the brand's tone",
                    "spec": {
                        "terms": [
                            {"adapter": "retailer_alpha", "weight": 1.0},
                            {"adapter": "brand_voice", "weight": 0.5},
                        ]
                    },
                }
            ]
        },
    )

    name: str = Field(min_length=1, max_length=100)
    description: str = Field("", max_length=1000)
    spec: CompositionSpec


class RegistrationIn(BaseModel):
    """A new workspace and its first administrator."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "North Stores", "admin_email": "ops@north.example", "admin_name": "Operations"}
            ]
        },
    )

    name: str = Field(min_length=1, max_length=100)
    admin_email: str = Field(min_length=3, max_length=254)
    admin_name: str = Field("Administrator", min_length=1, max_length=100)


class RegistrationOut(BaseModel):
    """The new workspace, with the secret of its first key. The secret is shown this once."""

    tenant_id: str
    tenant_slug: str
    name: str
    admin_user_id: str
    admin_email: str
    api_key: str = Field(description="Keep it now: it is stored nowhere.")
    api_key_role: Role


def adapter_out(adapter: Adapter) -> AdapterOut:
    """As the list shows it."""
    return AdapterOut.model_validate(adapter)


def dataset_out(dataset: Dataset) -> DatasetOut:
    """Without the path of its file."""
    return DatasetOut.model_validate(dataset)


def job_out(job: Job) -> JobOut:
    """Without what only the worker needs."""
    return JobOut.model_validate(job)


__all__ = [
    "AdapterDetail",
    "AdapterOut",
    "DatasetOut",
    "ErrorBody",
    "FederationIn",
    "FederationOut",
    "HealthOut",
    "JobOut",
    "Listed",
    "PartOut",
    "PointOut",
    "ReadyOut",
    "RegistrationIn",
    "RegistrationOut",
    "adapter_out",
    "dataset_out",
    "job_out",
]
