"""Step 4: how many units and days a verdict takes, computed as one types, and when it may be given."""

from datetime import datetime, timedelta

import streamlit as st
from pydantic import ValidationError

from app.actions import experiments
from app.ui import numbers
from app.ui.experiments.fields import begin, changed, moment, number, whole
from app.ui.experiments.form import Form
from app.ui.experiments.measures import Measure
from app.ui.experiments.traffic import DAYS, Traffic, traffic_of
from app.ui.experiments.words import BANDIT, MODES, automatic_words
from app.ui.frame import Figure, error_box, figures
from app.ui.text import escape
from app.ui.visit import Visit
from core.errors import RmnError
from core.experiments.plan import MetricKind, Mode
from core.experiments.records import Automatic
from core.experiments.results import Advice

POWER = 0.8
LONG_DAYS = 60.0
CONFIDENCES = (90.0, 95.0, 99.0)


def show_duration(visit: Visit, form: Form) -> Form:
    """Mode, expected difference, advice, minimums, start and end, and what happens by itself."""
    if form.way == BANDIT:
        st.info("A bandit is judged at any moment: its shares move, so there is no planned look.")
    else:
        form = changed(form, mode=_mode(form))
    form = _expected(visit, _least(form))
    advice = advice_for(visit, form)
    if advice is not None:
        show_advice(form, advice)
    elif form.baseline is None:
        st.caption(":material/calculate: Type today's value to see how many units and days it takes.")
    if form.mode is not Mode.ALWAYS_VALID:
        form = _planned(form, advice)
    form = _times(form, visit.console.clock())
    return _automatic(form)


def duration_lacks(form: Form) -> str:
    """What is missing before the review."""
    if form.mode is not Mode.ALWAYS_VALID and not form.planned_units:
        return "This mode needs the planned number of units per arm."
    if form.starts_at is not None and form.ends_at is not None and form.ends_at <= form.starts_at:
        return "The end comes before the start."
    return ""


def advice_for(visit: Visit, form: Form) -> Advice | None:
    """Units and days, where enough is known; a reason on screen where the numbers cannot be."""
    if form.baseline is None or not form.difference:
        return None
    measure = form.measure
    sign = 1 if measure.higher_is_better else -1
    try:
        return experiments.advise(
            visit.console,
            visit.principal,
            changed(form, planned_units=form.planned_units or 1000).draft(),
            baseline=form.baseline / measure.scale,
            difference=sign * form.difference / measure.scale,
            units_per_day=form.per_day or None,  # too little to be shown is told as 0
            spread=None if form.spread is None else form.spread / measure.scale,
            power=POWER,
        )
    except RmnError as error:
        error_box(error)
    except (ValidationError, OverflowError):
        st.warning("The number of units cannot be computed from these numbers.", icon=":material/calculate:")
    return None


def show_advice(form: Form, advice: Advice) -> None:
    """How many, how long, and whether that is realistic."""
    days = advice.days
    row = [
        Figure("Units per arm", numbers.count(advice.units_per_arm), f"in {POWER:.0%} of such experiments"),
        Figure("Units in all", numbers.count(advice.total_units), numbers.counted(len(form.arms), "arm")),
        Figure("Days", numbers.NOTHING if days is None else _days(days), "with this traffic"),
    ]
    if advice.smallest_difference is not None:
        row.append(
            Figure(
                "Smallest difference",
                f"{100 * abs(advice.smallest_difference):.2f} points",
                "seen in 14 days, by one look",
            )
        )
    figures(row)
    st.caption(escape(advice.sentence, None))
    if days is not None and days > LONG_DAYS:
        st.warning(
            f"That is {_days(days)} days. Choose a larger difference to look for, more traffic, a shadow run, or the mode "
            "«at planned looks».",
            icon=":material/schedule:",
        )


def _days(days: float) -> str:
    return f"{max(1, -(-days // 1)):,.0f}"


def _mode(form: Form) -> Mode:
    quantile = form.measure.kind is MetricKind.QUANTILE
    options = [mode for mode in Mode if not (quantile and mode in (Mode.FIXED, Mode.GROUP_SEQUENTIAL))]
    chosen = st.radio(
        "When may it be judged?",
        options,
        key=begin("mode", form.mode if form.mode in options else Mode.ALWAYS_VALID),
        format_func=lambda mode: f"{MODES[mode].icon} {MODES[mode].title}",
        captions=[f"{MODES[mode].does} **Its limit:** {MODES[mode].limit}" for mode in options],
    )
    return Mode(chosen)


def _expected(visit: Visit, form: Form) -> Form:
    """Today's value and the difference worth finding: from real traffic where there is any, else typed."""
    measure, found = form.measure, traffic_of(visit, form)
    st.markdown("**How many units, and how long?**")
    st.caption(_source(found, measure))
    baseline = form.baseline
    if baseline is None and found is not None and found.baseline is not None:
        baseline = round(found.baseline * measure.scale, 2)
    spread = form.spread
    if spread is None and found is not None and found.spread is not None:
        spread = round(found.spread * measure.scale, 4)
    per_day = form.per_day or (round(found.per_day, 1) if found is not None else None)
    difference = form.difference or form.margin or measure.margin or None
    unit = escape("%" if measure.kind is MetricKind.SHARE else measure.unit)
    with st.grid(4, min_column_width=170):
        baseline = number(f"{escape(measure.title)} today, {unit}", f"baseline-{measure.key}", baseline)
        difference = number(
            f"Difference to find, {escape(measure.unit)}",
            f"difference-{measure.key}",
            difference,
            help="The smallest improvement that would be worth it. Half the difference takes four times the units.",
        )
        per_day = number(
            "New units per day",
            "per-day",
            per_day,
            help="Units are what keeps to one arm. From traffic they are counted as requests; where people send several, "
            "type how many people come.",
        )
        if measure.kind is not MetricKind.SHARE:
            spread = number(
                f"Spread between units, {escape(measure.unit)}",
                f"spread-{measure.key}",
                spread,
                help="The standard deviation. Filled in from P50 and P95 where traffic is known; rough for heavy tails.",
            )
    return changed(form, baseline=baseline, difference=difference, per_day=per_day, spread=spread)


def _source(found: Traffic | None, measure: Measure) -> str:
    if found is None:
        return "There is no traffic to learn from yet, so type what you expect."
    simulated = ", simulated in part" if found.simulated else ""
    known = (
        f"its {escape(measure.title.lower())} is filled in" if found.baseline is not None else "type the rest"
    )
    return (
        f"From {numbers.counted(found.requests, 'request')} of {escape(found.about)} in the last {DAYS} days{simulated}; "
        f"{known}. Change what you know better."
    )


def _least(form: Form) -> Form:
    """What a winner needs in any case, and how sure one wants to be."""
    with st.grid(3, min_column_width=200):
        units = whole("At least this many units per arm", "minimum-units", form.minimum_units, 1)
        days = number(
            "At least this many days",
            "minimum-days",
            form.minimum_days,
            high=365.0,
            help="Seven days hold every weekday once. Harm is acted on from the first unit, whatever stands here.",
        )
        confidence = st.selectbox(
            "Confidence",
            sorted({*CONFIDENCES, form.confidence}),
            key=begin("confidence", form.confidence),
            format_func=lambda each: f"{each:g} %",
            help="95 %: of 20 experiments in which nothing differs, one at most names a winner. More takes more units.",
        )
    return changed(form, minimum_units=units or 1, minimum_days=days or 0.0, confidence=confidence)


def _planned(form: Form, advice: Advice | None) -> Form:
    with st.grid(2, min_column_width=240):
        units = whole(
            "Planned units per arm",
            "planned-units",
            form.planned_units or (advice.units_per_arm if advice else None),
            2,
            help="Fixed when it starts: a number that follows the results proves nothing.",
        )
        looks = form.looks
        if form.mode is Mode.GROUP_SEQUENTIAL:
            looks = whole("Looks", "looks", form.looks, 1, 100) or 1
    return changed(form, planned_units=units, looks=looks)


def _times(form: Form, now: datetime) -> Form:
    with st.grid(2, min_column_width=280):
        with st.container(border=True):
            starts = moment("Start later", "starts", form.starts_at, now, offer=timedelta(days=1))
        with st.container(border=True):
            ends = moment("End by itself", "ends", form.ends_at, now, offer=timedelta(days=28))
    return changed(form, starts_at=starts, ends_at=ends)


def _automatic(form: Form) -> Form:
    options = [each for each in Automatic if form.may_swap or each in (Automatic.OFF, Automatic.ROLLBACK)]
    chosen = st.radio(
        "What happens by itself once the verdict is there?",
        options,
        key=begin("automatic", form.automatic if form.automatic in options else Automatic.OFF),
        format_func=lambda each: {
            Automatic.OFF: "Nothing",
            Automatic.PROMOTE: "Promote a winner",
            Automatic.ROLLBACK: "Roll back harm",
            Automatic.BOTH: "Both",
        }[each],
        captions=[automatic_words(each) for each in options],
    )
    if not form.may_swap:
        st.caption(
            "A winner can be promoted by itself only where a hot swap can put it under the name that requests use: another "
            "version of the same adapter, or anything under a federation's name."
        )
    return changed(form, automatic=Automatic(chosen))
