"""Mappings and what they are made of: the source card, rules, transforms and qualifiers of RMIS §2 and §3.

A mapping is data alone: it runs unchanged on one file or on a cluster.
"""

from collections.abc import Mapping as MappingOf
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.rmis.facts import fact_column
from core.rmis.vocabularies import QUALIFIERS, TRANSFORM_PARAMETERS, TransformOp

Days = int
Qualifier = str | int | bool | None

#: Qualifiers that count days; all others are words of a closed list.
DAY_QUALIFIERS = frozenset(name for name, words in QUALIFIERS.items() if not words)


class MappingState(StrEnum):
    """Whether a saved version of a mapping is in use."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


def checked_qualifiers(given: object) -> dict[str, Qualifier]:
    """Qualifiers of RMIS §2 by name, without those that say nothing.

    Booleans and numbers in text are taken as what they mean. Raises ValueError for an unknown name or word.
    """
    if given is None:
        return {}
    if not isinstance(given, MappingOf):
        raise ValueError("qualifiers are an object of names and values")
    return {str(name): _checked_qualifier(str(name), value) for name, value in given.items()}


def _checked_qualifier(name: str, value: object) -> Qualifier:
    if name not in QUALIFIERS:
        raise ValueError(f"«{name}» is no qualifier; there are {', '.join(QUALIFIERS)}")
    if value is None:
        return None
    if name in DAY_QUALIFIERS:
        text = str(value).strip()
        if isinstance(value, bool) or not text.isdecimal() or int(text) > 400:
            raise ValueError(f"{name} is a whole number of days, not {value!r}")
        return int(text)
    word = str(value).strip().lower()
    if name == "new_to_brand" and word in QUALIFIERS[name]:
        return word == "true"
    if word not in QUALIFIERS[name]:
        raise ValueError(f"{name} is one of {', '.join(QUALIFIERS[name])}, not {value!r}")
    return word


Qualifiers = Annotated[dict[str, Qualifier], BeforeValidator(checked_qualifiers)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Transform(_Frozen):
    """One operation of RMIS §3 with its parameters; parameters that the operation does not know are refused."""

    op: TransformOp = TransformOp.NONE
    by: float | None = Field(default=None, description="Divisor or factor.")
    by_field: str | None = Field(default=None, description="Source column that holds the divisor or factor.")
    format: str | None = Field(
        default=None, description="strptime pattern, iso, epoch_s, epoch_ms, epoch_us or excel_serial."
    )
    source_tz: str | None = Field(default=None, description="IANA zone, UTC or account_timezone.")
    grain: str | None = Field(default=None, description="event, hour, day or aggregate.")
    strip: str | None = Field(default=None, description="Characters to remove before a number is read.")
    map: dict[str, str | None] | None = Field(default=None, description="Source value to RMIS value.")
    to: int | None = Field(default=None, description="Digits of a padded GTIN.")
    pattern: str | None = Field(
        default=None, description="Regular expression; named groups are RMIS columns."
    )
    numeric_goes_to: str | None = Field(default=None, description="RMIS column that takes numeric values.")
    const: dict[str, str] | str | None = Field(
        default=None, description="RMIS columns and values of the new row, or one word of a closed list."
    )
    path: str | None = Field(
        default=None, description="Dotted path of a nested list whose items become rows."
    )
    on: str | None = Field(default=None, description="Source column whose repeats are dropped.")
    key: str | list[str] | None = Field(
        default=None, description="Columns of a correction stream, or name of the hashing key."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {name for name in self.model_fields_set if name != "op" and getattr(self, name) is not None}
        allowed = TRANSFORM_PARAMETERS[self.op]
        if unknown := given - allowed:
            raise ValueError(f"{self.op} takes no {', '.join(sorted(unknown))}")
        if self.op in (TransformOp.DIVIDE, TransformOp.MULTIPLY):
            if (self.by is None) == (self.by_field is None):
                raise ValueError(f"{self.op} needs either by or by_field")
            if self.by is not None and not 0 < self.by < float("inf"):
                raise ValueError(f"{self.op} needs a positive number")
        if self.op is TransformOp.ENUM_MAP and not self.map:
            raise ValueError("enum_map needs a map")
        return self

    def plain(self) -> dict[str, Any]:
        """As it stands in a mapping file: the operation and what was said of it."""
        told = self.model_dump(mode="json", exclude_none=True)
        if self.by is not None and self.by.is_integer():
            told["by"] = int(self.by)
        return told


class Rule(_Frozen):
    """What becomes of one source column. A target of None leaves the column out.

    `drop` with a target says what a column is, although it is left out (a derived rate, a duplicate).
    """

    source_field: str = Field(min_length=1, max_length=500)
    target: str | None = None
    transform: Transform = Transform()
    qualifiers: Qualifiers = {}
    note: str = Field(default="", max_length=1000)

    @model_validator(mode="before")
    @classmethod
    def _op_alone(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("transform"), str):
            return {**given, "transform": {"op": given["transform"]}}
        return given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.target is not None and fact_column(self.target) is None:
            raise ValueError(f"«{self.target}» is not a column of RMIS")
        return self

    @property
    def dropped(self) -> bool:
        """Whether the column is left out of the harmonized rows."""
        return self.target is None or self.transform.op is TransformOp.DROP

    def plain(self) -> dict[str, Any]:
        """As it stands in a mapping file."""
        told: dict[str, Any] = {
            "source_field": self.source_field,
            "target": self.target,
            "transform": self.transform.plain(),
            "qualifiers": dict(self.qualifiers),
        }
        return {**told, "note": self.note} if self.note else told


Headline = dict[str, Qualifier] | list[str] | str | None


class SourceCard(_Frozen):
    """What the file itself does not say. It lies beside the file or is asked for.

    `headline` names the outcome numbers that fill the outcome columns: qualifiers ({"window_click_days": 14}),
    source columns, or a window such as "14d".
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    retailer: str = ""
    network: str = ""
    report: str = ""
    account_timezone: str = "UTC"
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    headline: Headline = None


class Mapping(_Frozen):
    """A mapping of RMIS §3. `version` counts its saved versions from 1."""

    retailer: str = Field(default="", max_length=200)
    network: str = Field(default="", max_length=200)
    report: str = Field(default="", max_length=200)
    version: int = Field(default=1, ge=1)
    account_timezone: str = "UTC"
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    headline: Headline = None
    rules: tuple[Rule, ...] = Field(max_length=5000)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # A column may have several rules only where each makes rows of its own (explode) or parts (regex_split).
        seen: set[tuple[str, str | None]] = set()
        for rule in self.rules:
            if (rule.source_field, rule.target) in seen and rule.transform.op is not TransformOp.EXPLODE:
                raise ValueError(f"«{rule.source_field}» has two rules for {rule.target}")
            seen.add((rule.source_field, rule.target))
        return self

    def card(self) -> SourceCard:
        """What the mapping itself says of its source."""
        return SourceCard(
            retailer=self.retailer,
            network=self.network,
            report=self.report,
            account_timezone=self.account_timezone,
            currency=self.currency,
            headline=self.headline,
        )

    def plain(self) -> dict[str, Any]:
        """As it stands in a mapping file."""
        return {
            **self.model_dump(mode="json", exclude={"rules"}),
            "rules": [rule.plain() for rule in self.rules],
        }
