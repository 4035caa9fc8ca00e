"""Mappings on screen: the list, a new retailer from a file, the editor, and what harmonizing gave."""

import io
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app import harmonize_child
from app.actions import datasets, examinations, harmonize, mappings
from app.actions.mapping_voice import Heard
from app.bootstrap import Console
from app.ui.mappings.new import dataset_name, voice_words
from core.datasets.records import Dataset
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.saved import MappingVersion
from core.jobs import service as jobs
from core.jobs.records import Job, JobState
from core.tenants import service as tenants
from core.tenants.records import Principal, Role
from core.training.progress import Stop

Open = Callable[..., AppTest]
RAW = (
    b"Date,Campaign ID,Spend,Clicks,Impressions,7 Day Sales,14 Day Sales,Zq\n"
    b"2026-03-01,000123,1500000,3,1000,8.00,10.00,a\n"
    b"2026-03-02,000124,3750000,12,2000,70.50,80.00,b\n"
    b"2026-03-03,000125,0,0,500,,,a\n"
)
MAPPING = Mapping(
    retailer="North Stores",
    network="North Media",
    report="Campaigns",
    account_timezone="America/New_York",
    currency="USD",
    headline={"window_click_days": 14},
    rules=(
        Rule(
            source_field="Date",
            target="ts",
            transform=Transform(op="to_utc", format="%Y-%m-%d", source_tz="account_timezone", grain="day"),
        ),
        Rule(source_field="Campaign ID", target="campaign_id", transform=Transform(op="string_id")),
        Rule(source_field="Spend", target="cost", transform=Transform(op="divide", by=1e6)),
        Rule(source_field="Clicks", target="clicks"),
        Rule(source_field="Impressions", target="impressions"),
        Rule(source_field="7 Day Sales", target="attributed_sales", qualifiers={"window_click_days": 7}),
        Rule(source_field="14 Day Sales", target="attributed_sales", qualifiers={"window_click_days": 14}),
    ),
)


def trainer(c: Console) -> Principal:
    with c.database.reading() as s:
        tenant = tenants.list_tenants(s)[0]
    return Principal(tenant.id, tenant.name, "trainer@demo.example", Role.TRAINER)


def raw_file(c: Console, content: bytes = RAW, name: str = "north") -> Dataset:
    return datasets.import_raw(c, trainer(c), io.BytesIO(content), name, SourceCard(retailer="North Stores"))


def saved(c: Console, mapping: Mapping = MAPPING, *, activate: bool = False) -> MappingVersion:
    return mappings.save_mapping(
        c, trainer(c), name="north", mapping=mapping, note="A note", activate=activate
    )


def harmonized(c: Console, content: bytes = RAW) -> Job:
    raw_file(c, content)
    saved(c)
    job = harmonize.submit_harmonize(c, trainer(c), dataset="north", mapping="north")
    assert worked_off(c, job) is JobState.SUCCEEDED
    return job


def worked_off(c: Console, job: Job) -> JobState:
    """Run the job as its child process does, in this one."""
    with c.database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=c.clock())
    assert claimed is not None
    harmonize_child.run_job(c.database, c.settings, job.id, claimed.fence, Stop())
    return harmonize.get_job(c, trainer(c), job.id).state


def words(at: AppTest) -> str:
    return " ".join(
        str(e.value) for e in (*at.markdown, *at.caption, *at.code, *at.title, *at.warning, *at.error)
    )


def table(at: AppTest, column: str) -> list[object]:
    frame = next(d.value for d in at.dataframe if column in d.value.columns)
    return list(frame[column])


def test_without_mappings_the_first_step_is_offered(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "mappings")
    assert "No mapping yet" in words(at)
    at.button(key="empty-No mapping yet.-0").click().run()
    assert at.title[0].value == "New retailer"


def test_a_viewer_sees_mappings_but_no_way_to_make_one(open_as: Open, console: Console) -> None:
    saved(console)
    at = open_as(Role.VIEWER, "mappings")
    assert "New retailer from a file" not in [button.label for button in at.button]
    at = open_as(Role.VIEWER, "mappings", new="1")
    assert "You may look at mappings" in at.error[0].value


def test_the_list_shows_versions_coverage_and_last_use(open_as: Open, console: Console) -> None:
    harmonized(console)
    at = open_as(Role.VIEWER, "mappings")
    assert (at.metric[0].label, at.metric[0].value) == ("Mappings", "1")
    at.segmented_control(key="mappings-view").set_value("Table").run()
    assert table(at, "name") == ["north"]
    assert table(at, "retailer") == ["North Stores"]
    assert table(at, "state") == ["Draft"]
    assert table(at, "unmapped") == [1]
    assert 80 < float(str(table(at, "coverage")[0])) < 100


def test_versions_show_their_difference_and_can_be_put_into_use(open_as: Open, console: Console) -> None:
    first = saved(console, activate=True)
    changed = MAPPING.model_copy(update={"rules": (*MAPPING.rules[:-1],)})
    second = saved(console, changed)
    at = open_as(Role.TRAINER, "mappings", mapping=first.mapping_id)
    at.session_state["mapping-tab"] = "Versions"
    at.run()
    assert "14 Day Sales" in str([t.value.to_dict() for t in at.table])
    at.button(key=f"activate-{second.id}").click().run()
    assert not at.error
    states = {v.version: v.state for v in mappings.list_versions(console, trainer(console), first.mapping_id)}
    assert states == {1: "retired", 2: "active"}


def test_an_uploaded_file_becomes_a_card_then_a_proposal_then_a_draft(
    open_as: Open, console: Console
) -> None:
    at = open_as(Role.TRAINER, "mappings", new="1")
    at.file_uploader(key="mapping-file").upload("North Export 2026.csv", RAW).run()
    assert not at.exception
    assert not at.error
    made = datasets.find_dataset(console, trainer(console), "North Export 2026")
    assert at.query_params["source"] == made.id
    at.selectbox(key=f"card-{made.id}-zone").set_value("America/New_York")
    at.form_submit_button[0].click().run()
    assert not at.error
    assert at.title[0].value.startswith("Map North Export 2026")
    by = dict(zip(table(at, "column"), table(at, "becomes"), strict=True))
    assert by["Clicks"] == "clicks"
    assert by["Spend"] == "cost"
    again = open_as(Role.TRAINER, "mappings", source=made.id)  # a reload takes the draft up again
    assert dict(zip(table(again, "column"), table(again, "becomes"), strict=True)) == by


def editor(open_as: Open, c: Console) -> AppTest:
    made = raw_file(c)
    at = open_as(Role.TRAINER, "mappings", source=made.id)
    at.form_submit_button[0].click().run()
    assert not at.exception
    return at


def place(at: AppTest, column: str) -> int:
    return table(at, "column").index(column)


def goto(at: AppTest, column: str) -> AppTest:
    return goto_place(at, RAW.decode().splitlines()[0].split(",").index(column))


def goto_place(at: AppTest, number: int) -> AppTest:
    """The column with this number in the file."""
    at.query_params["column"] = str(number)
    at.session_state["_mapping_revision"] = (
        at.session_state["_mapping_revision"] + 1 if "_mapping_revision" in at.session_state else 1
    )
    return at.run()


def widget(at: AppTest, kind: str, ending: str):  # type: ignore[no-untyped-def]
    return next(
        w for w in getattr(at, kind) if (w.key or "").endswith(ending) and (w.key or "").startswith("rule-")
    )


def test_a_changed_target_shows_at_once_and_can_be_undone(open_as: Open, console: Console) -> None:
    at = goto(editor(open_as, console), "Zq")
    before = table(at, "becomes")[place(at, "Zq")]
    widget(at, "selectbox", "-target").set_value("device").run()
    assert not at.exception
    assert table(at, "becomes")[place(at, "Zq")] == "device"
    assert "Changed by you" in words(at)
    at.button(key="mapping-undo").click().run()
    assert table(at, "becomes")[place(at, "Zq")] == before
    assert at.button(key="mapping-undo").disabled


def test_next_back_and_accept_walk_through_the_columns(open_as: Open, console: Console) -> None:
    at = goto(editor(open_as, console), "Date")
    at.button(key="mapping-next").click().run()
    assert at.query_params["column"] == "1"
    at.button(key="mapping-back").click().run()
    assert at.query_params["column"] == "0"
    at.button(key="mapping-accept").click().run()
    assert at.query_params["column"] == "1"
    assert table(at, "state")[place(at, "Date")].startswith("✓")


def test_columns_that_need_attention_stand_first(open_as: Open, console: Console) -> None:
    at = editor(open_as, console)
    states = [str(state) for state in table(at, "state")]
    waiting = [state for state in states if state.startswith("!")]
    assert 0 < len(waiting) < len(states)
    assert all(state.startswith("!") for state in states[: len(waiting)])
    assert table(at, "column")[0] == "Zq"


def test_all_sure_ones_are_accepted_at_once(open_as: Open, console: Console) -> None:
    at = editor(open_as, console)
    button = at.button(key="mapping-accept-all")
    count = int(button.label.rpartition("·")[2])
    button.click().run()
    assert sum(str(state).startswith("✓") for state in table(at, "state")) == count > 0
    assert at.button(key="mapping-accept-all").disabled


def test_the_preview_shows_what_the_rules_make_of_the_first_rows(open_as: Open, console: Console) -> None:
    made = raw_file(console)
    version = saved(console)
    at = open_as(Role.TRAINER, "mappings", mapping=version.mapping_id)
    at.selectbox(key="mapping-edit-file").set_value(made).run()
    at.button(key="mapping-edit").click().run()
    assert not at.exception
    assert not at.error
    assert table(at, "cost") == [1.5, 3.75, 0.0]
    assert table(at, "campaign_id") == ["000123", "000124", "000125"]
    assert table(at, "ts")[0] == "2026-03-01 05:00:00Z"
    goto(at, "Spend")
    widget(at, "selectbox", "-by").set_value(100.0).run()
    assert float(str(table(at, "cost")[0])) == 15000


def test_words_are_translated_in_a_table(open_as: Open, console: Console) -> None:
    at = goto(editor(open_as, console), "Zq")
    widget(at, "selectbox", "-target").set_value("placement_type").run()
    assert not at.exception
    assert widget(at, "selectbox", "-op-placement_type").value == "enum_map"


def test_a_retailer_adapter_can_be_asked_too(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "mappings", source=raw_file(console).id)
    offered = next(box for box in at.selectbox if box.label == "Ask an adapter too")
    assert offered.options == ["retailer_test v1"]
    assert offered.value is None


@pytest.mark.parametrize(
    ("tried", "agreed", "asked", "words"),
    [
        (0, 0, 0, "Every column was sure; beta v1 was not asked."),
        (0, 0, 2, "beta v1 was asked about 2 unsure columns. No column was sure enough to try it on"),
        (4, 3, 1, "asked about 1 unsure column. Of 4 known ones it named 3 right"),
    ],
)
def test_it_is_said_how_far_the_word_of_an_adapter_counts(
    tried: int, agreed: int, asked: int, words: str
) -> None:
    assert words in voice_words(Heard([], "beta v1", tried, agreed, asked, asked, 1.0))


def test_check_and_harmonize_saves_a_version_and_shows_the_result(
    open_as: Open, console: Console, follow: Callable[[AppTest, str], AppTest]
) -> None:
    at = editor(open_as, console)
    at.button(key="mapping-check").click().run()
    job_id = at.query_params["job"]
    job = harmonize.get_job(console, trainer(console), str(job_id[0] if isinstance(job_id, list) else job_id))
    assert worked_off(console, job) is JobState.SUCCEEDED
    at = open_as(Role.TRAINER, "mappings", job=job.id)
    assert not at.error
    assert at.title[0].value.endswith("harmonized")
    (run,) = harmonize.list_runs(console, trainer(console))
    assert at.query_params["run"] in (run.id, [run.id])
    version = mappings.find_version(console, trainer(console), run.mapping_version_id)
    at.button(key="run-activate").click().run()
    assert mappings.get_mapping(console, trainer(console), version.mapping_id).active_version == 1


def test_a_result_shows_totals_that_reconcile(open_as: Open, console: Console) -> None:
    harmonized(console)
    (run,) = harmonize.list_runs(console, trainer(console))
    at = open_as(Role.VIEWER, "mappings", run=run.id)
    totals = dict(
        zip(table(at, "source"), zip(table(at, "input"), table(at, "output"), strict=True), strict=True)
    )
    assert totals["Spend"][0] == "5,250,000.00"
    assert float(str(totals["Spend"][1])) == 5.25
    assert {float(str(value)) for value in table(at, "difference")} == {0}
    assert "Every total is kept" in words(at)
    assert "Zq" in words(at)


def run_tab(open_as: Open, c: Console, tab: str) -> AppTest:
    harmonized(c)
    (run,) = harmonize.list_runs(c, trainer(c))
    at = open_as(Role.VIEWER, "mappings", run=run.id)
    at.session_state["run-tab"] = tab
    at.run()
    assert not at.exception
    return at


def test_unequal_windows_are_not_compared_and_the_reason_is_shown(open_as: Open, console: Console) -> None:
    at = run_tab(open_as, console, "Compare")
    assert "cannot be compared" in at.error[0].value
    assert "click window" in words(at)
    shown = sorted(m.value.replace("\\", "") for m in at.metric if m.label == "ROAS")
    assert shown == ["14.95", "17.14"]  # 78.50 and 90.00 over 5.25
    assert "refused" in " ".join(w.value for w in at.warning)


def test_a_training_set_is_made_from_the_mapping(open_as: Open, console: Console) -> None:
    rows = "".join(f"2026-03-{n % 28 + 1:02d},{n:06d},{n * 10000},{n},{n * 9},,{n},a\n" for n in range(1, 81))
    harmonized(console, RAW + rows.encode())
    (run,) = harmonize.list_runs(console, trainer(console))
    at = open_as(Role.TRAINER, "mappings", run=run.id)
    at.button(key="run-training-set").click().run()
    at.text_input(key="training-set-name").set_value("north records")
    next(b for b in at.button if b.label == "Make it").click().run()
    assert not at.exception
    assert not at.error
    made = datasets.find_dataset(console, trainer(console), "north records")
    assert made.adapter_type == "retailer"
    assert examinations.examine_dataset(console, trainer(console), made.id).trainable


def test_too_few_records_for_a_training_set_are_told_in_the_dialog(open_as: Open, console: Console) -> None:
    harmonized(console)
    (run,) = harmonize.list_runs(console, trainer(console))
    at = open_as(Role.TRAINER, "mappings", run=run.id)
    at.button(key="run-training-set").click().run()
    next(b for b in at.button if b.label == "Make it").click().run()
    assert "records come out of this file" in words(at)
    assert not [d for d in datasets.list_datasets(console, trainer(console)) if "records" in d.name]


def test_rows_can_be_downloaded_and_say_what_they_were_made_of(open_as: Open, console: Console) -> None:
    at = run_tab(open_as, console, "Files")
    (run,) = harmonize.list_runs(console, trainer(console))
    assert run.digest in [code.value for code in at.code]
    at.button(key="run-adcp").click().run()
    assert not at.exception


def test_the_password_of_a_server_is_taken_once_and_stays_nowhere(open_as: Open, console: Console) -> None:
    harmonized(console)
    (run,) = harmonize.list_runs(console, trainer(console))
    at = open_as(Role.TRAINER, "mappings", run=run.id)
    at.session_state["run-tab"] = "Files"
    at.run()
    at.button(key="run-postgres").click().run()
    at.text_input(key="postgres-address").set_value("postgresql://me@127.0.0.1:9/x?sslmode=disable")
    at.text_input(key="postgres-password-0").set_value("s3cret-word")
    next(b for b in at.button if b.label == "Write").click().run()
    assert not at.exception
    assert "cannot be reached" in at.error[0].value
    assert at.text_input(key="postgres-password-1").value == ""
    at.run()
    assert "postgres-password-0" not in at.session_state
    assert "_postgres_taken" not in at.session_state
    assert "s3cret-word" not in words(at)


def test_a_viewer_gets_no_button_to_a_server(open_as: Open, console: Console) -> None:
    assert "run-postgres" not in [button.key for button in run_tab(open_as, console, "Files").button]


def test_a_chosen_cell_says_which_line_column_and_rule_it_comes_from(open_as: Open, console: Console) -> None:
    at = run_tab(open_as, console, "Rows")
    (run,) = harmonize.list_runs(console, trainer(console))
    assert table(at, "cost") == [1.5, 3.75, 0.0]
    at.session_state[f"rows-{run.id}"] = {"selection": {"cells": [[1, "cost"]]}}
    at.run()
    assert not at.exception
    assert not at.error
    assert "3750000" in [code.value for code in at.code]
    facts = str([t.value.to_dict() for t in at.table])
    for told in ("north", "Line", "3", "Spend", "micros"):
        assert told in facts
    at.session_state[f"rows-{run.id}"] = {"selection": {"cells": [[0, "currency"]]}}
    at.run()
    assert "say this of the whole file" in words(at)


def test_a_failed_run_says_why_and_leads_back(open_as: Open, console: Console) -> None:
    made = raw_file(console)
    two = (Rule(source_field="Clicks", target="clicks"), Rule(source_field="Impressions", target="clicks"))
    saved(console, MAPPING.model_copy(update={"rules": two}))
    job = harmonize.submit_harmonize(console, trainer(console), dataset=made.id, mapping="north")
    assert worked_off(console, job) is JobState.FAILED
    at = open_as(Role.TRAINER, "mappings", job=job.id)
    assert "Next" in at.error[0].value


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("North Export 2026.csv", "North Export 2026"),
        ("a/b\\c.jsonl.gz", "c"),
        ("übung.tar.gz", "bung.tar"),
        ("...", "raw export"),
        ("v1.2.csv", "v1.2"),
    ],
)
def test_a_file_gets_a_name_that_the_library_takes(file: str, name: str) -> None:
    assert dataset_name(file) == name


def test_hostile_columns_and_values_stay_text(open_as: Open, console: Console) -> None:
    hostile = "![x](http://evil.test/x.png) <img src=x onerror=1> :red[hi] **b**"
    raw = f'"{hostile}",Clicks\n"=cmd|\' /C calc\'!A0",1\n"{hostile}\u202e",2\n'.encode()
    made = raw_file(console, raw, "hostile")
    at = open_as(Role.TRAINER, "mappings", source=made.id)
    at.form_submit_button[0].click().run()
    assert not at.exception
    goto_place(at, 0)
    markup = " ".join(str(e.value) for e in (*at.markdown, *at.caption, *at.title, *at.warning, *at.error))
    assert "![x](" not in markup
    assert "<img" not in markup.replace("\\<", "")
    assert ":red[" not in markup
