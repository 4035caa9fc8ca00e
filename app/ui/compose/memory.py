"""What is in memory: adapters, compositions, keys and values; how often they were ready; and having more ready."""

from collections.abc import Mapping

import streamlit as st

from app.actions import adapters, composing, compositions
from app.actions.composing import MemoryView
from app.ui import numbers
from app.ui.frame import Figure, empty_state, errors_shown, figures
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.compose.handles import CacheStats
from core.compose.tickets import TicketState
from core.engine.records import EngineStatus
from core.errors import RmnError

LOOK_SECONDS = 2.0
PREPARED_KEY = "_preparations"
_ADAPTERS = (
    Column("name", "Adapter"),
    Column("bytes", "Size", "size"),
    Column("pins", "Used now", "number", "Requests that hold it at this moment."),
    Column("uses", "Uses", "number"),
    Column("load_ms", "Loaded in, ms", "number"),
    Column("idle_s", "Idle, s", "number"),
    Column("digest", "Digest"),
)
_COMPOSITIONS = (
    Column("adapters", "Adapters"),
    Column(
        "bytes",
        "Size",
        "size",
        "Of its adapters, which other compositions share. A composition adds nothing.",
    ),
    Column("uses", "Uses", "number"),
    Column("pins", "Used now", "number"),
    Column("age_s", "Age, s", "number"),
    Column("idle_s", "Idle, s", "number"),
    Column("key", "Key"),
)
_PREPARED = {
    TicketState.WAITING: ":gray[:material/schedule:] waits",
    TicketState.RUNNING: ":blue[:material/progress_activity:] is being prepared",
    TicketState.DONE: ":green[:material/check_circle:] is ready",
    TicketState.CANCELLED: ":gray[:material/cancel:] was cancelled",
}


def show_memory(*, live: bool) -> None:
    """All of it; `live` looks again every two seconds."""
    st.fragment(_show, run_every=LOOK_SECONDS if live else None)()


def _show() -> None:
    visit = current_visit()
    if not visit.console.engine.loaded:
        empty_state(
            "The engine is not open yet.",
            "It opens with the first question, and in the background when the console starts.",
            icon=":material/memory:",
            actions={"Open it now": lambda: _open(visit)},
        )
        return
    with errors_shown():
        view = composing.memory_view(visit.console, visit.principal)
        _show_prepared(visit)
        _show_figures(view)
        _show_budgets(view.engine, view.cache)
        labels = {
            a.digest: a.label
            for a in reversed(adapters.list_adapters(visit.console, visit.principal, include_archived=True))
        }
        _show_adapters(view, labels)
        _show_compositions(view.cache, labels)


def _open(visit: Visit) -> None:
    with errors_shown(), st.spinner("Opening the engine"):
        visit.console.engine()
        st.rerun()


def _show_figures(view: MemoryView) -> None:
    cache, engine = view.cache, view.engine
    best = numbers.percent(cache.best_hit_rate)
    figures(
        [
            Figure(
                "Ready when asked",
                numbers.percent(cache.hit_rate),
                f"best possible {best}, n {numbers.count(cache.trace_length)}",
                "Share of lookups that found their composition prepared. Best possible: what no cache of this size can "
                "exceed on the same lookups (Belady).",
            ),
            Figure(
                "Compositions",
                f"{cache.entries_held:,}",
                f"of {cache.max_entries:,}; {cache.evictions:,} evicted, {cache.expired:,} expired",
            ),
            Figure(
                "Adapters resident",
                f"{engine.adapters_resident:,}",
                f"of {engine.adapter_slots:,} slots; {engine.adapter_evictions:,} evicted",
            ),
            Figure(
                "Rows now",
                f"{engine.running_rows:,}",
                f"{engine.waiting_rows:,} wait; {engine.answered:,} answered",
            ),
        ]
    )
    st.caption(
        f"{escape(engine.base_name)} on {escape(engine.device)}, {escape(engine.dtype)}, "
        f"{numbers.size(engine.base_bytes)}. Sums are of the whole machine; the lists below show what belongs to this "
        "workspace."
    )


def _show_budgets(engine: EngineStatus, cache: CacheStats) -> None:
    prefix = engine.prefix
    asked = prefix.hits + prefix.misses
    bars = (
        ("Adapters", engine.adapter_bytes, engine.adapter_budget_bytes, f"{engine.adapter_loads:,} loads"),
        ("Keys and values of running answers", engine.kv_bytes, engine.kv_budget_bytes, ""),
        (
            "Kept prompts",
            prefix.bytes,
            prefix.budget_bytes,
            f"{prefix.hits:,} of {asked:,} requests found one, {prefix.tokens_saved:,} tokens saved",
        ),
        (
            "Compositions in the cache",
            cache.bytes,
            cache.budget_bytes or 0,
            "of their adapters, not added to them",
        ),
    )
    with st.grid(2, min_column_width=280):
        for label, used, budget, note in bars:
            with st.container(border=True, height="stretch", gap="xsmall"):
                limit = f"of {numbers.size(budget)}" if budget else "no limit of its own"
                share = min(1.0, used / budget) if budget else 0.0
                st.progress(share, text=f"**{label}** · {numbers.size(used)} {limit}")
                if note:
                    st.caption(note)


def _show_adapters(view: MemoryView, labels: Mapping[str, str]) -> None:
    own = [each for each in view.engine.residents if each.digest in view.own_digests]
    others = len(view.engine.residents) - len(own)
    st.subheader("Adapters in memory", anchor=False)
    if own:
        rows = [
            {
                "name": labels.get(each.digest, ""),
                "bytes": each.bytes,
                "pins": each.pins,
                "uses": each.uses,
                "load_ms": round(each.load_ms, 1),
                "idle_s": round(each.idle_s, 1),
                "digest": numbers.short_digest(each.digest),
            }
            for each in own
        ]
        show_table(rows, _ADAPTERS, key="residents", alt="Adapters in memory", file_name="residents.csv")
    else:
        st.caption("None of this workspace. One is loaded when it is first asked, or prepared below.")
    if others:
        st.caption(f"{numbers.counted(others, 'adapter')} of other workspaces beside them.")


def _show_compositions(cache: CacheStats, labels: Mapping[str, str]) -> None:
    st.subheader("Compositions that are ready", anchor=False)
    if not cache.entries:
        st.caption("None yet.")
        return
    rows = [
        {
            "adapters": " + ".join(labels.get(digest, digest[:12]) for digest in entry.adapters) or "base",
            "bytes": entry.bytes,
            "uses": entry.uses,
            "pins": entry.pins,
            "age_s": round(entry.age_s, 1),
            "idle_s": round(entry.idle_s, 1),
            "key": entry.key[:12],
        }
        for entry in cache.entries
    ]
    show_table(
        rows, _COMPOSITIONS, key="entries", alt="Compositions in the cache", file_name="compositions.csv"
    )


def show_prefetch(visit: Visit) -> None:
    """What to have ready before it is asked: one name or a list of them."""
    saved = compositions.list_federations(visit.console, visit.principal)
    names = [f.name for f in saved] + [
        a.name for a in adapters.list_adapters(visit.console, visit.principal) if a.state == "active"
    ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.multiselect(
            "Have ready",
            list(dict.fromkeys(names)),
            format_func=lambda name: plain(name, 60),
            key="prefetch-names",
            placeholder="Adapters and federations",
            help="They are loaded in the background, after everything that somebody waits for.",
            width=420,
        )
        if st.button("Prefetch", key="prefetch", icon=":material/download_for_offline:", disabled=not wanted):
            _prefetch(visit, wanted)


def _prefetch(visit: Visit, names: list[str]) -> None:
    kept: list[str] = st.session_state.setdefault(PREPARED_KEY, [])
    for name in names:
        with errors_shown(), st.spinner("Asking"):
            kept.append(composing.prefetch(visit.console, visit.principal, model=name).id)
    st.session_state[PREPARED_KEY] = kept[-8:]


def _show_prepared(visit: Visit) -> None:
    """What was asked for in this visit, and how far it is."""
    for preparation_id in reversed(st.session_state.get(PREPARED_KEY, [])):
        try:
            found = composing.get_preparation(visit.console, visit.principal, preparation_id)
        except RmnError:
            continue
        words = (
            ":red[:material/error:] " + escape(found.error, 200) if found.error else _PREPARED[found.state]
        )
        st.markdown(f"**{escape(found.label)}** {words}")
