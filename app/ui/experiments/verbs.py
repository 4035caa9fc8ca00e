"""Start, pause, stop, ramp up, promote, roll back: each says what will happen, and what cannot be undone asks first."""

from collections.abc import Callable

import streamlit as st

from app.actions import experiments
from app.ui.experiments.choices import arm_words
from app.ui.experiments.form import keep_form
from app.ui.experiments.plan_view import form_from
from app.ui.frame import errors_shown, keep_notice
from app.ui.screens import show_item
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.experiments.plan import Verdict
from core.experiments.records import NEXT, Arm, Experiment, ServesKind, State
from core.experiments.results import ExperimentResults
from core.tenants.records import Permission


def show_verbs(visit: Visit, experiment: Experiment, results: ExperimentResults | None) -> None:
    """The buttons that its state allows, for those who may."""
    if not visit.principal.may(Permission.TRAIN):
        return
    state, possible = experiment.state, NEXT[experiment.state]
    won = results is not None and results.winner not in (None, experiment.control.id)
    harm = results is not None and _verdict(results) is Verdict.ROLLBACK
    with st.container(horizontal=True, gap="small"):
        if state is State.DRAFT:
            _draft_verbs(experiment)
        if state is State.RUNNING and _press("Pause", "pause", ":material/pause:"):
            _do(lambda v: experiments.pause_experiment(v.console, v.principal, experiment.id), "is paused")
        if state is State.PAUSED and _press("Resume", "resume", ":material/play_arrow:", main=True):
            _do(lambda v: experiments.resume_experiment(v.console, v.principal, experiment.id), "goes on")
        if state in (State.RUNNING, State.PAUSED) and _press("Ramp up", "ramp", ":material/trending_up:"):
            confirm_ramp(experiment)
        if State.PROMOTED in possible and _press("Promote", "promote", ":material/verified:", main=won):
            confirm_promotion(experiment, results)
        if State.ROLLED_BACK in possible and _press("Roll back", "rollback", ":material/undo:", main=harm):
            confirm_rollback(experiment)
        if State.STOPPED in possible and _press("Stop", "stop", ":material/stop:"):
            confirm_stop(experiment)
        if State.ARCHIVED in possible and _press("Archive", "archive", ":material/archive:"):
            confirm_archive(experiment)


def _draft_verbs(experiment: Experiment) -> None:
    label = "Start" if experiment.starts_at is None else "Schedule"
    if _press(label, "begin", ":material/play_arrow:", main=True):
        confirm_start(experiment)
    form = form_from(experiment)
    if form is not None and _press("Change", "change", ":material/edit:"):
        show_item("experiment", None)
        keep_form(form)
        st.rerun()


@st.dialog("Start the experiment?", icon=":material/play_arrow:")
def confirm_start(experiment: Experiment) -> None:
    """What is fixed from then on."""
    ask_start(experiment)


def ask_start(experiment: Experiment) -> None:
    """The question."""
    st.markdown(
        f"From then on the plan of **{escape(experiment.name)}** is fixed, and each arm is pinned to what it is now. "
        f"{100 * experiment.share:g} % of the traffic takes part."
    )
    _answer(
        "Start it",
        lambda v: experiments.start_experiment(v.console, v.principal, experiment.id),
        "is started",
    )


@st.dialog("Stop the experiment?", icon=":material/stop:")
def confirm_stop(experiment: Experiment) -> None:
    """It cannot run again."""
    ask_stop(experiment)


def ask_stop(experiment: Experiment) -> None:
    """The question, with room for a reason."""
    st.markdown(
        "It cannot run again. Everybody gets the control, and the numbers stay as they are. "
        "You can still promote an arm afterwards."
    )
    reason = st.text_input("Why", max_chars=300, key="exp-stop-why", placeholder="Kept in the history")
    _answer(
        "Stop it",
        lambda v: experiments.stop_experiment(v.console, v.principal, experiment.id, reason.strip()),
        "is stopped",
    )


@st.dialog("Let more of the traffic in?", icon=":material/trending_up:")
def confirm_ramp(experiment: Experiment) -> None:
    """A share only goes up."""
    ask_ramp(experiment)


def ask_ramp(experiment: Experiment) -> None:
    """The new share."""
    visit = current_visit()
    now = round(100 * experiment.share_at(visit.console.clock()))
    st.markdown("Nobody who is in changes arms. A share cannot fall; to let fewer in, pause or stop.")
    if now >= 100:
        st.info("All of the traffic takes part already.")
        return
    share = st.slider("Share of the traffic, %", now, 100, min(100, 2 * now), key="exp-ramp-to")
    _answer(
        "Raise it",
        lambda v: experiments.raise_share(v.console, v.principal, experiment.id, share / 100),
        f"takes {share} % of the traffic now",
        blocked=share == now,
    )


@st.dialog("Promote an arm?", icon=":material/verified:", width="medium")
def confirm_promotion(experiment: Experiment, results: ExperimentResults | None) -> None:
    """What the name will mean, and that it may be against the verdict."""
    ask_promotion(experiment, results)


def ask_promotion(experiment: Experiment, results: ExperimentResults | None) -> None:
    """The question: which arm, and what happens then."""
    challengers = [arm.id for arm in experiment.arms[1:]]
    winner = results.winner if results is not None else None
    chosen = st.radio(
        "Which arm",
        challengers,
        index=challengers.index(winner) if winner in challengers else 0,
        format_func=escape,
        captions=[plain(arm_words(arm), 80) for arm in experiment.arms[1:]],
        key="exp-promote-arm",
    )
    arm = experiment.arm(str(chosen))
    if arm is not None and not may_swap(experiment, arm):
        name = escape(experiment.serves.name) if experiment.serves is not None else ""
        st.warning(
            f"**{escape(arm.id)} is no version of {name}, so no hot swap can put it under that name.**\n\nNext: stop the "
            f"experiment, and let programs ask for {escape(arm_words(arm))}, or save it as a federation that they ask for.",
            icon=":material/block:",
        )
        return
    st.markdown("\n".join(f"- {line}" for line in promotion_words(experiment, str(chosen))))
    sure = chosen == winner
    if not sure:
        reason = "" if results is None else escape(results.decision.reason, None)
        st.warning(f"The experiment does not say so: {reason}", icon=":material/warning:")
        sure = st.checkbox("Promote it all the same", key="exp-promote-anyway")
    _answer(
        "Promote it",
        lambda v: experiments.promote_experiment(v.console, v.principal, experiment.id, str(chosen)),
        f"ended: {chosen} was promoted",
        blocked=not sure,
    )


def may_swap(experiment: Experiment, arm: Arm) -> bool:
    """Whether the name that the experiment took over can mean this arm: an adapter's name means versions of it only."""
    serves = experiment.serves
    if serves is None or serves.kind is ServesKind.FEDERATION:
        return True
    return arm_words(arm).rpartition(" v")[0] == serves.name


def promotion_words(experiment: Experiment, arm_id: str) -> list[str]:
    """What will happen, ready for Markdown."""
    told = []
    if experiment.state in (State.RUNNING, State.PAUSED):
        told.append("The experiment ends, and nothing more is counted.")
    if experiment.serves is None:
        told.append(
            "No name changes: the experiment took over none. The arm is noted as promoted, in the audit log, too."
        )
    else:
        told.append(
            f"**{escape(experiment.serves.name)}** means **{escape(arm_id)}** from then on, by a hot swap: built beside "
            "the old one, tried, then flipped. If that fails, the control goes on serving."
        )
        told.append("«Roll back» undoes the swap.")
    return told


@st.dialog("Roll back to the control?", icon=":material/undo:")
def confirm_rollback(experiment: Experiment) -> None:
    """What will serve then."""
    ask_rollback(experiment)


def ask_rollback(experiment: Experiment) -> None:
    """The question."""
    undo = experiment.state is State.PROMOTED and experiment.serves is not None
    st.markdown(
        "The swap of the promotion is undone, and the control serves again."
        if undo
        else f"The experiment ends, and everybody gets the control, **{escape(experiment.control.id)}**."
    )
    reason = st.text_input("Why", max_chars=300, key="exp-rollback-why", placeholder="Kept in the history")
    _answer(
        "Roll it back",
        lambda v: experiments.roll_back_experiment(v.console, v.principal, experiment.id, reason.strip()),
        "was rolled back",
    )


@st.dialog("Archive the experiment?", icon=":material/archive:")
def confirm_archive(experiment: Experiment) -> None:
    """What is deleted."""
    ask_archive(experiment)


def ask_archive(experiment: Experiment) -> None:
    """The question."""
    st.markdown(
        "Its result and history stay. The single requests and people that it counted are deleted; that cannot be undone."
    )
    _answer(
        "Archive it",
        lambda v: experiments.archive_experiment(v.console, v.principal, experiment.id),
        "is archived",
    )


def _press(label: str, key: str, icon: str, *, main: bool = False) -> bool:
    return st.button(label, key=f"exp-do-{key}", icon=icon, type="primary" if main else "secondary")


def _answer(yes: str, act: Callable[[Visit], Experiment], told: str, *, blocked: bool = False) -> None:
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="exp-no"):
            st.rerun()
        if st.button(yes, key="exp-yes", type="primary", disabled=blocked):
            _do(act, told)


def _do(act: Callable[[Visit], Experiment], told: str) -> None:
    with errors_shown():
        done = act(current_visit())
        keep_notice(f"«{done.name}» {told}.", ":material/science:")
        st.rerun()


def _verdict(results: ExperimentResults) -> Verdict:
    return results.reached.verdict if results.reached is not None else results.decision.verdict
