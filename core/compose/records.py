"""What a composition is, and its saved, versioned form."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.engine.records import Composition
from core.registry.records import Adapter


class Method(StrEnum):
    """How the adapters of a composition act together."""

    ADDITIVE = "additive"


class Term(BaseModel):
    """One adapter with its weight. Weights are used as given; negative and zero are legal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str = Field(
        min_length=1, max_length=200, description="Adapter id, or its name for the newest version."
    )
    weight: float = Field(1.0, ge=-8.0, le=8.0)

    @field_validator("weight")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a weight is a finite number")
        return value


class CompositionSpec(BaseModel):
    """W' = W + Σ weight·ΔW. No terms: the base alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Method.ADDITIVE
    terms: tuple[Term, ...] = Field(default=(), max_length=16)
    normalize: bool = Field(False, description="Divide the weights by their sum first.")

    @model_validator(mode="after")
    def _summable(self) -> "CompositionSpec":
        if self.normalize and self.terms and abs(sum(term.weight for term in self.terms)) < 1e-6:
            raise ValueError("weights that sum to zero cannot be normalized")
        return self


@dataclass(frozen=True, slots=True)
class Federation:
    """A named composition of a tenant. Saving again makes the next version; old ones stay."""

    id: str
    tenant_id: str
    name: str
    version: int
    description: str
    spec: CompositionSpec
    created_by: str
    created_at: datetime

    @property
    def label(self) -> str:
        """Name and version, as shown."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class ResolvedComposition:
    """A spec whose names became adapters of the tenant, ready for the engine.

    `adapters` has each adapter once, with the weight that it really gets; those with weight 0 are left out.
    """

    composition: Composition
    adapters: tuple[tuple[Adapter, float], ...]


@dataclass(frozen=True, slots=True)
class FederationDiff:
    """What changed from one version to another. Weights are as written in the spec, summed per adapter."""

    added: dict[str, float]
    removed: dict[str, float]
    changed: dict[str, tuple[float, float]]
    normalize_changed: bool
    description_changed: bool

    @property
    def same(self) -> bool:
        """Whether both versions compose the same."""
        return not (self.added or self.removed or self.changed or self.normalize_changed)
