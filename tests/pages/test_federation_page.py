"""The composer: choose, weigh, ask for real, save and load."""

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from app.ui.compose.export import zipped
from app.ui.compose.methods import WORDS, Way
from core.compose import service as compose
from core.compose.records import ContractKind, GateKind
from core.feedback import service as feedback
from core.registry import service as registry
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def adapter_id(console: Console, name: str) -> str:
    with console.database.reading() as s:
        return registry.resolve(s, tenants.list_tenants(s)[0].id, name).id


def weight_key(console: Console, name: str, part: str = "weight") -> str:
    return f"composer-{adapter_id(console, name)}-{part}"


def choose(at: AppTest, console: Console, kind: str, *names: str) -> None:
    ids = [adapter_id(console, name) for name in names]
    at.multiselect(key=f"composer-{kind}").set_value(ids).run()


def told(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption))


def formula(at: AppTest) -> str:
    return next(code.value for code in at.code if code.value.startswith("W' = W"))


def test_an_adapter_that_is_composed_stands_in_its_slot(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert at.multiselect(key="composer-retailer").value == [adapter_id(console, "retailer_test")]
    assert at.multiselect(key="composer-brand").value == []
    assert formula(at) == "W' = W + 1·ΔW(retailer_test v1)"


def test_a_first_visit_finds_the_newest_adapter_in_its_slot(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "federation")
    assert formula(at).count("ΔW") == 1


def test_weights_enter_the_sum_with_their_sign(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    choose(at, console, "brand", "brand_test")
    at.slider(key=weight_key(console, "brand_test")).set_value(-0.5).run()
    assert formula(at) == "W' = W + 1·ΔW(retailer_test v1) - 0.5·ΔW(brand_test v1)"
    assert len(at.get("plotly_chart")) == 1


def test_base_and_composition_really_answer_side_by_side(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.get("pills")[0].set_value(0).run()
    assert at.text_area(key="playground-prompt").value.startswith("Harmonize: row")
    at.number_input(key="ask-tokens").set_value(12).run()
    at.button(key="ask").click().run(timeout=120)
    assert not at.exception
    assert not at.error
    words = read(told(at))
    assert "Base alone" in words
    assert (
        words.count("tokens in") == words.count("first token after") == words.count("s in the engine ") == 2
    )
    assert words.count("nats]") == 2
    assert "n 1" in words
    assert "retailer_test v1 × 1" in words
    assert "fields right" in words or "Right" in words


def test_a_question_without_a_prompt_asks_nothing(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.button(key="ask").click().run()
    assert "Base alone" not in [m.value for m in at.markdown]
    assert not console.engine.loaded


def test_a_saved_composition_can_be_loaded_again(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.slider(key=weight_key(console, "retailer_test")).set_value(0.75).run()
    at.text_input(key="federation-name").set_value("spring")
    save(at)
    with console.database.reading() as s:
        (saved,) = compose.list_federations(s, tenants.list_tenants(s)[0].id)
    assert (saved.name, saved.version, saved.spec.terms[0].weight) == ("spring", 1, 0.75)

    at = open_as(Role.VIEWER, "federation")
    at.selectbox(key="federation-saved").select_index(0).run()
    at.button(key="federation-load").click().run()
    assert formula(at) == "W' = W + 0.75·ΔW(retailer_test v1)"


def test_a_viewer_cannot_save(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert not [button for button in at.get("form_submit_button") if button.label == "Save"]


def test_an_adapter_of_another_base_is_not_offered_and_the_screen_says_why(
    open_as: Open, console: Console, read: Read, monkeypatch
) -> None:
    (card, *others) = console.base.cards()
    monkeypatch.setattr(console.base, "cards", lambda: [replace(card, digest="f" * 64), *others])
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert at.multiselect(key="composer-retailer").value == []
    assert "brand_test v1" in read(at.warning[0].value)
    assert "trained on another one" in at.warning[0].value


def save(at: AppTest) -> None:
    next(b for b in at.form_submit_button if b.label == "Save").click().run()
    assert not at.exception
    assert not at.error


def saved_as(console: Console, name: str) -> Any:
    with console.database.reading() as s:
        return compose.list_federations(s, tenants.list_tenants(s)[0].id, name=name)[0]


def test_slider_and_exact_number_say_the_same_and_the_number_goes_further(
    open_as: Open, console: Console
) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.slider(key=weight_key(console, "retailer_test")).set_value(1.5).run()
    assert at.number_input(key=weight_key(console, "retailer_test", "exact")).value == 1.5
    at.number_input(key=weight_key(console, "retailer_test", "exact")).set_value(3.25).run()
    assert at.slider(key=weight_key(console, "retailer_test")).value == 2.0
    assert formula(at) == "W' = W + 3.25·ΔW(retailer_test v1)"


def test_a_depth_segment_is_drawn_and_kept(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.toggle(key=weight_key(console, "retailer_test", "some")).set_value(True).run()
    at.slider(key=weight_key(console, "retailer_test", "blocks")).set_range(0, 1).run()
    assert formula(at) == "W' = W + 1·ΔW(retailer_test v1)[0–1]"
    at.text_input(key="federation-name").set_value("shallow")
    save(at)
    assert saved_as(console, "shallow").spec.terms[0].layers == (0, 1)


def test_weights_that_cancel_cannot_be_normalized_and_the_screen_says_so(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    choose(at, console, "brand", "brand_test")
    at.slider(key=weight_key(console, "brand_test")).set_value(-1.0).run()
    assert not at.error
    at.toggle(key="composer-normalize").set_value(True).run()
    assert "sum to zero" in read(at.error[0].value)


def test_every_method_is_told_in_a_sentence_with_its_limit(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "federation")
    for way in Way:
        at.segmented_control(key="composer-way").set_value(way).run()
        assert not at.exception
        (words,) = [c.value for c in at.caption if c.value.startswith(WORDS[way].does)]
        assert "**Its limit:**" in words
        assert words.endswith(WORDS[way].limit)


def test_a_router_that_nobody_trained_is_not_there_and_the_next_step_is_offered(
    open_as: Open, read: Read
) -> None:
    at = open_as(Role.TRAINER, "federation")
    at.segmented_control(key="composer-way").set_value(Way.ROUTER).run()
    assert "no gate of this kind" in at.info[0].value
    assert at.button(key="composer-train-gate")
    assert "has no gate yet" in read(at.error[0].value)


def test_a_token_gate_is_composed_asked_and_saved(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    choose(at, console, "brand", "brand_test")
    at.segmented_control(key="composer-way").set_value(Way.TOKEN).run()
    at.number_input(key="composer-top-k").set_value(1).run()
    at.number_input(key="composer-temperature").set_value(0.5).run()
    assert "g(token)·ΔW(retailer_test v1)" in formula(at)
    at.text_input(key="federation-name").set_value("arrow")
    save(at)
    gate = saved_as(console, "arrow").spec.gate
    assert (gate.kind, gate.top_k, gate.temperature) == (GateKind.TOKEN, 1, 0.5)
    at.text_area(key="playground-prompt").set_value("Harmonize: row 1").run()
    at.number_input(key="ask-tokens").set_value(4).run()
    at.button(key="ask").click().run(timeout=120)
    assert not at.error
    assert read(told(at)).count("tokens in") == 2


def test_a_pipeline_is_built_moved_asked_and_traced(open_as: Open, console: Console, read: Read) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.segmented_control(key="composer-way").set_value(Way.PIPELINE).run()
    first, second = at.session_state["composer-stages"]
    at.button(key=f"{first}-down").click().run()
    assert at.session_state["composer-stages"] == [second, first]
    assert "which no earlier stage gives" in read(at.error[0].value)
    at.button(key=f"{first}-up").click().run()
    assert not at.error
    at.multiselect(key=f"{second}-adapters").set_value([adapter_id(console, "brand_test")]).run()
    at.text_area(key=f"{second}-prompt").set_value("Write: {first}").run()
    for key in (first, second):
        at.number_input(key=f"{key}-tokens").set_value(4).run()
    at.text_input(key="federation-name").set_value("two steps")
    save(at)
    stages = saved_as(console, "two steps").spec.stages
    assert [(s.name, s.prompt, len(s.composition.terms)) for s in stages] == [
        ("first", "{input}", 0),
        ("second", "Write: {first}", 1),
    ]
    at.text_area(key="playground-prompt").set_value("row 1").run()
    at.button(key="ask").click().run(timeout=120)
    assert not at.error
    assert "2 stages" in [each.label for each in at.expander]
    assert read(told(at)).count("tokens read") == 2

    at = open_as(Role.VIEWER, "federation")
    at.selectbox(key="federation-saved").select_index(0).run()
    at.button(key="federation-load").click().run()
    assert not at.exception
    third, fourth = at.session_state["composer-stages"]
    assert at.text_area(key=f"{fourth}-prompt").value == "Write: {first}"
    assert at.multiselect(key=f"{fourth}-adapters").value == [adapter_id(console, "brand_test")]
    assert at.number_input(key=f"{third}-tokens").value == 4


def test_a_schema_that_is_no_json_is_said_before_anything_is_asked(open_as: Open, read: Read) -> None:
    at = open_as(Role.VIEWER, "federation")
    at.segmented_control(key="composer-way").set_value(Way.PIPELINE).run()
    first = at.session_state["composer-stages"][0]
    at.segmented_control(key=f"{first}-contract").set_value(ContractKind.SCHEMA).run()
    assert not at.error
    at.text_area(key=f"{first}-schema").set_value("{").run()
    assert "is no JSON" in read(at.error[0].value)


def test_a_stage_is_taken_out_after_asking(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "federation")
    at.segmented_control(key="composer-way").set_value(Way.PIPELINE).run()
    at.button(key="stage-more").click().run()
    first, second, third = at.session_state["composer-stages"]
    at.button(key=f"{third}-out-yes").click().run()
    assert at.session_state["composer-stages"] == [first, second]


def test_four_columns_answer_at_once_and_the_better_one_is_kept_as_pairs(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.REVIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.slider(key=weight_key(console, "retailer_test")).set_value(2.0).run()
    alone = [adapter_id(console, name) for name in ("retailer_test", "brand_test")]
    at.multiselect(key="playground-columns").set_value(["base", "draft", *alone]).run()
    at.text_area(key="playground-prompt").set_value("Harmonize: row 1").run()
    at.number_input(key="ask-tokens").set_value(8).run()
    at.button(key="ask").click().run(timeout=120)
    assert not at.error
    assert read(told(at)).count("tokens in") == 4
    judge(at)
    assert "Choose the best answer" in at.warning[0].value
    at.radio(key="judge-best").set_value(1)
    at.text_input(key="judge-why").set_value("It keeps the numbers")
    judge(at)
    with console.database.reading() as s:
        stats = feedback.feedback_stats(s, tenants.list_tenants(s)[0].id)
        lines = list(feedback.export_dpo(s, tenants.list_tenants(s)[0].id))
    answers = {a.text.strip() for a in at.session_state["playground-asked"].answers}
    assert stats.judgements == len(lines) == len(answers) - 1
    assert all("Harmonize: row 1" in line for line in lines)
    assert stats.by_source == ({"console": stats.judgements} if stats.judgements else {})


def judge(at: AppTest) -> None:
    next(b for b in at.form_submit_button if b.label == "This one is better").click().run()
    assert not at.exception


def test_a_viewer_compares_but_does_not_judge(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "federation")
    at.text_area(key="playground-prompt").set_value("row").run()
    at.number_input(key="ask-tokens").set_value(2).run()
    at.button(key="ask").click().run(timeout=120)
    assert "This one is better" not in [b.label for b in at.form_submit_button]


def keep_two_versions(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    for weight in (0.5, 0.75):
        at.slider(key=weight_key(console, "retailer_test")).set_value(weight).run()
        at.text_input(key="federation-name").set_value("spring")
        save(at)


def test_versions_are_told_apart_in_words_and_each_can_be_made_to_serve(
    open_as: Open, console: Console, read: Read
) -> None:
    keep_two_versions(open_as, console)
    at = open_as(Role.TRAINER, "federation")
    at.selectbox(key="federation-saved").select_index(0).run()
    assert "The weight of retailer_test v1 went from 0.5 to 0.75." in read(told(at))
    assert at.button(key="version-serve").disabled  # the newest serves already
    at.selectbox(key="chosen-version-spring").set_value(1).run()
    at.button(key="version-serve").click().run()
    assert at.button(key="swap-yes").label == "Swap"
    assert "will mean version 1. Version 2 serves now." in read(told(at))
    assert served(console) == 2


def test_a_swap_shows_its_steps_and_is_rolled_back_in_measured_time(
    open_as: Open, console: Console, read: Read
) -> None:
    keep_two_versions(open_as, console)
    at = AppTest.from_function(_swap_script, default_timeout=120).run()
    at.button(key="swap-yes").click().run()
    assert not at.exception
    assert not at.error
    assert "spring serves version 1." in read(at.success[0].value)
    for step in ("Checked", "Canary answered", "Flipped", "Old version drained", "Released"):
        assert any(step in m.value and "check_circle" in m.value for m in at.markdown), step
    assert served(console) == 1

    at = AppTest.from_function(_rollback_script, default_timeout=60).run()
    at.button(key="rollback-yes").click().run()
    assert not at.error
    assert re.search(r"spring was rolled back in \d+\.\d ms", read(at.success[0].value))
    assert served(console) == 2


def served(console: Console) -> int:
    with console.database.reading() as s:
        found = compose.find_federation(s, tenants.list_tenants(s)[0].id, "spring")
    assert found is not None
    return found.version


def _swap_script() -> None:
    from app.ui.compose.swap import ask_swap
    from core.compose.swap_records import ServedKind

    ask_swap(ServedKind.FEDERATION, "spring", 1, 2)


def _rollback_script() -> None:
    from app.ui.compose.swap import ask_rollback, rolled_back_notice
    from core.compose.swap_records import ServedKind

    rolled_back_notice("spring")
    ask_rollback(ServedKind.FEDERATION, "spring")


def _export_script() -> None:
    from app.ui.compose.export import show_export

    show_export("both@1")


def test_an_export_shows_what_is_lost_before_the_download(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    choose(at, console, "brand", "brand_test")
    at.text_input(key="federation-name").set_value("both")
    save(at)
    at = open_as(Role.TRAINER, "federation")
    at.selectbox(key="federation-saved").select_index(0).run()
    at.button(key="version-export").click().run()
    assert at.button(key="export-write").label == "Write it"
    assert "both" in read(told(at))

    at = AppTest.from_function(_export_script, default_timeout=60).run()
    at.button(key="export-write").click().run()
    assert not at.error
    metrics = {m.label: read(m.value) for m in at.metric}
    assert (metrics["Lost"], metrics["Rank"]) == ("nothing", "4")
    at.segmented_control(key="export-method").set_value("compress").run()
    assert not at.metric  # nothing of this method is written yet
    at.number_input(key="export-rank").set_value(2).run()
    at.button(key="export-write").click().run()
    lost = next(read(m.value) for m in at.metric if m.label == "Lost")
    assert 0 < float(lost.rstrip("%")) < 100
    name, made = at.session_state["_exported"]
    assert name == "both@1"
    with zipfile.ZipFile(io.BytesIO(zipped(made.folder))) as archive:
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(archive.namelist())
