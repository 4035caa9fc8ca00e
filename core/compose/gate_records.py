"""A trained gate, its states, and what it chooses among."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.compose.records import GateKind


class GateState(StrEnum):
    """CANDIDATE is trained and may be tried; PROMOTED answers for its name; RETIRED: another version does."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class GateAdapter:
    """One adapter that a gate was trained with: its content, and what it was called then."""

    digest: str
    name: str
    version: int

    @property
    def label(self) -> str:
        """Name and version, as shown."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class Gate:
    """One version of a gate of a tenant, never changed but for its state.

    `digest` is that of its weights file at `path`, which names the base and the adapters too; `adapters` are in the
    order of its classes or gains. `report` is what `core.compose.gate_report` made of its evaluation.
    """

    id: str
    tenant_id: str
    name: str
    version: int
    kind: GateKind
    state: GateState
    base_digest: str
    digest: str
    path: str
    adapters: tuple[GateAdapter, ...]
    report: Mapping[str, Any]
    job_id: str | None
    created_by: str
    created_at: datetime

    @property
    def label(self) -> str:
        """Name and version, as shown."""
        return f"{self.name} v{self.version}"

    @property
    def adapter_digests(self) -> tuple[str, ...]:
        """The digests of the adapters, in order."""
        return tuple(adapter.digest for adapter in self.adapters)
