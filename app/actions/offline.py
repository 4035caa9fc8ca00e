"""Two compositions on the same prompts, before anybody sees either: paired, scored against what is expected."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app import arms
from app.actions import compositions
from app.bootstrap import Console
from core.compose.records import CompositionSpec
from core.engine.records import Message
from core.errors import InvalidInputError
from core.experiments.decision import decide
from core.experiments.plan import (
    ArmEvidence,
    Decision,
    Evidence,
    MetricKind,
    MetricPlan,
    PairCounts,
    Plan,
)
from core.experiments.records import SUCCESS
from core.serve.records import InferenceRequest
from core.stats.moments import UnitSums
from core.stats.proportions import Interval, paired_difference
from core.tenants.records import Permission, Principal

MOST_PROMPTS = 500
CONTROL, TREATMENT = "control", "treatment"


class Scorer(StrEnum):
    """When an answer is right: it is the expected text, but for space around it; it contains it; it is the same JSON."""

    EXACT = "exact"
    CONTAINS = "contains"
    JSON = "json"


class OfflinePrompt(BaseModel):
    """A question with the answer that is expected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = Field(min_length=1, max_length=64)
    expected: str = Field(min_length=1, max_length=20_000)


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """One prompt. Texts are untrusted: show them literally."""

    number: int
    control_text: str
    treatment_text: str
    control_right: bool
    treatment_right: bool
    control_ms: float
    treatment_ms: float


@dataclass(frozen=True, slots=True)
class OfflineComparison:
    """All prompts. `difference`: share right of the treatment minus that of the control, on the same prompts, for one
    look; the decision holds at any number of prompts."""

    control: str
    treatment: str
    rows: tuple[OfflineRow, ...]
    both: int
    only_control: int
    only_treatment: int
    neither: int
    difference: Interval
    decision: Decision


def compare_offline(
    c: Console,
    p: Principal,
    control: dict[str, object],
    treatment: dict[str, object],
    prompts: Sequence[OfflinePrompt],
    *,
    scorer: Scorer = Scorer.EXACT,
    max_new_tokens: int = 256,
    heard: Callable[[int], None] | None = None,
) -> OfflineComparison:
    """Ask both compositions every prompt (greedily) and compare. Blocks until done. `heard` is told after each prompt
    how many are done; what it raises ends the run.

    Raises InvalidInputError, NotFoundError, ConflictError, BusyError: what the runtime raises for a request.
    """
    p.require(Permission.TRAIN)
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise InvalidInputError(
            "The number of prompts is not valid.", f"It is from 1 to {MOST_PROMPTS}.", "Send fewer, or some."
        )
    with c.database.reading() as s:
        named = [arms.spec_of(c, s, p.tenant_id, each) for each in (control, treatment)]
        specs = [
            CompositionSpec.model_validate(dict(arms.pin(c, s, p.tenant_id, each).composition))
            for each in (control, treatment)
        ]
    done = []
    for number, prompt in enumerate(prompts, 1):
        longest = min(max_new_tokens, c.settings.max_new_tokens)
        done.append(_row(c, p, number, prompt, specs, scorer, longest))
        if heard is not None:
            heard(number)
    rows = tuple(done)
    counts = [
        sum(row.control_right is one and row.treatment_right is other for row in rows)
        for one, other in ((True, True), (True, False), (False, True), (False, False))
    ]
    both, only_control, only_treatment, neither = counts
    return OfflineComparison(
        control=named[0][0],
        treatment=named[1][0],
        rows=rows,
        both=both,
        only_control=only_control,
        only_treatment=only_treatment,
        neither=neither,
        difference=paired_difference(both, only_control, only_treatment, neither),
        decision=_decide(rows, PairCounts(only_treatment, only_control, both + neither)),
    )


def is_right(text: str, expected: str, scorer: Scorer) -> bool:
    """Whether an answer counts as right."""
    if scorer is Scorer.CONTAINS:
        return expected.strip() in text
    if scorer is Scorer.JSON:
        try:
            return bool(json.loads(text) == json.loads(expected))
        except (ValueError, RecursionError):
            return False
    return text.strip() == expected.strip()


def _row(
    c: Console,
    p: Principal,
    number: int,
    prompt: OfflinePrompt,
    specs: Sequence[CompositionSpec],
    scorer: Scorer,
    max_new_tokens: int,
) -> OfflineRow:
    given = [
        compositions.answer(
            c,
            p,
            InferenceRequest(messages=prompt.messages, composition=spec, max_new_tokens=max_new_tokens),
        )
        for spec in specs
    ]
    right = [is_right(each.text, prompt.expected, scorer) for each in given]
    return OfflineRow(
        number, given[0].text, given[1].text, right[0], right[1], given[0].latency_ms, given[1].latency_ms
    )


def _decide(rows: Sequence[OfflineRow], pairs: PairCounts) -> Decision:
    plan = Plan(
        arms=(CONTROL, TREATMENT),
        weights=(0.5, 0.5),
        primary=MetricPlan(SUCCESS, MetricKind.SHARE),
        minimum_units=1,
    )
    sums = {
        name: UnitSums.of([float(right) for right in rights])
        for name, rights in (
            (CONTROL, [row.control_right for row in rows]),
            (TREATMENT, [row.treatment_right for row in rows]),
        )
    }
    evidence = Evidence(
        arms={
            name: ArmEvidence(len(rows), len(rows), {SUCCESS: total}, {}, total)
            for name, total in sums.items()
        },
        pairs={TREATMENT: pairs},
        ended=True,
        shadow=True,
    )
    return decide(plan, evidence)
