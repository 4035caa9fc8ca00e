"""The single requests behind a figure, newest first, page by page. Never their text: it is not kept."""

import streamlit as st

from app.actions import analytics
from app.ui import badges, numbers
from app.ui.analytics.drill import (
    ALL_OUTCOMES,
    ANY_ERROR,
    BEFORE,
    ERROR,
    FAILED,
    LEFT,
    OUTCOME,
    OUTCOMES,
    SLOWER,
    set_later,
)
from app.ui.analytics.filters import SINCE, UNTIL, Choice, set_window, wanted_window
from app.ui.analytics.judge import show_judging
from app.ui.analytics.traffic import moment_words
from app.ui.analytics.words import outcome
from app.ui.frame import empty_state, errors_shown
from app.ui.screens import show_item, shown_item
from app.ui.tables import Column, show_table
from app.ui.text import plain
from app.ui.visit import Visit, current_visit
from core.analytics.records import CANCELLED, RequestPage, RequestRecord, Scope, Source
from core.tenants.records import Permission

PER_PAGE = 50
SOURCES = {Source.SERVED: "measured here", Source.REPORTED: "reported", Source.SIMULATED: "simulated"}
COLUMNS = (
    Column("at", "Time, UTC"),
    Column("request_id", "Request"),
    Column("adapters", "Adapters"),
    Column("task", "Task"),
    Column("outcome", "Outcome"),
    Column("error", "Error"),
    Column("latency", "Latency, ms", "number"),
    Column("queued", "Queued, ms", "number"),
    Column("first_token", "First token, ms", "number"),
    Column("read", "Tokens read", "number"),
    Column("generated", "Tokens generated", "number"),
    Column("cost", "Cost", "number"),
    Column("rating", "Rating", "number"),
    Column("thumbs", "Thumbs"),
    Column("source", "Source"),
)


def show_requests(choice: Choice) -> None:
    """Filters of their own, the table, and the way to older ones."""
    visit = current_visit()
    scope = _scope(visit, choice)
    with errors_shown():
        known = [error.code for error in analytics.errors(visit.console, visit.principal, scope)]
        wanted, error, slower = _show_filters([plain(code, 40) for code in known])
        page = analytics.requests(
            visit.console,
            visit.principal,
            scope,
            error=CANCELLED if wanted == LEFT else None if error == ANY_ERROR else error,
            failed=None if wanted in (ALL_OUTCOMES, LEFT) or error != ANY_ERROR else wanted == FAILED,
            slower_than_ms=slower or None,
            before_id=_before(),
            limit=PER_PAGE,
        )
        picked = _show_page(page, slower=bool(slower))
        if picked is not None and visit.principal.may(Permission.REVIEW):
            show_judging(visit, picked)


def request_row(each: RequestRecord) -> dict[str, object]:
    """A request as a row of the table."""
    return {
        "at": f"{each.at:%Y-%m-%d %H:%M:%S}",
        "request_id": each.request_id,
        "adapters": ", ".join(each.adapters) or "base alone",
        "task": each.task or None,
        "outcome": outcome(each.error),
        "error": each.error or None,
        "latency": round(each.latency_ms, 1),
        "queued": None if each.queued_ms is None else round(each.queued_ms, 1),
        "first_token": None if each.first_token_ms is None else round(each.first_token_ms, 1),
        "read": each.prompt_tokens,
        "generated": each.completion_tokens,
        "cost": round(each.cost, 6),
        "rating": each.rating,
        "thumbs": each.thumbs.value if each.thumbs else None,
        "source": SOURCES[each.source],
    }


def _scope(visit: Visit, choice: Choice) -> Scope:
    """The period of the filter, or the step of a chart that was pressed."""
    window = wanted_window()
    if window is None:
        return choice.scope(visit)
    of = choice.scope(visit)
    return Scope(window[0], window[1], of.adapter, of.composition, of.task, of.asked_at)


def _show_filters(errors: list[str]) -> tuple[str, str, float]:
    window = wanted_window()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.segmented_control(
            "Outcome",
            list(OUTCOMES),
            default=ALL_OUTCOMES,
            required=True,
            key=OUTCOME,
            bind="query-params",
            on_change=_from_the_newest,
            help="Left: its reader went away before the answer was there. That is no failure.",
        )
        error = st.selectbox(
            "Error",
            [ANY_ERROR, *errors],
            key=ERROR,
            bind="query-params",
            width=200,
            on_change=_from_the_newest,
        )
        slower = st.number_input(
            "Slower than, ms",
            min_value=0.0,
            value=0.0,
            step=50.0,
            format="%.0f",
            key=SLOWER,
            bind="query-params",
            width=160,
            on_change=_from_the_newest,
            help="Answered ones that took longer. 0: all.",
        )
    if window is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(moment_words(*window), color="blue", icon=":material/schedule:")
            st.button("Whole period", key="window-off", icon=":material/close:", on_click=_whole_period)
    return wanted or ALL_OUTCOMES, error or ANY_ERROR, float(slower or 0.0)


def _show_page(page: RequestPage, *, slower: bool) -> str | None:
    """The id of the request that was ticked."""
    if not page.rows:
        _show_none(page)
        return None
    badges.simulated(any(each.source is Source.SIMULATED for each in page.rows))
    about = "about " if slower else ""
    st.caption(
        f"{about}{numbers.counted(page.total, 'request')} in all, newest first; {len(page.rows)} on this page. Single "
        f"requests are kept since {numbers.moment(page.kept_since)}, their text never."
    )
    picked = show_table(
        [request_row(each) for each in page.rows],
        COLUMNS,
        key="requests",
        alt="Single requests, newest first",
        file_name="requests.csv",
        height=560,
        pick=True,
    )
    with st.container(horizontal=True):
        st.button(
            "Newest",
            key="requests-newest",
            icon=":material/first_page:",
            disabled=_before() is None,
            on_click=_from_the_newest,
        )
        st.button(
            "Older",
            key="requests-older",
            icon=":material/chevron_right:",
            disabled=page.next_before is None,
            on_click=show_item,
            args=(BEFORE, str(page.next_before)),
        )
    return None if picked is None else str(picked["request_id"])


def _show_none(page: RequestPage) -> None:
    if page.total:
        why = (
            f"{numbers.counted(page.total, 'request')} are counted, but single requests are kept since "
            f"{numbers.moment(page.kept_since)} only."
        )
    else:
        why = "Another period, outcome or error shows more."
    empty_state(
        "No such requests to show.", why, icon=":material/search_off:", actions={"Show all": _show_all}
    )


def _show_all() -> None:
    set_later({OUTCOME: ALL_OUTCOMES, ERROR: ANY_ERROR, SLOWER: 0.0, SINCE: None, UNTIL: None})


def _whole_period() -> None:
    set_window(None, None)
    _from_the_newest()


def _from_the_newest() -> None:
    show_item(BEFORE, None)


def _before() -> int | None:
    text = shown_item(BEFORE) or ""
    return int(text) if text.isdecimal() and len(text) < 19 else None
