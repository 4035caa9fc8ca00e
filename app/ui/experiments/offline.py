"""Two compositions on prompts with known answers, before anybody sees either: typed here, asked here, compared here."""

from contextlib import suppress

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from app.actions import adapters, datasets
from app.actions.offline import MOST_PROMPTS, OfflinePrompt, Scorer
from app.ui import numbers
from app.ui.experiments.choices import Choice, choices_for
from app.ui.experiments.offline_run import OfflineRun
from app.ui.experiments.offline_view import show_comparison
from app.ui.frame import empty_state, error_box
from app.ui.screens import TRAINING, go_to
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import DatasetKind, Split
from core.engine.records import Message

RUN_KEY, ROWS_KEY = "_offline_run", "_offline_rows"
LOOK_SECONDS = 0.7
LONGEST = 256
HELD_OUT, PREVIEW = 12, 1000
SCORERS = {
    Scorer.EXACT: "Is the expected text",
    Scorer.CONTAINS: "Contains the expected text",
    Scorer.JSON: "Is the same JSON",
}
COLUMNS = ("prompt", "expected", "system")


def show_offline(visit: Visit) -> None:
    """Choose two, type prompts, and compare."""
    st.caption(
        "Both answer the same prompts, and each answer is right or wrong. It needs far fewer prompts than people, and says "
        "nothing of what people would think: prove that on traffic."
    )
    choices = choices_for(visit)
    if len(choices) < 2:
        empty_state(
            "There is nothing to compare yet.",
            "Train an adapter first; it can be compared with the base then.",
            icon=":material/layers:",
            actions={"Train an adapter": lambda: go_to(TRAINING)},
        )
        return
    run: OfflineRun | None = st.session_state.get(RUN_KEY)
    if run is not None and not run.over.is_set():
        st.fragment(_follow, run_every=LOOK_SECONDS)()
        return
    _form(visit, choices)
    if run is None:
        return
    if run.error is not None:
        error_box(run.error)
    elif run.result is not None:
        show_comparison(run.result, run.titles, run.prompts)


def _form(visit: Visit, choices: dict[str, Choice]) -> None:
    keys = list(choices)
    with st.grid(3, min_column_width=220):
        control = st.selectbox(
            "Control",
            keys,
            index=len(keys) - 1,
            format_func=lambda key: choices[key].title,
            key="offline-control",
        )
        challenger = st.selectbox(
            "Challenger", keys, format_func=lambda key: choices[key].title, key="offline-challenger"
        )
        scorer = st.selectbox(
            "An answer is right if it",
            list(SCORERS),
            format_func=lambda each: SCORERS[each],
            key="offline-scorer",
        )
    _offer_held_out(visit, choices, [challenger, control])
    rows = st.data_editor(
        st.session_state.setdefault(ROWS_KEY, empty_rows()),
        key="offline-rows",
        num_rows="dynamic",
        hide_index=True,
        column_config={
            "prompt": st.column_config.TextColumn("Prompt", width="large"),
            "expected": st.column_config.TextColumn("Expected answer", width="medium"),
            "system": st.column_config.TextColumn("System text, if any", width="small"),
        },
    )
    prompts = prompts_of(rows)
    same = control == challenger
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Compare",
            key="offline-start",
            type="primary",
            icon=":material/compare_arrows:",
            disabled=same or not prompts,
        )
        told = (
            "Choose two different ones."
            if same
            else f"{numbers.counted(len(prompts), 'prompt')} with an answer."
        )
        st.caption(
            f"{told} Rows without a prompt or an expected answer are left out; at most {MOST_PROMPTS}."
        )
    if pressed:
        started = OfflineRun(
            (choices[control].label, choices[challenger].label),
            (control, challenger),
            prompts,
            scorer,
            LONGEST,
        )
        started.start(visit)
        _keep_rows(rows)
        st.session_state[RUN_KEY] = started
        st.rerun()


def empty_rows(count: int = 3) -> pd.DataFrame:
    """Room for a few prompts."""
    return pd.DataFrame({name: [""] * count for name in COLUMNS})


def _offer_held_out(visit: Visit, choices: dict[str, Choice], keys: list[str]) -> None:
    """Rows that an adapter was not trained on, with the answers that are right."""
    known = [key for key in keys if key.startswith("adapter:")]
    with st.container(horizontal=True, vertical_alignment="center"):
        for key in known:
            if st.button(
                f"Take held-out rows of {escape(choices[key].label, 40)}",
                key=f"offline-rows-{key}",
                icon=":material/playlist_add:",
            ):
                found = held_out_rows(visit, key)
                if found.empty:
                    st.warning("Its training set is not here any more, or has no test rows.")
                else:
                    _keep_rows(found)
                    st.rerun()
    if known:
        st.caption("Or type and paste your own: a prompt and the answer that is right.")


def held_out_rows(visit: Visit, key: str, most: int = HELD_OUT) -> pd.DataFrame:
    """Test rows of the set that an adapter was trained on, evenly from all of them."""
    adapter = adapters.resolve_adapter(visit.console, visit.principal, key.partition(":")[2])
    sets = datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.SFT)
    own = next((each.id for each in sets if each.digest == adapter.dataset_digest), None)
    if own is None:
        return empty_rows(0)
    rows = [
        row
        for row in datasets.preview(visit.console, visit.principal, own, PREVIEW)
        if row.get("split") == Split.TEST
        and all(isinstance(row.get(n), str) for n in ("prompt", "completion"))
    ]
    some = rows[:: max(1, len(rows) // most)][:most]
    return pd.DataFrame(
        {
            "prompt": [str(row["prompt"]) for row in some],
            "expected": [str(row["completion"]) for row in some],
            "system": [str(row.get("system") or "") for row in some],
        }
    )


def _keep_rows(rows: pd.DataFrame) -> None:
    """What is in the table now, for when it is drawn again."""
    st.session_state[ROWS_KEY] = rows.reset_index(drop=True)
    st.session_state.pop("offline-rows", None)


def prompts_of(rows: pd.DataFrame) -> list[OfflinePrompt]:
    """The rows that can be asked and judged."""
    found = []
    for row in zip(*(rows[name] for name in COLUMNS), strict=True):
        prompt, expected, system = (text.strip() if isinstance(text, str) else "" for text in row)
        if not (prompt and expected):
            continue
        user = Message("user", prompt)
        messages = (Message("system", system), user) if system else (user,)
        with suppress(ValidationError):  # a text too long to be asked is left out like an empty one
            found.append(OfflinePrompt(messages=messages, expected=expected))
    return found[:MOST_PROMPTS]


def _follow() -> None:
    """Progress, time that is left, and the way out. It goes on when this tab is reloaded."""
    run: OfflineRun = st.session_state[RUN_KEY]
    run.watch()
    if run.over.is_set():
        st.rerun()
    with st.container(border=True):
        st.markdown(f"**{escape(run.titles[1])}** against **{escape(run.titles[0])}**")
        left = run.seconds_left()
        told = f"{run.done} of {len(run.prompts)} prompts" + (
            "" if left is None else f", about {numbers.duration(left)} left"
        )
        st.progress(run.done / len(run.prompts), text=told)
        if st.button("Cancel", key="offline-cancel", icon=":material/cancel:"):
            run.stop()
