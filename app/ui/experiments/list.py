"""All experiments of the workspace: state, verdict, units, days; as cards and as a table."""

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

MOST_JUDGED = 40
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
    """An experiment with what it says now; None for a draft, an archived one, or one beyond those that are judged here."""

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


def read_list(visit: Visit, *, archived: bool) -> list[Listed]:
    """Newest first. What has ended says the same until somebody changes it, so it is judged once per visit."""
    kept: dict[tuple[str, int], ExperimentResults] = st.session_state.setdefault("_judged_experiments", {})
    found = []
    for number, experiment in enumerate(
        experiments.list_experiments(visit.console, visit.principal, include_archived=archived)
    ):
        results = kept.get((experiment.id, experiment.revision))
        if results is None and experiment.state is not State.DRAFT and number < MOST_JUDGED:
            results = _judge(visit, experiment)
            if results is not None and experiment.state in ENDED:
                kept[(experiment.id, experiment.revision)] = results
        found.append(Listed(experiment, results))
    return found


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
    settled = [each for each in listed if each.experiment.state is State.PROMOTED]
    figures(
        [
            Figure(
                "Running", numbers.count(len(running)), f"of {numbers.counted(len(listed), 'experiment')}"
            ),
            Figure("Wait for you", numbers.count(len(ready)), "have a verdict to act on"),
            Figure("Promoted", numbers.count(len(settled)), "proved better and serve"),
            Figure("Units counted", numbers.short_count(units), "in the experiments listed here"),
        ]
    )


def show_list(visit: Visit, listed: Sequence[Listed], *, as_table: bool) -> None:
    """All of them."""
    if as_table:
        show_table(
            [list_row(each, visit) for each in listed],
            COLUMNS,
            key="experiments",
            alt="Experiments, newest first",
            file_name="experiments.csv",
        )
        return
    with st.grid(3, min_column_width=300):
        for each in listed:
            _card(each, visit)


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


def _judge(visit: Visit, experiment: Experiment) -> ExperimentResults | None:
    try:
        return experiments.get_experiment_results(visit.console, visit.principal, experiment.id)
    except RmnError:  # one that cannot be judged must not hide the others; its own page says why
        return None
