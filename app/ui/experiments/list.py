"""All experiments of the workspace: state, verdict, units, days; as pages of cards and as a table.

Only what is on screen is judged: judging reads an experiment's sums, and a workspace may have hundreds."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.actions import experiments
from app.ui import numbers
from app.ui.experiments.choices import arm_words
from app.ui.experiments.measures import difference_words, label_of, span_words
from app.ui.experiments.verdict import leading, spoken
from app.ui.experiments.words import (
    MODES,
    STATES,
    VERDICTS,
    WAYS,
    state_badge,
    state_word,
    verdict_badge,
    way_of,
)
from app.ui.frame import Figure, figures
from app.ui.screens import show_item
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit
from core.errors import RmnError
from core.experiments.plan import Verdict
from core.experiments.records import ENDED, Experiment, State
from core.experiments.results import ExperimentResults

PER_PAGE = 30
MOST_JUDGED = 40  # of a table
ANY_STATE = "Any state"
PAGE, SEARCH, STATE = "experiments-page", "experiments-search", "experiments-state"
COLUMNS = (
    Column("name", "Name"),
    Column("state", "State"),
    Column("verdict", "Verdict"),
    Column("units", "Units", "number"),
    Column("days", "Days", "number"),
    Column("metric", "Decides"),
    Column("difference", "Difference"),
    Column("interval", "Its interval"),
    Column("needed", "Still needed per arm", "number"),
    Column("arms", "Arms"),
    Column("way", "Way"),
    Column("mode", "Judged"),
    Column("reason", "Reason"),
    Column("created", "Made, UTC", "time"),
    Column("id", "Id"),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """An experiment with what it says now; None for a draft, an archived one, or one that is not on screen."""

    experiment: Experiment
    results: ExperimentResults | None

    @property
    def units(self) -> int | None:
        """All arms together."""
        return None if self.results is None else sum(arm.units for arm in self.results.arms)

    @property
    def verdict(self) -> Verdict | None:
        """The one that counts."""
        if self.results is not None:
            return spoken(self.results)[0]
        return None if self.experiment.reached is None else self.experiment.reached.verdict

    @property
    def reason(self) -> str:
        """In a sentence."""
        return "" if self.results is None else spoken(self.results)[1]


def read_list(visit: Visit, *, archived: bool) -> list[Experiment]:
    """Newest first."""
    return experiments.list_experiments(visit.console, visit.principal, include_archived=archived)


def show_list(visit: Visit, found: Sequence[Experiment], *, as_table: bool) -> None:
    """The numbers that matter, a search, and the experiments that fit it."""
    head = st.container()
    fitting = _ask(found)
    shown = list(fitting[:MOST_JUDGED]) if as_table else _page(fitting, len(found))
    judged = {experiment.id: _judged(visit, experiment) for experiment in shown}
    with head:
        show_numbers([Listed(each, judged.get(each.id)) for each in found])
    if not fitting:
        st.caption("No experiment fits. Search for fewer words, or choose any state.")
    elif as_table:
        show_table(
            [list_row(Listed(each, judged.get(each.id)), visit) for each in fitting],
            COLUMNS,
            key="experiments",
            alt="Experiments, newest first",
            file_name="experiments.csv",
        )
        if len(fitting) > MOST_JUDGED:
            st.caption(
                f"Units and intervals are of the newest {MOST_JUDGED}; search for others to see theirs."
            )
    else:
        with st.grid(3, min_column_width=300):
            for each in shown:
                _card(Listed(each, judged[each.id]), visit)


def matches(experiment: Experiment, words: str, state: str) -> bool:
    """Whether its name, id, hypothesis or arms hold all the words, and it is in this state, as the list calls it."""
    if state not in (ANY_STATE, state_word(experiment)):
        return False
    said = (experiment.id, experiment.name, experiment.hypothesis, experiment.description)
    text = " ".join((*said, *(arm_words(arm) for arm in experiment.arms))).casefold()
    return all(word in text for word in words.casefold().split())


def show_numbers(listed: Sequence[Listed]) -> None:
    """The numbers that matter."""
    running = [each for each in listed if each.experiment.state is State.RUNNING]
    ready = [
        each
        for each in listed
        if each.experiment.state not in (State.PROMOTED, State.ROLLED_BACK, State.ARCHIVED)
        and each.verdict in (Verdict.SHIP, Verdict.ROLLBACK, Verdict.EQUIVALENT)
    ]
    units = sum(each.units or 0 for each in listed)
    promoted = [each.experiment for each in listed if each.experiment.state is State.PROMOTED]
    proved = sum(was_proved(each) for each in promoted)
    figures(
        [
            Figure(
                "Running", numbers.count(len(running)), f"of {numbers.counted(len(listed), 'experiment')}"
            ),
            Figure("Wait for you", numbers.count(len(ready)), "have a verdict to act on"),
            Figure(
                "Promoted",
                numbers.count(len(promoted)),
                f"{numbers.count(proved)} of them proved better" if promoted else "none yet",
                help="An arm may be promoted against the verdict, or without one: that proves nothing.",
            ),
            Figure("Units counted", numbers.short_count(units), "in the experiments shown below"),
        ]
    )


def was_proved(promoted: Experiment) -> bool:
    """Whether the arm that was promoted is the one that the verdict named."""
    reached = promoted.reached
    return reached is not None and reached.verdict is Verdict.SHIP and reached.winner == promoted.settled_arm


def list_row(listed: Listed, visit: Visit) -> dict[str, object]:
    """An experiment as a row."""
    experiment, results = listed.experiment, listed.results
    best = None if results is None else leading(results)
    metric = experiment.plan.primary
    return {
        "name": experiment.name,
        "state": state_word(experiment),
        "verdict": VERDICTS[listed.verdict][0] if listed.verdict is not None else None,
        "units": listed.units,
        "days": round(experiment.days(visit.console.clock()), 1),
        "metric": label_of(metric),
        "difference": None if best is None else difference_words(metric, best.interval.value),
        "interval": None if best is None else span_words(metric, best.interval),
        "needed": None if results is None else results.decision.units_needed,
        "arms": " against ".join(arm_words(arm) for arm in reversed(experiment.arms)),
        "way": WAYS[way_of(experiment)].title,
        "mode": MODES[experiment.plan.mode].title,
        "reason": listed.reason,
        "created": experiment.created_at,
        "id": experiment.id,
    }


def _card(listed: Listed, visit: Visit) -> None:
    experiment = listed.experiment
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(experiment.name)}**")
        with st.container(horizontal=True, gap="xsmall"):
            state_badge(experiment)
            if listed.verdict is not None:
                verdict_badge(listed.verdict)
            if listed.results is not None and listed.results.decision.mismatch.found:
                st.badge("Sample ratio", color="red", icon=":material/error:")
        words = [escape(arm_words(arm), 60) for arm in experiment.arms]
        st.caption(f"{' and '.join(words[1:])} against {words[0]}")
        if listed.reason:
            st.caption(escape(listed.reason, 300))
        elif experiment.hypothesis.strip():
            st.caption(escape(experiment.hypothesis, 200))
        facts = [WAYS[way_of(experiment)].title]
        if listed.units is not None:
            facts.append(numbers.counted(listed.units, "unit"))
        if experiment.started_at is not None:
            facts.append(f"{experiment.days(visit.console.clock()):.1f} days")
        facts.append(numbers.ago(experiment.created_at, visit.console.clock()))
        st.caption(" · ".join(facts))
        st.space("stretch")
        st.button("Open", key=f"open-{experiment.id}", on_click=show_item, args=("experiment", experiment.id))


def _ask(found: Sequence[Experiment]) -> list[Experiment]:
    """Those that fit what was typed and chosen."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search",
            key=SEARCH,
            type="search",
            placeholder="Name, arm or hypothesis",
            width=360,
            label_visibility="collapsed",
            on_change=_first_page,
        )
        state = st.selectbox(
            "State",
            [ANY_STATE, "Scheduled", *(word for word, _, _ in STATES.values())],
            key=STATE,
            width=200,
            label_visibility="collapsed",
            on_change=_first_page,
        )
    return [each for each in found if matches(each, words or "", state or ANY_STATE)]


def _first_page() -> None:
    st.session_state[PAGE] = 1


def _page(fitting: Sequence[Experiment], of: int) -> list[Experiment]:
    """One page of them, with its place among all."""
    pages = max(1, -(-len(fitting) // PER_PAGE))
    at = int(st.session_state.get(PAGE) or 1)
    if at > pages:
        at = st.session_state[PAGE] = 1
    if pages > 1 or len(fitting) < of:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(
                f"{numbers.counted(len(fitting), 'experiment')} of {numbers.count(of)}"
                if len(fitting) < of
                else numbers.counted(of, "experiment"),
                width="content",
            )
            if pages > 1:
                st.pagination(pages, key=PAGE)
    return list(fitting[(at - 1) * PER_PAGE : at * PER_PAGE])


def _judged(visit: Visit, experiment: Experiment) -> ExperimentResults | None:
    """What it says now. What has ended says the same until somebody changes it, so it is judged once per visit."""
    kept: dict[tuple[str, int], ExperimentResults] = st.session_state.setdefault("_judged_experiments", {})
    results = kept.get((experiment.id, experiment.revision))
    if results is not None or experiment.state is State.DRAFT:
        return results
    try:
        results = experiments.get_experiment_results(visit.console, visit.principal, experiment.id)
    except RmnError:  # one that cannot be judged must not hide the others; its own page says why
        return None
    if experiment.state in ENDED:
        kept[(experiment.id, experiment.revision)] = results
    return results
