"""Jobs: list, live run, outcome, failure, cancel with a question first."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.jobs import service as jobs
from core.jobs.records import Job
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def job_named(console: Console, name: str) -> Job:
    with console.database.reading() as s:
        return next(j for j in jobs.list_jobs(s, tenants.list_tenants(s)[0].id) if j.name == name)


def charts(at: AppTest) -> int:
    return len(at.get("plotly_chart"))


def test_running_and_ended_jobs_are_listed_apart(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "jobs")
    assert [m.value for m in at.metric] == ["2", "1", "1"]
    assert [h.value for h in at.subheader] == ["Now", "Ended"]
    assert any("step 30 of 60" in bar.text and "12 s left" in bar.text for bar in at.progress)
    assert any("Exact match 10.0% → **90.0%**" in c.value and "n 8" in c.value for c in at.caption)
    at.segmented_control(key="jobs-view").set_value("Table").run()
    assert set(at.dataframe[0].value["state"]) == {"Succeeded", "Failed", "Cancelled"}


def test_a_running_job_shows_live_curves(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.VIEWER, "jobs", job=job_named(console, "running run").id)
    assert at.progress[0].value == 50
    assert charts(at) == 3
    assert read(at.metric[0].value) == "0.1000"


def test_a_job_that_ends_while_it_is_watched_shows_its_outcome(open_as: Open, console: Console) -> None:
    job = job_named(console, "running run")
    at = open_as(Role.TRAINER, "jobs", job=job.id)
    with console.database.transaction() as s:
        jobs.request_cancel(s, job.tenant_id, job.id, now=console.clock())
        jobs.cancelled(s, job.id, job.fence, now=console.clock())
    at.run()
    assert not at.progress
    assert any("Cancelled" in m.value for m in at.markdown)


def test_the_outcome_compares_base_and_adapter_with_intervals_and_slices_apart(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.VIEWER, "jobs", job=job_named(console, "finished run").id)
    assert ("Lift, points", "+80.0") in [(m.label, read(m.value)) for m in at.metric]
    table = at.dataframe[0].value
    assert set(table["slice"]) == {"New values in known columns", "Columns held out of training"}
    assert table["adapter_interval"].str.contains("–").all()
    assert set(table["n"]) == {8, 4}
    fields = at.table[0].value
    assert [read(value) for value in fields["Expected"]] == ["1", "0.25"]
    assert fields["Base"].iloc[0] == ":red[**2**]"
    assert fields["Adapter"].iloc[0] == "1"


def test_a_failure_says_what_why_and_what_next(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "jobs", job=job_named(console, "failed run").id)
    assert "no longer a number" in at.error[0].value
    assert "Why: The rate is too large" in at.error[0].value
    assert "Next: Lower it" in at.error[0].value


def test_cancelling_asks_first_and_then_cancels(open_as: Open, console: Console) -> None:
    waiting = job_named(console, "waiting run")
    at = open_as(Role.TRAINER, "jobs", job=waiting.id)
    at.button(key=f"cancel-{waiting.id}").click().run()
    assert not job_named(console, "waiting run").state.final
    assert any("This cannot be undone" in m.value for m in at.markdown)
    assert at.button(key="cancel-yes").label == "Cancel the job"


def test_a_viewer_cannot_cancel(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "jobs", job=job_named(console, "running run").id)
    assert "Cancel" not in [b.label for b in at.button]
