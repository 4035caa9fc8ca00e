"""Datasets and the examples in them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class DatasetKind(StrEnum):
    """What a dataset is for."""

    SFT = "sft"  # prompt and completion
    DPO = "dpo"  # prompt, chosen, rejected
    EVENTS = "events"  # a retailer's raw export
    REFERENCE = "reference"  # SKU catalog, uplift priors, performance metrics, audiences


class Split(StrEnum):
    """What an example may be used for. A test row is never trained on and never steers a choice."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of a tenant. `digest` is the SHA-256 of its file; the file never changes."""

    id: str
    tenant_id: str
    name: str
    title: str
    kind: DatasetKind
    adapter_type: str | None
    description: str
    simulated: bool
    path: str
    digest: str
    size_bytes: int
    rows: int
    card: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Example:
    """One demonstration. `slice` names what a test row measures (new_values, held_out_columns) or is None."""

    prompt: str
    completion: str
    split: Split
    slice: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a dataset, with the lines that show it (at most the first ten)."""

    rule: str
    severity: str  # "error": cannot be trained on; "warning": can, but look
    message: str
    rows: int
    lines: tuple[int, ...]
