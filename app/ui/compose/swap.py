"""Another version behind a name: asked, followed step by step, and taken back."""

import threading
import time

import streamlit as st
import structlog

from app.actions import compositions
from app.ui import numbers
from app.ui.frame import error_box, errors_shown
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.compose.swap_records import ServedKind, Swap, SwapState
from core.errors import RmnError, UnavailableError

LOG = structlog.get_logger(__name__)
RUN_KEY, BACK_KEY = "_swap_run", "_rolled_back"
LOOK_S = 0.15


class SwapRun:
    """A swap in a thread of its own: it goes on when the tab is closed, and its entry tells how it ended."""

    def __init__(self, kind: ServedKind, name: str, version: int, *, warm: bool) -> None:
        self.kind, self.name, self.version, self.warm = kind, name, version, warm
        self.told: Swap | None = None
        self.error: RmnError | None = None
        self.over = threading.Event()

    def start(self, visit: Visit) -> None:
        """Begin."""
        threading.Thread(target=self._run, args=(visit,), name="swap", daemon=True).start()

    def now(self, visit: Visit) -> Swap | None:
        """How far it is. After the flip the entry knows more than what was told."""
        told = self.told
        if told is None or self.over.is_set() or told.state is not SwapState.CANARY:
            return told
        found = compositions.list_swaps(visit.console, visit.principal, name=self.name, limit=5)
        return next((swap for swap in found if swap.id == told.id), told)

    def _run(self, visit: Visit) -> None:
        try:
            self.told = compositions.swap(
                visit.console,
                visit.principal,
                self.kind,
                self.name,
                self.version,
                warm=self.warm,
                progress=self._hear,
            )
        except RmnError as error:
            self.error = error
        except Exception:
            LOG.exception("swap.thread_failed", name=self.name)
            self.error = UnavailableError(
                "The swap failed.", "Something unexpected happened.", "Look at its entry."
            )
        finally:
            self.over.set()

    def _hear(self, swap: Swap) -> None:
        self.told = swap


@st.dialog("Make this version serve?", icon=":material/swap_horiz:", on_dismiss="rerun")
def confirm_swap(kind: ServedKind, name: str, version: int, serving: int | None) -> None:
    """Ask, then swap, and show each step."""
    ask_swap(kind, name, version, serving)


def ask_swap(kind: ServedKind, name: str, version: int, serving: int | None) -> None:
    """The question; after a yes the steps, live. A reload finds a swap that still runs."""
    visit, place = current_visit(), st.empty()
    run: SwapRun | None = st.session_state.get(RUN_KEY)
    if run is None or (run.kind, run.name, run.version) != (kind, name, version):
        with place.container():
            run = _question(visit, kind, name, version, serving)
        if run is None:
            return
        place.empty()
        st.session_state[RUN_KEY] = run
    _follow(visit, run)
    if st.button("Close", key="swap-close", type="primary"):
        st.session_state.pop(RUN_KEY, None)
        st.rerun()


def _question(visit: Visit, kind: ServedKind, name: str, version: int, serving: int | None) -> SwapRun | None:
    before = "Nothing serves under this name now." if serving is None else f"Version {serving} serves now."
    st.markdown(
        f"**{escape(name)}** will mean version {version}. {before} It answers until the new version has been checked, "
        "built beside it and has answered a test; no request fails."
    )
    warm = st.toggle(
        "Keep the old version in memory",
        value=True,
        key="swap-warm",
        help="Warm: a rollback needs no loading. Off: its memory is given back as soon as nobody uses it.",
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="swap-no"):
            st.rerun()
        if not st.button("Swap", key="swap-yes", type="primary"):
            return None
    run = SwapRun(kind, name, version, warm=warm)
    run.start(visit)
    return run


@st.dialog("Roll back?", icon=":material/undo:")
def confirm_rollback(kind: ServedKind, name: str) -> None:
    """Ask, then let the name mean what it meant before; what that took is measured."""
    ask_rollback(kind, name)


def ask_rollback(kind: ServedKind, name: str) -> None:
    """The question, and after a yes the rollback."""
    st.markdown(
        f"**{escape(name)}** will mean again what it meant before its last swap. Running answers end as they are."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="rollback-no"):
            st.rerun()
        if st.button("Roll it back", key="rollback-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                begun = time.perf_counter()
                if kind is ServedKind.FEDERATION:
                    compositions.rollback_federation(visit.console, visit.principal, name)
                else:
                    compositions.roll_back(visit.console, visit.principal, kind, name)
                st.session_state[BACK_KEY] = (name, 1000 * (time.perf_counter() - begun))
                st.rerun()


def rolled_back_notice(name: str | None = None) -> None:
    """Says once what the last rollback took; `name`: only if it was of this name."""
    told = st.session_state.get(BACK_KEY)
    if told is not None and name in (None, told[0]):
        st.session_state.pop(BACK_KEY)
        st.success(
            f"{escape(told[0])} was rolled back in {told[1]:.1f} ms, from the click to the last write.",
            icon=":material/undo:",
        )


def steps_of(swap: Swap | None, *, over: bool) -> list[tuple[str, str, str]]:
    """The steps of a swap: «done», «running», «waiting» or «failed», their names, and what they took."""
    figures = {} if swap is None else swap.figures
    state = None if swap is None else swap.state
    flipped = state in (SwapState.SERVING, SwapState.ROLLED_BACK)
    reached = {
        "Checked": "build_ms" in figures,
        "Built beside the old one": state not in (None, SwapState.BUILDING, SwapState.FAILED),
        "Canary answered": flipped,
        "Flipped": flipped,
        "Old version drained": flipped and "drain_ms" in figures,
        "Released": flipped and over,
    }
    names = list(reached)
    first_open = next((i for i, name in enumerate(names) if not reached[name]), len(names))
    notes = {
        "Built beside the old one": _ms(figures, "build_ms"),
        "Canary answered": _ms(figures, "canary_ms"),
        "Flipped": _ms(figures, "flip_ms"),
        "Old version drained": _ms(figures, "drain_ms")
        + ("" if figures.get("drained", True) else ", some requests still run"),
        "Released": str(figures.get("mode", "")),
    }
    told = []
    for place, name in enumerate(names):
        mark = "done" if reached[name] else "waiting"
        if place == first_open:
            mark = "failed" if over else "running"
        told.append((mark, name, notes.get(name, "") if reached[name] else ""))
    return told


def _follow(visit: Visit, run: SwapRun) -> None:
    place = st.empty()
    while True:
        over = run.over.is_set()
        _draw(place.container(), run.now(visit), over=over)
        if over:
            break
        time.sleep(LOOK_S)
    if run.error is not None:
        error_box(run.error)
        st.caption("The old version serves on.")
    else:
        st.success(f"{escape(run.name)} serves version {run.version}.", icon=":material/check_circle:")


_MARKS = {
    "done": ":green[:material/check_circle:]",
    "running": ":blue[:material/progress_activity:]",
    "waiting": ":gray[:material/radio_button_unchecked:]",
    "failed": ":red[:material/error:]",
}


def _draw(place: st.delta_generator.DeltaGenerator, swap: Swap | None, *, over: bool) -> None:
    with place:
        for mark, name, note in steps_of(swap, over=over):
            st.markdown(f"{_MARKS[mark]} {name}" + (f" · {escape(note)}" if note else ""))


def _ms(figures: dict[str, object], name: str) -> str:
    value = figures.get(name)
    return numbers.milliseconds(float(value)) if isinstance(value, int | float) else ""
