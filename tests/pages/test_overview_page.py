"""The overview: numbers, the next step, recent jobs."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def test_the_numbers_that_matter_come_with_their_interval_and_n(open_as: Open, read: Read) -> None:
    at = open_as(Role.VIEWER)
    numbers = {metric.label: read(metric.value) for metric in at.metric}
    assert numbers == {"Adapters": "2", "Jobs running": "2", "Datasets": "2", "Last lift, points": "+80.0"}
    assert any("n 8" in read(caption.value) for caption in at.caption)


def test_while_a_job_runs_the_next_step_is_to_watch_it(open_as: Open) -> None:
    at = open_as(Role.TRAINER)
    at.button(key="step-1 · Train").click().run()
    assert "job" in at.query_params


def test_an_empty_workspace_says_what_to_do_first(open_as: Open, console: Console, monkeypatch) -> None:
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Empty", now=console.clock())
        user = tenants.add_user(
            s, tenant.id, email="first@demo.example", name="First", role=Role.ADMIN, now=console.clock()
        )
        link = tenants.make_sign_in_link(s, tenant.id, user.id, minutes=5, now=console.clock())
        token = tenants.redeem_sign_in_link(s, link, hours=1, now=console.clock()).token
    at = open_as(Role.ADMIN)
    monkeypatch.setattr("app.ui.visit.session_token", lambda: token)
    at.run()
    assert {metric.label: metric.value for metric in at.metric}["Datasets"] == "0"
    assert "Train an adapter" in [button.label for button in at.button]
    for screen, words in {
        "datasets": "No datasets here",
        "training": "No training set yet",
        "jobs": "No job has been submitted yet",
        "adapters": "No adapters here",
        "federation": "No adapter to compose yet",
    }.items():
        at.switch_page(f"../pages/{screen}.py").run()
        assert not at.exception
        assert any(words in markdown.value for markdown in at.markdown), screen
