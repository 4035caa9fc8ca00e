"""What came of an offline comparison: the verdict, how often each was right, and every answer."""

from collections.abc import Sequence

import streamlit as st

from app.actions.offline import OfflineComparison, OfflinePrompt, OfflineRow
from app.ui import numbers
from app.ui.experiments.verdict import OPEN
from app.ui.experiments.words import VERDICTS
from app.ui.frame import Figure, figures
from app.ui.tables import Column, show_table
from app.ui.text import escape

COLUMNS = (
    Column("number", "Prompt", "number"),
    Column("outcome", "Right"),
    Column("prompt", "Prompt"),
    Column("expected", "Expected"),
    Column("control", "Control answered"),
    Column("treatment", "Challenger answered"),
    Column("control_ms", "Control, ms", "number"),
    Column("treatment_ms", "Challenger, ms", "number"),
)


def show_comparison(
    found: OfflineComparison, titles: tuple[str, str], prompts: Sequence[OfflinePrompt]
) -> None:
    """Verdict, counts, rows."""
    word, _, icon = VERDICTS[found.decision.verdict]
    if found.decision.verdict in OPEN:
        word = "Not shown yet: try more prompts"
    reason = found.decision.reason.replace("«control»", f"«{titles[0]}»").replace(
        "«treatment»", f"«{titles[1]}»"
    )
    st.info(f"**{word}.** {escape(reason, None)}", icon=icon)
    n = len(found.rows)
    right = [found.both + found.only_control, found.both + found.only_treatment]
    ends = found.difference
    figures(
        [
            Figure("Control right", numbers.percent(right[0] / n), f"{right[0]} of {n} prompts"),
            Figure("Challenger right", numbers.percent(right[1] / n), f"{right[1]} of {n} prompts"),
            Figure(
                "Difference",
                numbers.points(ends.value).replace("-", "−"),
                f"{100 * ends.low:+.1f} to {100 * ends.high:+.1f}, one look".replace("-", "−"),
            ),
            Figure(
                "They differ on",
                numbers.count(found.only_control + found.only_treatment),
                f"{found.only_treatment} for the challenger, {found.only_control} for the control",
            ),
        ]
    )
    st.caption(
        f"{escape(titles[1])} against {escape(titles[0])}. Only prompts on which they differ speak; the verdict holds at "
        "any number of prompts, the interval beside it for one look."
    )
    show_table(
        [offline_row(row, prompts[row.number - 1]) for row in found.rows],
        COLUMNS,
        key="offline",
        alt="Every prompt with both answers",
        file_name="offline-comparison.csv",
    )


def offline_row(row: OfflineRow, prompt: OfflinePrompt) -> dict[str, object]:
    """One prompt."""
    outcome = {
        (True, True): "both",
        (True, False): "only the control",
        (False, True): "only the challenger",
        (False, False): "neither",
    }[(row.control_right, row.treatment_right)]
    return {
        "number": row.number,
        "outcome": outcome,
        "prompt": prompt.messages[-1].content,
        "expected": prompt.expected,
        "control": row.control_text,
        "treatment": row.treatment_text,
        "control_ms": round(row.control_ms),
        "treatment_ms": round(row.treatment_ms),
    }
