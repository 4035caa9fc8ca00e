"""A judged pair of answers, and what all of them say together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from core.engine.records import Message

MAX_TEXT = 16_000  # four bytes each still fit into a text column of MariaDB


class PairSource(StrEnum):
    """Where a judgement was given."""

    CONSOLE = "console"
    API = "api"


class PairDraft(BaseModel):
    """What somebody says: to these messages, `chosen` is the better answer than `rejected`.

    The models say what gave each answer, as shown; the keys are those of their compositions. Both may be left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = Field(min_length=1, max_length=64)
    chosen: str = Field(max_length=MAX_TEXT)
    rejected: str = Field(max_length=MAX_TEXT)
    chosen_model: str = Field("", max_length=200)
    rejected_model: str = Field("", max_length=200)
    chosen_key: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    rejected_key: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    why: str = Field("", max_length=2000)


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One person's judgement. `digest` names the prompt and the two answers, whichever of them was chosen."""

    id: str
    tenant_id: str
    digest: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_model: str
    rejected_model: str
    chosen_key: str
    rejected_key: str
    source: PairSource
    why: str
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelTally:
    """How often the answers of one model were chosen and rejected."""

    model: str
    chosen: int
    rejected: int


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """All judgements together. `agreement` is the share of people's couples, among those who judged the same two
    answers, who chose the same one; None when nothing was judged twice, with `couples` as its n. `exportable` is
    how many lines the export has: pairs on which as many say one thing as the other are left out."""

    judgements: int
    people: int
    prompts: int
    exportable: int
    judged_twice: int
    couples: int
    agreement: float | None
    by_source: Mapping[str, int]
    by_model: tuple[ModelTally, ...]
