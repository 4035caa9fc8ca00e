"""Period, subject and task as the address holds them; a note that leads from a chart to its requests."""

from datetime import UTC, datetime

from streamlit.testing.v1 import AppTest

from app.ui.analytics.filters import Choice, subject_name
from app.ui.analytics.traffic import moment_words
from core.analytics.records import Step, Subject, SubjectKind


def test_longer_periods_have_longer_steps() -> None:
    steps = {
        period: Choice(period, None, None).step for period in ("Last hour", "24 hours", "7 days", "30 days")
    }
    assert list(steps.values()) == [Step.MINUTE, Step.HOUR, Step.HOUR, Step.DAY]


def test_a_choice_says_of_what_it_is() -> None:
    adapter = Subject(SubjectKind.ADAPTER, "adp_1", "alpha v1")
    assert Choice("24 hours", None, None).words == "all requests"
    assert Choice("24 hours", adapter, "copy").words == "alpha v1, task copy"
    assert subject_name(Subject(SubjectKind.COMPOSITION, "c" * 64, "a + b")) == "a + b · composition ccccccc…"
    assert subject_name(Subject(SubjectKind.ADAPTER, "adp_1", "")) == "adp_1"


def test_a_window_says_its_day_once() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert moment_words(noon, noon.replace(hour=13)) == "2026-03-02 12:00 to 13:00 UTC"
    assert moment_words(noon, noon.replace(day=3)) == "2026-03-02 12:00 to 2026-03-03 12:00 UTC"


def _script() -> None:
    from datetime import UTC, datetime, timedelta

    import streamlit as st

    from app.ui.analytics import drill as d
    from app.ui.analytics.filters import wanted_window

    d.follow_note()
    st.text(f"{st.session_state.get('analytics-part')} {st.session_state.get(d.ERROR)} {d.times()}")
    window = wanted_window()
    st.text("none" if window is None else f"{window[0]:%H:%M}-{window[1]:%H:%M}")
    if st.button("go"):
        noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        d.drill(d.Drill(noon, noon + timedelta(hours=1), outcome=d.FAILED, error="timeout"))


def test_a_press_sets_the_filters_of_requests_before_they_are_drawn_and_only_once() -> None:
    at = AppTest.from_function(_script).run()
    assert [text.value for text in at.text] == ["None None 0", "none"]
    at.button[0].click().run()
    assert [text.value for text in at.text] == ["Requests timeout 1", "12:00-13:00"]
    at.session_state["analytics-part"] = "Traffic"
    at.run()
    assert at.text[0].value.startswith("Traffic")


def test_a_window_in_the_address_that_cannot_be_is_none() -> None:
    for since, until in (("5", "4"), ("x", "4"), ("0", "9" * 40), ("0", str(10**10))):
        at = AppTest.from_function(_script)
        at.query_params["from"], at.query_params["to"] = since, until
        at.run()
        assert at.text[1].value == "none", (since, until)
