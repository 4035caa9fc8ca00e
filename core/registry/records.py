"""Adapters, base models and the manifest that travels with an adapter."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AdapterType(StrEnum):
    """What an adapter teaches the base."""

    RETAILER = "retailer"
    TASK = "task"
    BRAND = "brand"
    DOMAIN = "domain"


class AdapterState(StrEnum):
    """ACTIVE serves; QUARANTINED is kept but refused: its bytes changed; ARCHIVED is hidden from choice."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    ARCHIVED = "archived"


class AdapterSource(StrEnum):
    """Where an adapter came from."""

    TRAINED = "trained"
    IMPORTED = "imported"
    SHIPPED = "shipped"


class Manifest(BaseModel):
    """`manifest.json` beside the weights: what an adapter is and how it came to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    type: AdapterType
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="Content digest: weights and adapter_config together."
    )
    base_name: str
    base_digest: str
    rank: int = Field(ge=1)
    target_modules: list[str]
    parameters: int = Field(ge=1)
    simulated: bool = Field(False, description="Trained on simulated data.")
    created_at: datetime
    dataset_name: str | None = None
    dataset_digest: str | None = None
    parents: list[str] = Field(
        default_factory=list, description="Digests of adapters this one was trained on top of."
    )
    training_spec: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    training: dict[str, Any] | None = Field(None, description="Seconds, steps, tokens, final loss.")
    versions: dict[str, str] = Field(
        default_factory=dict, description="Versions of the libraries that made it."
    )


@dataclass(frozen=True, slots=True)
class Adapter:
    """A registered adapter of a tenant. `digest` names its content; `path` is the folder that holds it."""

    id: str
    tenant_id: str
    name: str
    version: int
    type: AdapterType
    state: AdapterState
    source: AdapterSource
    digest: str
    base_name: str
    base_digest: str
    path: str
    size_bytes: int
    parameters: int
    rank: int
    simulated: bool
    job_id: str | None
    dataset_digest: str | None
    manifest: Manifest
    created_at: datetime

    @property
    def label(self) -> str:
        """Name and version, as shown."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class BaseModelCard:
    """A base model that this installation can name. `digest` is None for one that is not on this disk yet."""

    name: str
    source: str
    digest: str | None
    parameters: int | None
    size_bytes: int | None
    shipped: bool
    description: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where an adapter comes from, what was built on it. `missing_parents`: digests not in this tenant."""

    adapter: Adapter
    parents: tuple[Adapter, ...]
    missing_parents: tuple[str, ...]
    children: tuple[Adapter, ...]
    versions: tuple[Adapter, ...]
    dataset_name: str | None
    dataset_digest: str | None
    job_id: str | None
