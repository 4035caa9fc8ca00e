"""What a composition is, and its saved, versioned form."""

import json
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Method(StrEnum):
    """How the adapters of a composition act together."""

    ADDITIVE = "additive"
    GATED = "gated"
    SEQUENTIAL = "sequential"


class GateKind(StrEnum):
    """What decides how much of each adapter acts."""

    STATIC = "static"  # G0: one learned factor per adapter and module
    ROUTER = "router"  # G1: a small classifier on the prompt, once a request
    TOKEN = "token"  # noqa: S105 - G2: without training, at every token and module


class ContractKind(StrEnum):
    """What a stage's answer has to be before the next one gets it."""

    TEXT = "text"
    JSON = "json"
    SCHEMA = "schema"


class Term(BaseModel):
    """One adapter with its weight. Weights are used as given; negative and zero are legal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str = Field(
        min_length=1, max_length=200, description="Adapter id, or its name for the newest version."
    )
    weight: float = Field(1.0, ge=-8.0, le=8.0)
    layers: tuple[int, int] | None = Field(
        None,
        description="First and last block, from 0, on which the adapter acts (a depth segment); null: all.",
    )

    @field_validator("weight")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a weight is a finite number")
        return value

    @field_validator("layers")
    @classmethod
    def _ordered(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError("a depth segment is the first and the last block, counted from 0")
        return value


class GateSpec(BaseModel):
    """Which gate. `gate` names a trained one (an id, or a name for its promoted version); `token` needs none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: GateKind
    gate: str | None = Field(None, min_length=1, max_length=200)
    top_k: int = Field(2, ge=1, le=16, description="Adapters that act at a token; for the kind token alone.")
    temperature: float = Field(1.0, gt=0.0, le=100.0, description="For the kind token alone.")

    @model_validator(mode="after")
    def _named(self) -> "GateSpec":
        if (self.gate is None) is not (self.kind is GateKind.TOKEN):
            raise ValueError("a static gate and a router are named in «gate», a token gate is not")
        return self


class StageContract(BaseModel):
    """What the answer of a stage has to be. `schema`: JSON Schema, for the kind schema alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: ContractKind = ContractKind.TEXT
    json_schema: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _described(self) -> "StageContract":
        if (self.json_schema is not None) is not (self.kind is ContractKind.SCHEMA):
            raise ValueError("a contract of the kind schema has a JSON Schema in «schema», others have none")
        try:
            json.dumps(self.json_schema, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError):
            raise ValueError("«schema» is no JSON that can be stored") from None
        return self


class Stage(BaseModel):
    """One step of a pipeline: a composition, a prompt with slots, and what its answer has to be.

    In `prompt`, {input} is the request's last message and {name} the answer of the earlier stage with that name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    composition: "CompositionSpec"
    prompt: str = Field("{input}", min_length=1, max_length=20_000)
    system: str | None = Field(None, max_length=20_000)
    contract: StageContract = StageContract()
    max_new_tokens: int = Field(256, ge=1)
    stop: tuple[str, ...] = Field(default=(), max_length=8)


class CompositionSpec(BaseModel):
    """What answers. No terms: the base alone.

    additive: W' = W + Σ weight·ΔW. gated: the same with a gate that scales each ΔW. sequential: stages, each with a
    composition of its own, the answer of one in the prompt of the next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Method.ADDITIVE
    terms: tuple[Term, ...] = Field(default=(), max_length=16)
    normalize: bool = Field(False, description="Divide the weights by their sum first.")
    gate: GateSpec | None = None
    stages: tuple[Stage, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _summable(self) -> "CompositionSpec":
        if self.normalize and self.terms and abs(sum(term.weight for term in self.terms)) < 1e-6:
            raise ValueError("weights that sum to zero cannot be normalized")
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> "CompositionSpec":
        if (self.gate is not None) is not (self.method is Method.GATED):
            raise ValueError("a gated composition has a gate, others have none")
        if self.gate is not None and not self.terms:
            raise ValueError("a gate needs adapters to choose among")
        if bool(self.stages) is not (self.method is Method.SEQUENTIAL):
            raise ValueError("a sequential composition has stages, others have none")
        if self.stages and (self.terms or self.normalize):
            raise ValueError("the adapters of a sequential composition stand in its stages")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names) or "input" in names:
            raise ValueError("each stage has a name of its own, and none is called «input»")
        if any(stage.composition.method is Method.SEQUENTIAL for stage in self.stages):
            raise ValueError("a stage cannot be sequential itself")
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
class FederationDiff:
    """What changed from one version to another.

    Weights are as written in the spec, summed per adapter; an adapter that acts on some blocks only stands there as
    «name [first–last]», one of a stage as «stage: name». Stages are told by name; `stages_changed` are those whose
    prompt, contract, limits or composition differ.
    """

    added: dict[str, float]
    removed: dict[str, float]
    changed: dict[str, tuple[float, float]]
    normalize_changed: bool
    description_changed: bool
    method: tuple[Method, Method] | None = None
    gate: tuple[GateSpec | None, GateSpec | None] | None = None
    stages_added: tuple[str, ...] = ()
    stages_removed: tuple[str, ...] = ()
    stages_changed: tuple[str, ...] = ()
    stages_moved: bool = False

    @property
    def same(self) -> bool:
        """Whether both versions compose the same."""
        weights = self.added or self.removed or self.changed or self.normalize_changed
        stages = self.stages_added or self.stages_removed or self.stages_changed or self.stages_moved
        return not (weights or stages or self.method or self.gate)
