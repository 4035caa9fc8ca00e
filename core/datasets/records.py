"""Datasets and the examples in them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class DatasetKind(StrEnum):
    """What a dataset is for."""

    SFT = "sft"  # prompt and completion
    DPO = "dpo"  # prompt, chosen, rejected
    KTO = "kto"  # prompt, completion, and whether people liked it
    EVENTS = "events"  # a retailer's raw export
    REFERENCE = "reference"  # SKU catalog, uplift priors, performance metrics, audiences


class Layout(StrEnum):
    """How the rows of a training file are laid out."""

    PROMPT_COMPLETION = "prompt_completion"  # prompt, completion: text, or lists of messages
    MESSAGES = "messages"  # one list of messages that ends with the answer
    PREFERENCES = "preferences"  # chosen, rejected, and prompt (or the prompt as their common beginning)
    ALPACA = "alpaca"  # instruction, input (may be missing), output
    SHAREGPT = "sharegpt"  # conversations: a list of from and value
    TOOL_CALLS = "tool_calls"  # messages whose answer calls a tool, with the tools that were offered
    LABELS = "labels"  # prompt, completion, and a label: thumb up or down
    FIELD_MAPPINGS = "field_mappings"  # rules of an RMIS mapping: source_field, target, transform, qualifiers


class Split(StrEnum):
    """What an example may be used for. A test row is never trained on and never steers a choice."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of a tenant. `digest` is the SHA-256 of its file; the file never changes.

    `path` is relative to the project where the file lies inside it (a checkout may move), else absolute.
    `core.datasets.service.dataset_path` tells where the file is.
    """

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
    """One demonstration. `slice` names what a test row measures (new_values, held_out_columns) or is None.

    `system` is the system turn before the prompt, or "" where there is none. `line` is its line in the file.
    `history` holds the turns (role, text) between the two, in a conversation of several turns.
    """

    prompt: str
    completion: str
    split: Split
    slice: str | None
    line: int
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair of answers to a prompt, of which people prefer `chosen`."""

    prompt: str
    chosen: str
    rejected: str
    split: Split
    slice: str | None
    line: int
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer with what people said of it: `liked` is thumb up (true) or down (false)."""

    prompt: str
    completion: str
    liked: bool
    split: Split
    slice: str | None
    line: int
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()


class Fix(StrEnum):
    """What one click can do about a problem."""

    NONE = ""
    DROP_ROWS = "drop_rows"
    KEEP_FIRST_DUPLICATE = "keep_first_duplicate"
    MOVE_TO_TRAIN = "move_to_train"
    TRIM_TEXT = "trim_text"
    MASK_PERSONAL_DATA = "mask_personal_data"
    REPAIR_ENCODING = "repair_encoding"
    DROP_CONTRADICTIONS = "drop_contradictions"
    RELABEL_SPLIT = "relabel_split"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a dataset, with the lines that show it (at most the first ten).

    `message` says what is wrong, why it matters and what to do next; `rows` counts all rows concerned.
    `fix` names what one click can do about it, or is empty.
    """

    rule: str
    severity: str  # "error": cannot be trained on; "warning": can, but look
    message: str
    rows: int
    lines: tuple[int, ...]
    fix: str = ""
