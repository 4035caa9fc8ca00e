"""The parts that every screen has: head, row of numbers, empty state, error box, confirmation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from app.ui.text import escape, plain
from core.errors import RmnError

Click = Callable[[], None]
LONGEST_WORD = 40


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a screen's head. `note` says its n, interval or source."""

    label: str
    value: str
    note: str = ""
    help: str | None = None


def page_head(title: str, purpose: str) -> None:
    """The one title and, in one line, what the screen is for."""
    st.title(title, anchor=False)
    st.caption(purpose)


def figures(row: Sequence[Figure]) -> None:
    """The numbers that matter, as cards of equal width and height that reflow on a phone."""
    with st.grid(len(row), min_column_width=150, gap="small"):
        for figure in row:
            with st.container(border=True, height="stretch", gap=None):
                st.metric(figure.label, escape(figure.value), help=figure.help)
                if figure.note:
                    st.caption(escape(figure.note))


def empty_state(
    what: str, next_step: str, *, icon: str = ":material/inbox:", actions: Mapping[str, Click] | None = None
) -> None:
    """Nothing here yet: says what to do next and offers the buttons. The first one is the main one."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(f"### {icon}", text_alignment="center")
        st.markdown(f"**{what}**", text_alignment="center")
        st.caption(next_step, text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center"):
            for number, (label, click) in enumerate((actions or {}).items()):
                if st.button(label, key=f"empty-{what}-{number}", type="secondary" if number else "primary"):
                    click()
        st.space("small")


def error_box(error: RmnError) -> None:
    """What happened, why, and what to do next. Untrusted names in it are escaped."""
    problem_box(error.what, error.why, error.next_step)


def problem_box(what: str, why: str, next_step: str) -> None:
    """The same for a problem that was stored, as a failed job's is."""
    lines = [f"**{escape(what, None)}**"]
    if why:
        lines.append(f"Why: {escape(why, None)}")
    if next_step:
        lines.append(f"Next: {escape(next_step, None)}")
    st.error("\n\n".join(lines), icon=":material/error:")


@contextmanager
def errors_shown() -> Iterator[None]:
    """Turns an error of the product into the box, in place; anything else goes on to the log."""
    try:
        yield
    except RmnError as error:
        error_box(error)


def show_script_error(error: BaseException) -> bool:
    """For `on_script_error` of the console: the box instead of a traceback. True: nothing else is to be shown."""
    if isinstance(error, RmnError):
        error_box(error)
    else:
        problem_box(
            "This screen could not be drawn.",
            "Something unexpected happened; the details are in the console's log.",
            "Reload the page. If it happens again, tell your administrator the time of day.",
        )
    return True


def keep_notice(text: str, icon: str = ":material/check_circle:") -> None:
    """A short confirmation that is shown after the next rerun or page switch."""
    st.session_state["_notice"] = (text, icon)


def show_notice() -> None:
    """The confirmation kept by `keep_notice`, once."""
    notice = st.session_state.pop("_notice", None)
    if notice is not None:
        text, icon = notice
        st.toast(escape(text, 300), icon=icon)


def fact_list(facts: Mapping[str, str], alt: str) -> None:
    """Names and values, letter by letter: a table, and below it the values that no line would hold, to copy."""
    unbroken = {
        name for name, value in facts.items() if max(map(len, value.split()), default=0) > LONGEST_WORD
    }
    short = {escape(name): escape(value, 2000) for name, value in facts.items() if name not in unbroken}
    if short:
        st.table(short, border="horizontal", alt=alt)
    for name in facts:
        if name in unbroken:
            st.caption(escape(name))
            st.code(plain(facts[name]), language=None, wrap_lines=True)
