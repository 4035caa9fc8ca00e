"""The draft of an experiment while it is made. It lives in the address: a reload, a bookmark or a sent link keeps it."""

import base64
import binascii
import re
import zlib
from datetime import UTC, datetime
from typing import NoReturn

import streamlit as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.ui.experiments.measures import MEASURES, OWN, SUCCESS_RATE, Measure
from app.ui.experiments.words import BANDIT, SHADOW, SPLIT
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import (
    ArmDraft,
    Automatic,
    BanditRule,
    ExperimentDraft,
    RampDraft,
    ServesDraft,
    ServesKind,
    Strategy,
    UnitKind,
)

STEPS = ("What to prove", "How to judge", "Who takes part", "How long", "Review")
MOST_LETTERS = 12_000
MOST_BYTES = 60_000
BASE = "base"


class Form(BaseModel):
    """What has been chosen so far. Shares and margins are as they are typed: in percent, and in the metric's unit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int = Field(1, ge=1, le=len(STEPS))
    experiment_id: str | None = None  # the draft that is changed
    name: str = ""
    hypothesis: str = ""
    control: str | None = None
    challengers: tuple[str, ...] = ()
    takes_over: bool = True
    primary: str = SUCCESS_RATE.key
    own_name: str = ""
    own_kind: MetricKind = MetricKind.MEAN
    own_higher: bool = True
    margin: float = 0.0
    equivalence: float | None = None
    guardrails: dict[str, float] = Field(default_factory=lambda: {"latency_p95": 100.0})
    way: str = SPLIT
    rule: BanditRule = BanditRule.THOMPSON
    unit: UnitKind = UnitKind.USER
    weights: dict[str, float] = Field(default_factory=dict)
    seeded: bool = False
    targeting: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    share: float = 100.0
    ramp: tuple[tuple[datetime, float], ...] = ()
    namespace: str = ""
    holdout: float = 0.0
    mode: Mode = Mode.ALWAYS_VALID
    confidence: float = 95.0
    minimum_units: int = 100
    minimum_days: float = 1.0
    planned_units: int | None = None
    looks: int = 5
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    automatic: Automatic = Automatic.OFF
    baseline: float | None = None
    difference: float | None = None
    per_day: float | None = None
    spread: float | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """The control first."""
        return () if self.control is None else (self.control, *self.challengers)

    @property
    def measure(self) -> Measure:
        """The primary metric."""
        if self.primary in MEASURES:
            return MEASURES[self.primary]
        share = self.own_kind is MetricKind.SHARE
        return Measure(
            OWN,
            self.own_name or "Your own metric",
            self.own_name,
            self.own_kind,
            "points" if share else self.own_name.replace("_", " ") or "units",
            "",
            higher_is_better=self.own_higher,
            quantile=0.95 if self.own_kind is MetricKind.QUANTILE else None,
            scale=100.0 if share else 1.0,
        )

    @property
    def may_swap(self) -> bool:
        """Whether each challenger could take over the control's name: a federation's name can mean any composition, an
        adapter's only another version of it."""
        if not self.takes_over or self.control is None:
            return False
        if self.control.startswith("federation:"):
            return True
        name = self.control.rpartition("@")[0]
        return name.startswith("adapter:") and all(key.rpartition("@")[0] == name for key in self.challengers)

    def arm_ids(self) -> dict[str, str]:
        """What each arm is called in the experiment: short, its own, and readable in a sentence."""
        found: dict[str, str] = {}
        for key in self.arms:
            bare = re.sub(r"^(adapter|federation):", "", key).replace("@", "-v")
            slug = re.sub(r"[^A-Za-z0-9._-]+", "-", bare).strip("-._")[:34] or "arm"
            taken = set(found.values())
            found[key] = next(
                name for n in range(1, 12) if (name := slug if n == 1 else f"{slug}-{n}") not in taken
            )
        return found

    def draft(self) -> ExperimentDraft:
        """As the service takes it. Raises ValidationError for what is not there yet."""
        ids = self.arm_ids()
        uneven = set(self.weights) == set(self.arms) and self.way == SPLIT
        served, _, version = (self.control or "").partition(":")
        serves = None
        if self.takes_over and version and served in list(ServesKind):
            serves = ServesDraft(kind=ServesKind(served), name=version.rpartition("@")[0] or version)
        return ExperimentDraft(
            name=self.name.strip(),
            hypothesis=self.hypothesis.strip(),
            arms=tuple(
                ArmDraft(
                    id=ids[key],
                    composition={"model": key},
                    weight=self.weights[key] / 100 if uneven else None,
                )
                for key in self.arms
            ),
            primary=self.measure.draft(self.margin),
            guardrails=tuple(
                MEASURES[key].draft(margin)
                for key, margin in self.guardrails.items()
                if key in MEASURES and key != self.primary
            ),
            mode=self.mode,
            confidence=self.confidence / 100,
            minimum_units=self.minimum_units,
            minimum_days=self.minimum_days,
            planned_units=self.planned_units if self.mode is not Mode.ALWAYS_VALID else None,
            looks=self.looks,
            equivalence=None if not self.equivalence else self.equivalence / self.measure.scale,
            strategy=self._strategy(uneven),
            bandit=self.rule,
            unit=self.unit,
            namespace=self.namespace.strip() or None,
            holdout=self.holdout / 100 if self.namespace.strip() else 0.0,
            targeting={field: values for field, values in self.targeting.items() if values},
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            share=self.share / 100,
            ramp=tuple(RampDraft(at=at, share=share / 100) for at, share in sorted(self.ramp)),
            shadow=self.way == SHADOW,
            serves=serves,
            automatic=self.automatic,
        )

    def _strategy(self, uneven: bool) -> Strategy:
        if self.way == BANDIT:
            return Strategy.BANDIT
        if self.seeded:
            return Strategy.RANDOM
        return Strategy.WEIGHTED if uneven else Strategy.HASH


def read_form() -> Form | None:
    """The form in the address; None when none is being filled in. What cannot be read starts anew."""
    text = st.query_params.get("new")
    return None if text is None else decode(text)


def keep_form(form: Form) -> None:
    """Write the form into the address, where it differs from what stands there."""
    text = encode(form)
    if st.query_params.get("new") != text:
        st.query_params["new"] = text


def drop_form() -> None:
    """Nothing is being filled in any more."""
    st.query_params.pop("new", None)
    forget()


def forget() -> None:
    """The next step begins with what the form holds, and not with what widgets of the same name held."""
    for key in [key for key in st.session_state if str(key).startswith("exp-")]:
        del st.session_state[key]


def go(form: Form, step: int) -> NoReturn:
    """Keep the form and show another step."""
    forget()
    keep_form(form.model_copy(update={"step": step}))
    st.rerun()


def begin_form() -> NoReturn:
    """The first step of a new experiment."""
    forget()
    keep_form(Form())
    st.rerun()


def encode(form: Form) -> str:
    """What differs from the beginning, short enough for an address."""
    document = form.model_dump_json(exclude_defaults=True).encode()
    return base64.urlsafe_b64encode(zlib.compress(document, 9)).decode().rstrip("=") or "1"


def decode(text: str) -> Form:
    """Back from the address; a new form where it holds anything else."""
    if len(text) > MOST_LETTERS:
        return Form()
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return Form.model_validate_json(zlib.decompressobj().decompress(packed, MOST_BYTES))
    except (ValueError, binascii.Error, zlib.error, ValidationError):
        return Form()


def utc(moment: datetime) -> datetime:
    """A moment that was typed without a zone is one of UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
