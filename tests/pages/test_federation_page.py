"""The composer: choose, weigh, ask for real, save and load."""

from collections.abc import Callable
from dataclasses import replace

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.compose import service as compose
from core.registry import service as registry
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def adapter_id(console: Console, name: str) -> str:
    with console.database.reading() as s:
        return registry.resolve(s, tenants.list_tenants(s)[0].id, name).id


def formula(at: AppTest) -> str:
    return next(code.value for code in at.code if code.value.startswith("W' = W"))


def test_an_adapter_that_is_composed_stands_in_its_slot(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert at.selectbox(key="composer-retailer").value == adapter_id(console, "retailer_test")
    assert at.selectbox(key="composer-brand").value is None
    assert formula(at) == "W' = W + 1·ΔW(retailer_test v1)"


def test_a_first_visit_finds_the_newest_adapter_in_its_slot(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "federation")
    assert formula(at).count("ΔW") == 1


def test_weights_enter_the_sum_with_their_sign(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.selectbox(key="composer-brand").set_value(adapter_id(console, "brand_test")).run()
    at.slider(key="composer-brand-weight").set_value(-0.5).run()
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
    words = read(" ".join(e.value for e in (*at.markdown, *at.caption)))
    assert "Base alone" in words
    assert words.count("tokens in") == 2
    assert "retailer_test v1 × 1" in words
    assert "fields right" in words or "Right" in words


def test_a_question_without_a_prompt_asks_nothing(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.button(key="ask").click().run()
    assert "Base alone" not in [m.value for m in at.markdown]
    assert not console.engine.loaded


def test_a_saved_composition_can_be_loaded_again(open_as: Open, console: Console) -> None:
    at = open_as(Role.TRAINER, "federation", adapter=adapter_id(console, "retailer_test"))
    at.slider(key="composer-retailer-weight").set_value(0.75).run()
    at.text_input(key="federation-name").set_value("spring")
    at.form_submit_button[0].click().run()
    assert not at.exception
    assert not at.error
    with console.database.reading() as s:
        (saved,) = compose.list_federations(s, tenants.list_tenants(s)[0].id)
    assert (saved.name, saved.version, saved.spec.terms[0].weight) == ("spring", 1, 0.75)

    at = open_as(Role.VIEWER, "federation")
    at.selectbox(key="federation-saved").select_index(0).run()
    at.button(key="federation-load").click().run()
    assert formula(at) == "W' = W + 0.75·ΔW(retailer_test v1)"


def test_a_viewer_cannot_save(open_as: Open, console: Console) -> None:
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert not at.form_submit_button


def test_an_adapter_of_another_base_is_not_offered_and_the_screen_says_why(
    open_as: Open, console: Console, read: Read, monkeypatch
) -> None:
    (card, *others) = console.base.cards()
    monkeypatch.setattr(console.base, "cards", lambda: [replace(card, digest="f" * 64), *others])
    at = open_as(Role.VIEWER, "federation", adapter=adapter_id(console, "retailer_test"))
    assert at.selectbox(key="composer-retailer").value is None
    assert "brand_test v1" in read(at.warning[0].value)
    assert "trained on another one" in at.warning[0].value
