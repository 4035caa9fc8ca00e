"""The verdict in one sentence, the numbers behind it, and what to be careful about."""

import math

import streamlit as st

from app.ui import numbers
from app.ui.experiments.measures import difference_words, label_of, span_words, unit_of
from app.ui.experiments.words import VERDICTS
from app.ui.frame import Figure, figures
from app.ui.text import escape
from core.experiments.plan import Comparison, Mode, Verdict
from core.experiments.records import ENDED
from core.experiments.results import ExperimentResults

A_YEAR = 365
OPEN = (Verdict.NO_DECISION, Verdict.KEEP_RUNNING)


def show_verdict(results: ExperimentResults) -> None:
    """What to do, why, and how much is still needed."""
    verdict, reason = spoken(results)
    word, color, icon = VERDICTS[verdict]
    text = f"**{word}.** {escape(reason, None)}"
    if results.decision.mismatch.found and results.reached is None:
        st.error(f"**{word}: sample ratio mismatch.** {mismatch_words(results)}", icon=":material/balance:")
    elif verdict is Verdict.ROLLBACK:
        st.error(text, icon=icon)
    elif color in ("green", "violet"):
        st.success(text, icon=icon)
    else:
        st.info(text, icon=icon)
    after = afterwards(results)
    if after:
        st.caption(escape(after, None))


def spoken(results: ExperimentResults) -> tuple[Verdict, str]:
    """The verdict that counts: the first one that ended the question, else what the numbers say now."""
    if results.reached is not None:
        return results.reached.verdict, results.reached.reason
    return results.decision.verdict, results.decision.reason


def afterwards(results: ExperimentResults) -> str:
    """When it was reached, and what the numbers have said since."""
    reached = results.reached
    if reached is None:
        return needed_words(results)
    told = f"Reached {numbers.moment(reached.at)}; it stays, whatever comes later."
    now = results.decision
    if now.verdict is not reached.verdict:
        told += f" The numbers now, by themselves: {VERDICTS[now.verdict][0].lower()}. {now.reason}"
    return told


def needed_words(results: ExperimentResults) -> str:
    """How many more units a verdict is likely to take, and how long at this pace."""
    experiment, needed = results.experiment, results.decision.units_needed
    if experiment.state in ENDED:
        return "It is over, and the question stayed open: more units would have been needed."
    if results.decision.mismatch.found:
        return ""
    if needed is None:
        return "How many more units it takes cannot be said from what was seen so far."
    if needed == 0:
        return ""
    told = f"About {_rounded(needed):,} more units per arm until a verdict, if the difference stays what it is now."
    if is_locked(results):
        told = f"{needed:,} more units per arm until the next look."
    days = days_left(results)
    return told if days is None else f"{told} At this pace {_days_words(days)}."


def days_left(results: ExperimentResults) -> int | None:
    """Days for the units that are still needed, at the pace so far; None before anything can be said."""
    needed, passed = results.decision.units_needed, results.evidence.days
    fewest = fewest_units(results)
    if not needed or not fewest or passed < 0.5:
        return None
    return max(1, math.ceil(needed * passed / fewest))


def fewest_units(results: ExperimentResults) -> int:
    """Units of the smallest arm that gets traffic."""
    return min((arm.units for arm in results.arms if arm.weight > 0), default=0)


def show_figures(results: ExperimentResults) -> None:
    """Units, days, what is still needed, and the difference so far."""
    units = sum(arm.units for arm in results.arms)
    requests = sum(arm.requests for arm in results.arms)
    days = days_left(results)
    row = [
        Figure(
            "Units",
            numbers.count(units),
            f"{numbers.counted(requests, 'request')}, {fewest_units(results):,} in the smallest arm",
        ),
        Figure("Days", f"{results.evidence.days:.1f}", "since the first unit"),
        Figure(
            "Still needed per arm",
            numbers.count(_needed(results)),
            _needed_note(results, days),
        ),
    ]
    best = leading(results)
    if best is not None:
        metric = results.experiment.plan.primary
        row.append(
            Figure(
                f"{label_of(metric)}, {unit_of(metric)}",
                difference_words(metric, best.interval.value).removesuffix(f" {unit_of(metric)}"),
                f"{span_words(metric, best.interval)}, {numbers.counted(best.units, 'unit')}",
                help=f"{escape(best.arm)} minus {escape(best.control)}, with its interval.",
            )
        )
    figures(row)


def _needed(results: ExperimentResults) -> int | None:
    """None where a number would say more than is known."""
    if results.decision.verdict not in OPEN:
        return 0
    needed = None if results.decision.mismatch.found else results.decision.units_needed
    if not needed:
        return None
    return needed if is_locked(results) else _rounded(needed)


def _rounded(needed: int) -> int:
    """What is only expected is not said to the last unit."""
    return round(needed, min(0, 3 - len(str(needed))))


def _days_words(days: int) -> str:
    return "more than a year" if days > A_YEAR else f"about {numbers.counted(days, 'day')}"


def _needed_note(results: ExperimentResults, days: int | None) -> str:
    if results.decision.verdict not in OPEN:
        return "verdict reached"
    if results.decision.mismatch.found:
        return "first mend the sample ratio"
    if results.decision.units_needed == 0:
        best = leading(results)
        clear = best is not None and best.better
        return (
            "the metric is clear; a guardrail or the calendar is not"
            if clear
            else "close: a few more will tell"
        )
    if results.decision.units_needed is None:
        return "not to be said yet"
    if is_locked(results):
        return f"until the next look, {_days_words(days)}" if days else "until the next look"
    return _days_words(days) if days else "if the difference stays"


def leading(results: ExperimentResults) -> Comparison | None:
    """The comparison that says most now."""
    winner = results.winner
    named = [each for each in results.decision.comparisons if each.arm == winner]
    if named:
        return named[0]
    return min(results.decision.comparisons, key=lambda each: each.p_value, default=None)


def show_warnings(results: ExperimentResults) -> None:
    """A sample ratio that went wrong after the verdict; then everything else, each in a line."""
    if results.decision.mismatch.found and results.reached is not None:
        st.error(f"**Sample ratio mismatch.** {mismatch_words(results)}", icon=":material/balance:")
    for warning in results.warnings:
        st.warning(escape(warning, None), icon=":material/info:")
    if is_locked(results):
        st.info(
            "This plan is locked until its next look: figures of the arms are there to see that everything works, and "
            "prove nothing yet.",
            icon=":material/lock_clock:",
        )


def mismatch_words(results: ExperimentResults) -> str:
    """How many units each arm has and should have, why that matters, and what to do: ready for Markdown."""
    found = results.decision.mismatch
    parts = [
        f"{escape(arm)} has {found.observed.get(arm, 0):,} units and should have {expected:,.0f}"
        for arm, expected in found.expected.items()
        if expected > 0
    ]
    return (
        f"{'; '.join(parts)}. Chance alone does this once in {1 / max(found.p_value, 1e-12):,.0f} experiments.\n\n"
        "Why: something sorts people into or out of an arm, so the arms differ in more than what they answer, and nothing "
        "can be concluded.\n\nNext: look for a redirect, a cache, a crash or a filter behind one arm; then start anew."
    )


def is_locked(results: ExperimentResults) -> bool:
    """Whether the plan gives no difference before its next look."""
    plan = results.experiment.plan
    return plan.mode in (Mode.FIXED, Mode.GROUP_SEQUENTIAL) and not results.decision.comparisons
