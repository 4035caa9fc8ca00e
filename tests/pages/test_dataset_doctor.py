"""The doctor on screen: scores, lost points, fixes with undo, versions, splits, exports, and examples from a form."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.actions import datasets, examinations
from app.bootstrap import Console
from app.ui.datasets.dialogs import MADE
from app.ui.datasets.export import ROWS_OF
from app.ui.datasets.read import EXAMINABLE
from core.datasets.records import Dataset
from core.datasets.score import Band
from core.datasets.service import dataset_path
from core.datasets.split_plan import SplitBy
from core.harmonize.records import SourceCard
from core.registry.records import AdapterType
from core.storage.files import sha256_of
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def nothing_examined_yet() -> Iterator[None]:
    """What one test has examined is not known to the next."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def trainer(c: Console) -> Principal:
    with c.database.reading() as s:
        tenant = tenants.list_tenants(s)[0]
    return Principal(tenant.id, tenant.name, "trainer@demo.example", Role.TRAINER)


def rows_with_faults() -> list[dict[str, Any]]:
    """Sixty plain rows; then two with stray space and one that repeats the first."""
    rows = [
        {"prompt": f"What is item {n} made of, {word}?", "completion": f"Of {word} number {n}, by hand."}
        for n, word in enumerate(("oak", "glass", "wool", "clay", "steel", "cork") * 10)
    ]
    rows += [{"prompt": f"  Who sells lamp {n}?", "completion": f"Shop {n} does.  "} for n in (1, 2)]
    rows.append(dict(rows[0]))
    return [row | {"split": "train" if n % 5 else "test"} for n, row in enumerate(rows)]


def add_set(c: Console, rows: list[dict[str, Any]], name: str = "doctored") -> Dataset:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return datasets.import_dataset(c, trainer(c), io.BytesIO(lines), name, AdapterType.TASK)


def open_tab(open_as: Open, made: Dataset, tab: str, role: Role = Role.TRAINER) -> AppTest:
    at = open_as(role, "datasets", dataset=made.id)
    at.session_state["dataset-tab"] = tab
    at.run()
    assert not at.exception
    return at


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def shown(at: AppTest) -> str:
    parts = (*at.title, *at.markdown, *at.caption, *at.text, *at.success, *at.warning, *at.error)
    return " ".join(str(element.value) for element in parts)


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


# --- the library ------------------------------------------------------------------------------------------------------


def test_sets_are_examined_one_by_one_when_asked_and_then_show_their_score(
    open_as: Open, console: Console
) -> None:
    at = open_as(Role.VIEWER, "datasets")
    assert shown(at).count("Not examined yet") == 2
    assert "2 of these sets are not examined yet." in shown(at)
    at.button(key="examine-all").click().run()
    for _ in range(3):
        at.run()
    assert not at.exception
    assert "Not examined yet" not in shown(at)
    assert "examine-all" not in [button.key for button in at.button]
    seen = [examinations.examine_dataset(console, trainer(console), d.id) for d in named(console)]
    for each in seen:
        assert f"{each.score:.1f} {each.band}" in shown(at)


def test_a_score_is_still_known_after_a_restart(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    seen = examinations.examine_dataset(console, trainer(console), made.id)
    st.cache_resource.clear()
    at = open_as(Role.VIEWER, "datasets")
    assert f"{seen.score:.1f} {seen.band}" in shown(at)
    assert "2 of these sets are not examined yet." in shown(at)
    opened = open_as(Role.VIEWER, "datasets", dataset=made.id)
    assert metrics(opened)["Score"] == f"{seen.score:.1f}".replace(".", "\\.")


def named(c: Console) -> list[Dataset]:
    return datasets.list_datasets(c, trainer(c))


def test_a_set_whose_file_is_gone_is_told_and_stops_no_other(open_as: Open, console: Console) -> None:
    broken = add_set(console, rows_with_faults())
    dataset_path(broken).unlink()
    at = open_as(Role.VIEWER, "datasets")
    at.button(key="examine-all").click().run()
    for _ in range(4):
        at.run()
    assert not at.exception
    assert len(at.error) == 1
    assert "doctored" in at.error[0].value
    assert shown(at).count("Not examined yet") == 1


def test_the_search_keeps_sets_that_hold_every_word(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "datasets")
    at.text_input(key="dataset-search").set_value("brand small").run()
    assert [b.key for b in at.button if str(b.key).startswith("details-")] == ["details-brand_test"]
    at.text_input(key="dataset-search").set_value("nowhere").run()
    assert "No set has these words" in shown(at)


def test_the_table_has_score_quality_and_version(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "datasets")
    at.segmented_control(key="dataset-view").set_value("Table").run()
    table = at.dataframe[0].value
    assert set(table["band"]) == {"not examined yet"}
    assert set(table["version"]) == {1}
    made = next(d for d in named(console) if d.name == "brand_test")
    at = open_tab(open_as, made, "Problems", Role.VIEWER)
    at = open_as(Role.VIEWER, "datasets")
    at.segmented_control(key="dataset-view").set_value("Table").run()
    table = at.dataframe[0].value.set_index("title")
    assert table.loc["brand_test: a set", "band"] in list(map(str, Band))
    assert 0 <= table.loc["brand_test: a set", "score"] <= 100


# --- problems and fixes -----------------------------------------------------------------------------------------------


def test_every_lost_point_names_its_rule_rows_and_lines(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    seen = examinations.examine_dataset(console, trainer(console), made.id)
    at = open_tab(open_as, made, "Problems")
    assert metrics(at)["Score"] == f"{seen.score:.1f}".replace(".", "\\.")
    table = at.dataframe[0].value
    assert list(table["points"]) == [each.points for each in seen.lost]
    assert list(table["rows"]) == [each.rows for each in seen.lost]
    stray = table[table["rule"] == "Stray space"].iloc[0]
    assert stray["lines"] == "61, 62"


def test_a_fix_shows_what_it_would_do_and_changes_nothing_before_it_is_confirmed(
    open_as: Open, console: Console
) -> None:
    made = add_set(console, rows_with_faults())
    at = open_tab(open_as, made, "Problems")
    at.button(key="fix-stray_space").click().run()
    assert "2 rows would change, 0 rows would go" in shown(at)
    assert any("  Who sells lamp 1?" in code.value for code in at.code)
    assert any(code.value.startswith("prompt: Who sells lamp 1?") for code in at.code)
    at.button(key="fix-no").click().run()
    assert "would change" not in shown(at)
    assert len(datasets.list_versions(console, trainer(console), made.id)) == 1


def test_a_fix_makes_a_version_and_undo_brings_the_one_before_back(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    digest = sha256_of(dataset_path(made))
    at = open_tab(open_as, made, "Problems")
    at.button(key="fix-stray_space").click().run()
    at.button(key="fix-yes").click().run()
    assert not at.exception
    newest = datasets.list_versions(console, trainer(console), made.id)[0]
    assert (newest.number, newest.current) == (2, True)
    assert at.query_params["dataset"] in (newest.dataset.id, [newest.dataset.id])
    assert metrics(at)["Version"] == "2"
    assert "Version 1 is kept" in shown(at)
    assert "fix-stray_space" not in [button.key for button in at.button]
    at.button(key="dataset-undo").click().run()
    assert not at.exception
    again = datasets.list_versions(console, trainer(console), made.id)
    assert [(v.number, v.current) for v in again] == [(2, False), (1, True)]
    assert metrics(at)["Version"] == "1"
    assert sha256_of(dataset_path(made)) == digest


def test_a_row_that_goes_is_shown_with_what_it_holds(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    at = open_tab(open_as, made, "Problems")
    at.button(key="fix-duplicate_rows").click().run()
    assert "0 rows would change, 1 row would go" in shown(at)
    assert "The row goes" in shown(at)
    assert any("What is item 0 made of, oak?" in code.value for code in at.code)


def test_a_viewer_sees_problems_but_no_button_that_changes_a_set(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    at = open_tab(open_as, made, "Problems", Role.VIEWER)
    assert "stray" in shown(at).lower() or "white space" in shown(at).lower()
    assert not [each for each in labels(at) if re.search("Fix|Split|Undo|Use|Save", each)]
    assert "Export" in labels(at)


# --- lengths and balance ----------------------------------------------------------------------------------------------


def test_lengths_and_balance_are_drawn_with_their_quantiles(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    lengths = examinations.examine_dataset(console, trainer(console), made.id).summary.characters
    assert lengths is not None
    at = open_tab(open_as, made, "Lengths and balance")
    figures = metrics(at)
    assert figures["Half are up to"] == str(lengths.p50)
    assert figures["99 of 100 up to"] == str(lengths.p99)
    charts = at.get("plotly_chart")
    assert len(charts) >= 2


def test_lengths_in_tokens_show_the_share_that_a_limit_cuts(open_as: Open, console: Console) -> None:
    long = {"prompt": "Why? " * 200, "completion": "Because. " * 100, "split": "train"}
    made = add_set(console, [*rows_with_faults()[:49], long])
    at = open_tab(open_as, made, "Lengths and balance")
    at.segmented_control(key="lengths-unit").set_value("tokens").run()
    at.number_input(key="lengths-limit").set_value(256).run()
    assert not at.exception
    assert not at.error
    assert metrics(at)["Too long"].replace("\\", "") == "2.0%"
    at.number_input(key="lengths-limit").set_value(16).run()
    assert metrics(at)["Too long"].replace("\\", "") == "100.0%"


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_say_what_changed_and_any_can_be_used_again(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    second = datasets.apply_fix(console, trainer(console), made.id, "stray_space")
    at = open_tab(open_as, second, "Versions")
    assert "Version 2" in shown(at)
    assert "2 rows changed" in shown(at).replace("\\", "")
    assert metrics(at)["Changed"] == "2"
    assert metrics(at)["The same"] == "61"
    at.button(key="use-1").click().run()
    assert not at.exception
    assert [v.current for v in datasets.list_versions(console, trainer(console), made.id)] == [False, True]


def test_a_version_that_is_not_in_use_says_so_and_leads_to_the_one_that_is(
    open_as: Open, console: Console
) -> None:
    made = add_set(console, rows_with_faults())
    second = datasets.apply_fix(console, trainer(console), made.id, "stray_space")
    at = open_as(Role.TRAINER, "datasets", dataset=made.id)
    assert "This is version 1; version 2 is in use" in shown(at)
    at.button(key="dataset-newest").click().run()
    assert metrics(at)["Version"] == "2"
    assert at.query_params["dataset"] in (second.id, [second.id])


# --- split and export -------------------------------------------------------------------------------------------------


def test_a_split_says_what_came_out_and_makes_a_version(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    at = open_as(Role.TRAINER, "datasets", dataset=made.id)
    at.button(key="dataset-split").click().run()
    at.number_input(key="split-train").set_value(70).run()
    assert "come to 90 %" in shown(at)
    assert at.button(key="split-yes").disabled
    at.number_input(key="split-test").set_value(20).run()
    at.radio(key="split-by").set_value(SplitBy.QUESTION).run()
    at.button(key="split-yes").click().run()
    assert not at.exception
    assert not at.error
    newest = datasets.list_versions(console, trainer(console), made.id)[0]
    assert newest.number == 2
    splits = examinations.examine_dataset(console, trainer(console), newest.dataset.id).summary.splits
    assert sum(splits.values()) == 63
    for split, rows in splits.items():
        assert f"{split} {rows} row" in at.success[0].value
    assert "split-yes" not in [button.key for button in at.button]


def test_a_split_by_what_the_rows_do_not_say_is_refused_with_the_reason(
    open_as: Open, console: Console
) -> None:
    made = add_set(console, rows_with_faults())
    at = open_as(Role.TRAINER, "datasets", dataset=made.id)
    at.button(key="dataset-split").click().run()
    at.radio(key="split-by").set_value(SplitBy.TIME).run()
    at.button(key="split-yes").click().run()
    assert len(at.error) == 1
    assert "day" in at.error[0].value
    assert len(datasets.list_versions(console, trainer(console), made.id)) == 1


def test_an_export_offers_the_layouts_of_its_rows_and_hands_the_file_out(
    open_as: Open, console: Console
) -> None:
    made = add_set(console, rows_with_faults())
    at = open_as(Role.VIEWER, "datasets", dataset=made.id)
    at.button(key="dataset-export").click().run()
    layout = at.selectbox(key="export-layout")
    assert [each.split(" (")[0] for each in layout.options] == [
        "Prompt and completion",
        "Messages",
        "Alpaca",
        "ShareGPT",
        "The file as it is",
    ]
    layout.select_index(1).run()
    at.selectbox(key="export-format").select_index(0).run()
    at.button(key="export-make").click().run()
    assert not at.exception
    assert not at.error
    _, content, name = at.session_state[MADE]
    assert name == "doctored.messages.jsonl"
    lines = content.decode().splitlines()
    assert len(lines) == 63
    assert [turn["role"] for turn in json.loads(lines[0])["messages"]] == ["user", "assistant"]
    at.selectbox(key="export-layout").select_index(4).run()
    at.button(key="export-make").click().run()
    _, content, name = at.session_state[MADE]
    assert content == dataset_path(made).read_bytes()


def test_every_kind_that_is_examined_can_be_exported() -> None:
    assert set(ROWS_OF) == set(EXAMINABLE)


# --- rows as the base reads them --------------------------------------------------------------------------------------


def test_a_row_stands_beside_what_the_chat_template_makes_of_it(open_as: Open, console: Console) -> None:
    made = add_set(console, rows_with_faults())
    at = open_as(Role.VIEWER, "datasets", dataset=made.id)
    texts = [code.value for code in at.code]
    assert "What is item 0 made of, oak?" in texts
    rendered = next(t for t in texts if "What is item 0" in t and "Of oak number 0" in t)
    assert rendered.index("What is item 0") < rendered.index("Of oak number 0")
    assert len(rendered) > len("What is item 0 made of, oak?Of oak number 0, by hand.")


def test_both_answers_of_a_pair_are_shown(open_as: Open, console: Console) -> None:
    pairs = [{"prompt": f"Ask {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(20)]
    made = add_set(console, pairs, "pairs")
    at = open_as(Role.VIEWER, "datasets", dataset=made.id)
    assert "With the preferred answer" in shown(at)
    assert any("Ask 0" in code.value and "bad 0" in code.value for code in at.code)


def test_a_raw_file_keeps_its_own_view(open_as: Open, console: Console) -> None:
    raw = datasets.import_raw(
        console, trainer(console), io.BytesIO(b"Day,Spend\n2026-03-01,1.5\n"), "raw", SourceCard()
    )
    at = open_tab(open_as, raw, "Problems")
    assert "Only training sets" in shown(at)
    assert "Score" not in metrics(at)
    assert not [each for each in labels(at) if each.startswith(("Split", "Fix"))]


# --- examples from a form ---------------------------------------------------------------------------------------------


def test_a_task_example_is_built_from_typed_fields_and_starts_a_set(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "datasets", build="task")
    at.text_area(key="build-task-objective-0").set_value("Spend 50,000 USD on organic tea.").run()
    at.text_input(key="build-task-tool-0").set_value("plan_budget").run()
    at.text_input(key="build-task-name-0-0").set_value("total_budget").run()
    at.selectbox(key="build-task-type-0-0").set_value("whole number").run()
    at.text_input(key="build-task-value-0-0").set_value("50,000").run()
    at.button(key="build-task-more-0").click().run()
    at.text_input(key="build-task-name-1-0").set_value("retailers").run()
    at.text_input(key="build-task-value-1-0").set_value("alpha").run()
    wanted = '{"tool":"plan_budget","arguments":{"total_budget":50000,"retailers":"alpha"}}'
    assert wanted in [code.value for code in at.code]
    at.button(key="build-task-take").click().run()
    assert at.text_area(key="build-task-objective-1").value in ("", None)
    at.text_input(key="build-task-set-name").set_value("my briefs").run()
    at.button(key="build-task-save").click().run()
    assert not at.exception
    assert not at.error
    made = next(d for d in named(console) if d.name == "my briefs")
    row = datasets.preview(console, trainer(console), made.id, 1)[0]
    assert row["prompt"] == "Plan: Spend 50,000 USD on organic tea."
    assert row["completion"] == wanted
    assert made.adapter_type == "task"


def test_examples_of_the_form_go_on_a_known_set_as_its_next_version(open_as: Open, console: Console) -> None:
    before = next(d for d in named(console) if d.name == "brand_test")
    at = open_as(Role.TRAINER, "datasets", build="brand")
    at.text_area(key="build-brand-request-0").set_value("Write a headline for the teapot.").run()
    at.text_area(key="build-brand-copy-0").set_value("Glass, and quiet.").run()
    at.text_input(key="build-brand-tone-0").set_value("calm, precise").run()
    assert "Write a headline for the teapot. Tone: calm, precise." in [code.value for code in at.code]
    at.button(key="build-brand-take").click().run()
    at.selectbox(key="build-brand-set").select_index(1).run()
    at.button(key="build-brand-save").click().run()
    assert not at.exception
    assert not at.error
    newest = datasets.list_versions(console, trainer(console), before.id)[0]
    assert (newest.number, newest.dataset.rows) == (2, 41)


def test_copy_with_a_word_to_avoid_is_refused_by_name(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "datasets", build="brand")
    at.text_area(key="build-brand-request-0").set_value("Write a line.").run()
    at.text_area(key="build-brand-copy-0").set_value("Amazing glass.").run()
    at.text_input(key="build-brand-avoid-0").set_value("cheap, amazing").run()
    assert len(at.error) == 1
    assert "amazing" in at.error[0].value
    assert "build-brand-take" not in [button.key for button in at.button]


def test_an_example_can_be_taken_off_the_list(open_as: Open) -> None:
    at = open_as(Role.TRAINER, "datasets", build="brand")
    at.text_area(key="build-brand-request-0").set_value("Write a line.").run()
    at.text_area(key="build-brand-copy-0").set_value("Glass.").run()
    at.button(key="build-brand-take").click().run()
    assert "On the list: 1" in [each.value for each in at.subheader]
    at.text_input(key="build-brand-set-name").set_value("lines").run()
    assert not at.button(key="build-brand-save").disabled
    at.button(key="build-brand-off-0").click().run()
    assert not at.subheader
    assert at.button(key="build-brand-save").disabled


def test_a_viewer_cannot_open_the_form(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "datasets", build="task")
    assert len(at.error) == 1
    assert "Administrator" in at.error[0].value or "administrator" in at.error[0].value
