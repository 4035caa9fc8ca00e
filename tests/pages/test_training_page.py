"""The wizard: at most five clicks from the library to a job, a draft that survives, limits that hold."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.tenants import service as tenants
from core.tenants.records import Role
from core.training.records import TrainingSpec

Open = Callable[..., AppTest]
Follow = Callable[[AppTest, str], AppTest]


def newest_job(console: Console) -> Job:
    with console.database.reading() as s:
        return jobs.list_jobs(s, tenants.list_tenants(s)[0].id)[0]


def count_jobs(console: Console) -> int:
    with console.database.reading() as s:
        return len(jobs.list_jobs(s, tenants.list_tenants(s)[0].id))


def button(at: AppTest, label: str):
    return next(b for b in at.button if b.label == label)


@pytest.fixture
def at_step_two(open_as: Open, follow: Follow) -> AppTest:
    at = open_as(Role.TRAINER, "datasets")
    at.button(key="train-retailer_test").click().run()
    return follow(at, "training")


def test_four_clicks_lead_from_the_library_to_a_job(at_step_two: AppTest, console: Console) -> None:
    at = at_step_two  # one click
    button(at, "Next: review").click().run()
    assert [m.label for m in at.metric] == ["Time", "Steps", "Memory"]
    assert not at.error
    button(at, "Start training").click().run()
    assert not at.exception
    job = newest_job(console)
    assert (job.name, job.state) == ("retailer_test", JobState.QUEUED)
    assert at.query_params["job"] == job.id
    assert TrainingSpec.model_validate(job.spec).preset == "balanced"
    assert any("Waiting for a worker" in (bar.text or "") for bar in at.progress)


def test_the_draft_is_in_the_address_and_survives_a_reload(at_step_two: AppTest, open_as: Open) -> None:
    at = at_step_two
    at.text_input[0].set_value("my adapter").run()
    at.radio(key="wizard-preset").set_value("quick").run()
    changed = next(n for n in at.number_input if n.label == "Rank")
    changed.set_value(24).run()
    kept = {name: at.query_params[name] for name in at.query_params}
    assert kept["name"] == "my adapter"
    assert kept["lora.rank"] == "24"

    again = open_as(Role.TRAINER, "training", **kept)
    assert again.text_input[0].value == "my adapter"
    assert again.radio(key="wizard-preset").value == "quick"
    assert next(n for n in again.number_input if n.label == "Rank").value == 24
    assert any("Changed from the preset: rank" in c.value for c in again.caption)


def test_another_preset_takes_back_single_changes(at_step_two: AppTest) -> None:
    at = at_step_two
    next(n for n in at.number_input if n.label == "Rank").set_value(24).run()
    at.radio(key="wizard-preset").set_value("thorough").run()
    assert next(n for n in at.number_input if n.label == "Rank").value == 16
    assert "lora.rank" not in at.query_params


def test_a_name_that_is_no_name_stops_the_wizard(at_step_two: AppTest) -> None:
    at = at_step_two
    at.text_input[0].set_value("../etc").run()
    assert len(at.error) == 1
    assert button(at, "Next: review").disabled


def test_values_in_the_address_are_checked_like_any_other(
    at_step_two: AppTest, open_as: Open, console: Console
) -> None:
    at = at_step_two
    kept = {name: at.query_params[name] for name in at.query_params}
    before = newest_job(console).id
    at = open_as(Role.TRAINER, "training", **(kept | {"step": "3", "lora.rank": "100000", "epochs": "many"}))
    assert len(at.error) == 1
    assert button(at, "Start training").disabled
    assert newest_job(console).id == before


def test_every_control_has_a_help_of_at_most_twenty_words(at_step_two: AppTest) -> None:
    at = at_step_two
    controls = [*at.number_input, *at.selectbox, *at.toggle, *at.multiselect, *at.radio, *at.text_input]
    assert len(controls) >= 17
    for control in controls:
        assert control.help, control.label
        assert len(control.help.split()) <= 20, control.help


def test_the_first_step_offers_the_training_sets(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "training")
    assert len(at.radio(key="wizard-dataset").options) == 2
    button(at, "Next: configure").click().run()
    assert at.query_params["step"] == "2"


def test_one_draft_in_two_tabs_becomes_one_job(at_step_two: AppTest, open_as: Open, console: Console) -> None:
    first = at_step_two
    button(first, "Next: review").click().run()
    address = {name: first.query_params[name] for name in first.query_params}
    assert address["draft"].startswith("draft_")
    second = open_as(Role.TRAINER, "training", **address)
    before = count_jobs(console)
    for at in (first, second):
        button(at, "Start training").click().run()
        assert not at.exception
        assert not at.error
    assert count_jobs(console) == before + 1
    assert first.query_params["job"] == second.query_params["job"] == newest_job(console).id
    assert "draft" not in first.query_params


def test_a_draft_that_is_changed_after_its_start_is_another_run(
    at_step_two: AppTest, open_as: Open, console: Console
) -> None:
    first = at_step_two
    button(first, "Next: review").click().run()
    address = {name: first.query_params[name] for name in first.query_params}
    button(first, "Start training").click().run()
    before = count_jobs(console)
    changed = open_as(Role.TRAINER, "training", **(address | {"epochs": "7.0"}))
    button(changed, "Start training").click().run()
    assert count_jobs(console) == before + 1
    assert newest_job(console).spec["epochs"] == 7.0


def test_two_drafts_of_one_dataset_are_two_jobs(
    at_step_two: AppTest, open_as: Open, console: Console
) -> None:
    before = count_jobs(console)
    address = {name: at_step_two.query_params[name] for name in at_step_two.query_params}
    del address["draft"]
    for _ in range(2):
        at = open_as(Role.TRAINER, "training", **(address | {"step": "3"}))
        key = at.query_params["draft"]
        assert at.run().query_params["draft"] == key  # a rerun is the same draft
        button(at, "Start training").click().run()
    assert count_jobs(console) == before + 2
