"""System: this machine, its GPUs, the engine, jobs, and how the recording stands. All from the real device."""

from collections.abc import Sequence

import streamlit as st

from app.actions import alerts, analytics
from app.ui import numbers
from app.ui.frame import Figure, errors_shown, figures
from app.ui.screens import SERVING, go_to
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.analytics.health_records import ActiveJob, EngineHealth, GpuHealth, MachineHealth
from core.analytics.records import RecorderState

SHORT = 0.92  # of the bar that turns into a warning
COLUMNS = (
    Column("name", "Job"),
    Column("kind", "Kind"),
    Column("state", "State"),
    Column("progress", "Progress", "progress"),
    Column("eta", "Left"),
    Column("silent", "Last sign of life, s ago", "number"),
    Column("id", "Id"),
)


def show_system() -> None:
    """How everything is now."""
    visit = current_visit()
    with errors_shown():
        health = alerts.system_health(visit.console, visit.principal)
        if health.machine is None or health.engine is None:
            st.info(escape(health.hidden, 200), icon=":material/lock:")
        else:
            _show_machine(health.machine)
            _show_engine(health.engine)
        _show_jobs(health.jobs)
        _show_recorder(visit, analytics.recorder_state(visit.console, visit.principal))
        st.caption(f"Read at {health.at:%H:%M:%S} UTC.")


def _show_machine(machine: MachineHealth) -> None:
    st.subheader("This machine", anchor=False)
    load = "load unknown" if machine.load is None else f"load {machine.load:.2f} over a minute"
    with st.grid(3, min_column_width=250, gap="small"):
        _bar("Processor", machine.cpu_share, f"{numbers.counted(machine.cores, 'core')}, {load}")
        _bar(
            "Memory",
            machine.memory_share,
            f"{numbers.size(machine.memory_used_bytes)} of {numbers.size(machine.memory_total_bytes)}; "
            f"this process {numbers.size(machine.process_bytes)}",
        )
        _bar(
            "Disk",
            machine.disk_used_bytes / machine.disk_total_bytes if machine.disk_total_bytes else None,
            f"{numbers.size(machine.disk_used_bytes)} of {numbers.size(machine.disk_total_bytes)}",
        )
    if not machine.gpus:
        st.info(escape(machine.gpu_note, 300), icon=":material/developer_board_off:")
    for gpu in machine.gpus:
        _show_gpu(gpu)


def _show_gpu(gpu: GpuHealth) -> None:
    told = [f"GPU {gpu.index}: {gpu.name}"]
    if gpu.temperature_c is not None:
        told.append(f"{gpu.temperature_c} °C")
    if gpu.power_w is not None:
        told.append(f"{gpu.power_w:.0f} W")
    st.markdown(f"**{escape(' · '.join(told), 200)}**")
    with st.grid(2, min_column_width=250, gap="small"):
        _bar("In use", gpu.utilisation, "share of time that it computed")
        _bar(
            "GPU memory",
            gpu.used_bytes / gpu.total_bytes if gpu.total_bytes else None,
            f"{numbers.size(gpu.used_bytes)} of {numbers.size(gpu.total_bytes)}",
        )


def _bar(label: str, share: float | None, note: str) -> None:
    with st.container(border=True, height="stretch", gap="xsmall"):
        if share is None:
            st.markdown(f"**{label}** · not known at the first look")
        else:
            mark = " :orange[:material/warning:]" if share >= SHORT else ""
            st.progress(min(1.0, max(0.0, share)), text=f"**{label}** · {numbers.percent(share)}{mark}")
        st.caption(escape(note, 200))


def _show_engine(engine: EngineHealth) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("Engine", anchor=False)
        if st.button("Cache and memory", key="to-serving", icon=":material/memory:", type="tertiary"):
            go_to(SERVING)
    if engine.note:
        st.caption(escape(engine.note, 300))
    if not engine.device:
        return
    window = (
        "at the next look"
        if engine.window_s is None
        else f"over the last {numbers.duration(engine.window_s)}"
    )
    figures(
        [
            Figure("Running", numbers.count(engine.running), f"{engine.waiting:,} wait"),
            Figure("Answers/s", _rate(engine.answers_per_s), window),
            Figure("Tokens/s", _rate(engine.tokens_per_s), window),
            Figure("Answered", numbers.short_count(engine.answered), "since it was opened"),
            Figure(
                "Memory",
                numbers.size(engine.memory_bytes),
                f"{numbers.counted(engine.adapters_in_memory, 'adapter')}",
            ),
        ]
    )
    st.caption(f"{escape(engine.base_name)} on {escape(engine.device)}. The engine of this process.")


def _rate(value: float | None) -> str:
    return numbers.NOTHING if value is None else f"{value:,.1f}"


def _show_jobs(jobs: Sequence[ActiveJob]) -> None:
    st.subheader("Jobs that run or wait", anchor=False)
    if not jobs:
        st.caption("None.")
        return
    show_table(
        [job_row(job) for job in jobs],
        COLUMNS,
        key="health-jobs",
        alt="Jobs that run or wait",
        file_name="active-jobs.csv",
    )


def job_row(job: ActiveJob) -> dict[str, object]:
    """A job as a row of the table."""
    return {
        "name": job.name,
        "kind": job.kind,
        "state": job.state.value,
        "progress": job.progress,
        "eta": numbers.duration(job.eta_s),
        "silent": None if job.silent_s is None else round(job.silent_s),
        "id": job.id,
    }


def _show_recorder(visit: Visit, state: RecorderState) -> None:
    st.subheader("Recording", anchor=False)
    written = numbers.ago(state.last_written_at, visit.console.clock())
    st.caption(
        f"This process has recorded {numbers.counted(state.written, 'request')}; {state.pending:,} wait to be written "
        f"(at most about a second); last written: {written}."
    )
    if state.dropped or state.rows_dropped or state.last_error:
        st.warning(
            f"{state.dropped:,} requests are in no figure, and {state.rows_dropped:,} more not among the single requests. "
            f"Last error: {escape(state.last_error or 'none', 200)}",
            icon=":material/warning:",
        )
