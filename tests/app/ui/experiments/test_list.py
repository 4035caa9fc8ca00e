"""Which experiments a search lets through, and which promotions rest on a proof."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.ui.experiments.list import ANY_STATE, matches, was_proved
from core.experiments.drafts import experiment_of
from core.experiments.plan import Verdict
from core.experiments.records import ArmDraft, Experiment, ExperimentDraft, Reached, State

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
SHIPPED = Reached(Verdict.SHIP, "warm", "«warm» is better.", NOW)


@pytest.fixture
def tone() -> Experiment:
    draft = ExperimentDraft(
        id="tone",
        name="Warmer Tone",
        hypothesis="Fewer returns.",
        arms=(
            ArmDraft(id="calm", composition={"model": "adapter:calm@1"}),
            ArmDraft(id="warm", composition={"model": "adapter:warm@2"}),
        ),
    )
    return experiment_of(draft, "tenant", [], created_by="Ada", now=NOW)


@pytest.mark.parametrize(
    ("words", "state", "fits"),
    [
        ("", ANY_STATE, True),
        ("warmer tone", ANY_STATE, True),
        ("TONE returns", ANY_STATE, True),
        ("calm", "Draft", True),
        ("calm", "Running", False),
        ("tone colder", ANY_STATE, False),
    ],
)
def test_all_words_must_be_there_and_the_state_as_it_is_called(
    tone: Experiment, words: str, state: str, fits: bool
) -> None:
    assert matches(tone, words, state) is fits


def test_what_waits_for_its_moment_is_scheduled_and_not_running(tone: Experiment) -> None:
    scheduled = replace(tone, state=State.RUNNING, starts_at=NOW)
    assert matches(scheduled, "", "Scheduled")
    assert not matches(scheduled, "", "Running")


def test_a_promotion_without_a_verdict_or_against_it_was_not_proved(tone: Experiment) -> None:
    promoted = replace(tone, state=State.PROMOTED, settled_arm="warm")
    assert was_proved(replace(promoted, reached=SHIPPED))
    assert not was_proved(promoted)
    assert not was_proved(replace(promoted, reached=replace(SHIPPED, winner="calm")))
    assert not was_proved(replace(promoted, reached=replace(SHIPPED, verdict=Verdict.ROLLBACK)))
