"""Mappings that a tenant has saved, their versions, and the runs that used them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.harmonize.records import Mapping, MappingState


@dataclass(frozen=True, slots=True)
class SavedMapping:
    """A mapping under its name. `coverage` is that of its newest run: 0 to 1, or None before the first.

    `retailer`, `network` and `report` are those of its newest version.
    """

    id: str
    tenant_id: str
    name: str
    retailer: str
    network: str
    report: str
    latest_version: int
    active_version: int | None
    coverage: float | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """One version of a saved mapping; `mapping` never changes. `digest` covers all of it but the version."""

    id: str
    tenant_id: str
    mapping_id: str
    name: str
    version: int
    digest: str
    mapping: Mapping
    state: MappingState
    note: str
    author: str
    created_at: datetime

    @property
    def label(self) -> str:
        """How it is named everywhere: `name@version`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class HarmonizedRun:
    """Rows that came out of a dataset and a version of a mapping.

    `path` lies below the folder of harmonized files; `digest` is the SHA-256 of that file. `report` is the
    run's HarmonizeReport as plain data.
    """

    id: str
    tenant_id: str
    dataset_id: str
    dataset_digest: str
    mapping_version_id: str
    mapping_label: str
    mapping_digest: str
    job_id: str | None
    path: str
    digest: str
    size_bytes: int
    rows_in: int
    rows_out: int
    coverage: float
    report: dict[str, Any]
    created_by: str
    created_at: datetime
