"""The dataset library: look, check, import, and start a training from there."""

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.datasets import service as datasets
from core.datasets.records import Dataset
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]


def set_named(console: Console, name: str) -> Dataset:
    with console.database.reading() as s:
        found = datasets.find_by_name(s, tenants.list_tenants(s)[0].id, name)
    assert found is not None
    return found


def words(at: AppTest) -> str:
    return " ".join(str(element.value) for element in (*at.markdown, *at.caption, *at.code, *at.text))


def test_the_library_shows_size_counts_and_that_data_is_simulated(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "datasets")
    assert [(m.label, m.value) for m in at.metric] == [("Sets", "2"), ("Rows", "80"), ("Simulated", "2")]
    assert "retailer\\_test" in words(at)
    assert "Simulated data" in words(at)


def test_the_table_filters_and_holds_what_the_cards_hold(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "datasets")
    at.segmented_control(key="dataset-view").set_value("Table").run()
    assert sorted(at.dataframe[0].value["title"]) == ["brand_test: a set", "retailer_test: a set"]
    at.text_input(key="datasets-filter").set_value("brand").run()
    assert list(at.dataframe[0].value["title"]) == ["brand_test: a set"]


def test_the_detail_shows_rows_literally_problems_and_the_card(open_as: Open, console: Console) -> None:
    made = set_named(console, "retailer_test")
    at = open_as(Role.VIEWER, "datasets", dataset=made.id)
    assert at.title[0].value == "retailer\\_test\\:\u2060 a set"
    assert list(at.dataframe[0].value.columns[:2]) == ["prompt", "completion"]
    assert "Harmonize: row 0" in [code.value for code in at.code]
    at.session_state["dataset-tab"] = "Problems"
    at.run()
    assert at.success or at.warning or at.error
    at.session_state["dataset-tab"] = "Card"
    at.run()
    assert made.digest in [code.value for code in at.code]


def test_training_starts_from_a_card_with_that_set_chosen(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "datasets")
    at.button(key="train-retailer_test").click().run()
    assert at.title[0].value == "Train an adapter"
    assert at.query_params["dataset"] == set_named(console, "retailer_test").id


def test_an_unknown_set_says_what_to_do(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "datasets", dataset="ds_nothing")
    assert len(at.error) == 1
    assert "Next" in at.error[0].value


def test_an_imported_file_is_registered_and_shown(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "datasets")
    rows = [{"prompt": f"Question {n}", "completion": f"Answer {n}"} for n in range(30)]
    at.file_uploader(key="dataset-file").upload("own.jsonl", "\n".join(map(json.dumps, rows)).encode())
    at.text_input(key="dataset-name").set_value("own set")
    at.form_submit_button[0].click().run()
    assert not at.exception
    assert not at.error
    made = set_named(console, "own set")
    assert made.rows == 30
    assert at.query_params["dataset"] == made.id


def test_a_bad_file_is_refused_with_the_reason_and_nothing_is_kept(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "datasets")
    at.file_uploader(key="dataset-file").upload("bad.jsonl", b'{"prompt": "a"\n[1,2')
    at.text_input(key="dataset-name").set_value("bad set")
    at.form_submit_button[0].click().run()
    assert len(at.error) == 1
    with console.database.reading() as s:
        assert datasets.find_by_name(s, tenants.list_tenants(s)[0].id, "bad set") is None


def test_hostile_names_and_contents_stay_text(open_as: Open, console: Console, tmp_path) -> None:
    hostile = "![x](http://evil.test/x.png) <img src=x onerror=1> :red[hi] **b** [l](javascript:1)"
    path = tmp_path / "hostile.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": hostile + str(n), "completion": hostile}) for n in range(20))
    )
    with console.database.transaction() as s:
        tenant = tenants.list_tenants(s)[0].id
        made = datasets.register_file(s, tenant, path=path, card=None, name="hostile", now=console.clock())
    at = open_as(Role.TRAINER, "datasets", dataset=made.id)
    markup = " ".join(str(e.value) for e in (*at.markdown, *at.caption, *at.title, *at.warning, *at.error))
    assert "![x]" not in markup
    assert "](http" not in markup
    assert any(hostile in code.value for code in at.code)
