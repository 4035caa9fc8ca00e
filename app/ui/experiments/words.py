"""States, verdicts, modes and ways of an experiment in words, each with its colour and icon."""

from dataclasses import dataclass

import streamlit as st

from app.ui.badges import Color
from core.experiments.plan import Mode, Verdict
from core.experiments.records import Automatic, Experiment, State, Strategy, UnitKind


@dataclass(frozen=True, slots=True)
class Words:
    """How something is called on screen, and what it means in a sentence. `limit`: what it cannot do."""

    title: str
    icon: str
    does: str
    limit: str = ""


STATES: dict[State, tuple[str, Color, str]] = {
    State.DRAFT: ("Draft", "gray", ":material/edit_note:"),
    State.RUNNING: ("Running", "blue", ":material/play_circle:"),
    State.PAUSED: ("Paused", "orange", ":material/pause_circle:"),
    State.STOPPED: ("Stopped", "gray", ":material/stop_circle:"),
    State.PROMOTED: ("Promoted", "green", ":material/verified:"),
    State.ROLLED_BACK: ("Rolled back", "red", ":material/undo:"),
    State.ARCHIVED: ("Archived", "gray", ":material/archive:"),
}
VERDICTS: dict[Verdict, tuple[str, Color, str]] = {
    Verdict.NO_DECISION: ("No decision yet", "gray", ":material/hourglass_empty:"),
    Verdict.KEEP_RUNNING: ("Keep running", "blue", ":material/hourglass_top:"),
    Verdict.SHIP: ("Ship it", "green", ":material/thumb_up:"),
    Verdict.ROLLBACK: ("Roll back", "red", ":material/thumb_down:"),
    Verdict.EQUIVALENT: ("No difference that matters", "violet", ":material/balance:"),
}
MODES: dict[Mode, Words] = {
    Mode.ALWAYS_VALID: Words(
        "At any moment",
        ":material/visibility:",
        "Look as often as you like; the verdict comes as soon as the numbers allow one.",
        "Its intervals are wider than those of one look, so a small difference takes more units.",
    ),
    Mode.HYBRID: Words(
        "Any moment, and once at the end",
        ":material/event_available:",
        "Look at any time with half of the allowed error; the other half is kept for one look at the planned number.",
        "Each half alone sees less than a plan that spends all of it in one way.",
    ),
    Mode.GROUP_SEQUENTIAL: Words(
        "At planned looks",
        ":material/event_repeat:",
        "Judged at planned numbers of units only; needs fewer units than looking at any moment.",
        "Between two looks nothing is decided, however the numbers stand. Harm in a guardrail is still seen at once.",
    ),
    Mode.FIXED: Words(
        "Once, at the end",
        ":material/lock_clock:",
        "Judged one time, when the planned number of units is there; the narrowest interval.",
        "Locked until then: stopping early because it looks good proves nothing.",
    ),
}
SPLIT, SHADOW, BANDIT = "split", "shadow", "bandit"
WAYS: dict[str, Words] = {
    SPLIT: Words(
        "Split",
        ":material/call_split:",
        "Each person gets one arm and keeps it. What people do and say counts.",
        "Half of the people get what may turn out worse until that is shown.",
    ),
    SHADOW: Words(
        "Shadow",
        ":material/contrast:",
        "All arms answer the same request; only the control's answer is given. Needs about half of the traffic.",
        "Nobody sees the other answers, so no ratings come of them, and each request costs as many answers as arms.",
    ),
    BANDIT: Words(
        "Bandit",
        ":material/trending_up:",
        "Shares move to the arm that does best, so fewer people get the worse one.",
        "It needs a share as its metric, finds small differences later, and has no test of the sample ratio.",
    ),
}
UNITS: dict[UnitKind, Words] = {
    UnitKind.USER: Words(
        "Person", ":material/person:", "Everybody keeps one arm. Requests must carry a user id."
    ),
    UnitKind.SESSION: Words(
        "Session", ":material/devices:", "An arm for as long as a session lasts; people may see both."
    ),
    UnitKind.REQUEST: Words(
        "Request",
        ":material/bolt:",
        "Each request by itself. Honest only where one person's requests have nothing to do with each other.",
    ),
}


def state_badge(experiment: Experiment) -> None:
    """Where it stands; «Scheduled» until its start has come."""
    word, color, icon = STATES[experiment.state]
    if experiment.is_scheduled:
        word, color, icon = "Scheduled", "violet", ":material/schedule:"
    st.badge(word, color=color, icon=icon)


def state_word(experiment: Experiment) -> str:
    """The same for tables."""
    return "Scheduled" if experiment.is_scheduled else STATES[experiment.state][0]


def verdict_badge(verdict: Verdict) -> None:
    """What the numbers say."""
    word, color, icon = VERDICTS[verdict]
    st.badge(word, color=color, icon=icon)


def way_of(experiment: Experiment) -> str:
    """Split, shadow or bandit."""
    if experiment.shadow:
        return SHADOW
    return BANDIT if experiment.strategy is Strategy.BANDIT else SPLIT


def way_badges(experiment: Experiment) -> None:
    """How its answers are given, and when it is judged."""
    way, mode = WAYS[way_of(experiment)], MODES[experiment.plan.mode]
    st.badge(way.title, color="violet", icon=way.icon, help=f"{way.does} {way.limit}")
    st.badge(mode.title, color="gray", icon=mode.icon, help=f"{mode.does} {mode.limit}")
    if experiment.automatic is not Automatic.OFF:
        st.badge(
            "Acts by itself",
            color="orange",
            icon=":material/bolt:",
            help=automatic_words(experiment.automatic),
        )


def automatic_words(automatic: Automatic) -> str:
    """What happens without anybody once the verdict is there."""
    return {
        Automatic.OFF: "Nothing happens by itself: the verdict waits for you.",
        Automatic.PROMOTE: "A winner is promoted by hot swap as soon as it is shown; harm waits for you.",
        Automatic.ROLLBACK: "Harm ends the experiment at once, and the control serves; a winner waits for you.",
        Automatic.BOTH: "A winner is promoted by hot swap, and harm rolls back, as soon as either is shown.",
    }[automatic]
