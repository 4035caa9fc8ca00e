"""Memory, cache and versions that serve: what is shown, to whom, and what the buttons do."""

import time
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from app.ui.compose.swap import SwapRun, steps_of
from app.ui.compose.swap_list import swap_row
from app.ui.visit import Visit
from core.compose import service as compose
from core.compose.records import CompositionSpec, Term
from core.compose.served import list_swaps
from core.compose.swap_records import ServedKind, SwapState
from core.registry import service as registry
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def tenant_of(console: Console) -> str:
    with console.database.reading() as s:
        return tenants.list_tenants(s)[0].id


def trainer(console: Console) -> Visit:
    return Visit(
        console, Principal(tenant_of(console), "Test workspace", "trainer@demo.example", Role.TRAINER)
    )


def save_versions(console: Console, *weights: float) -> None:
    tenant = tenant_of(console)
    with console.database.transaction() as s:
        adapter = registry.resolve(s, tenant, "retailer_test")
        for weight in weights:
            compose.save_federation(
                s,
                tenant,
                name="spring",
                description="",
                spec=CompositionSpec(terms=(Term(adapter=adapter.id, weight=weight),)),
                created_by="trainer@demo.example",
                now=console.clock(),
            )


def told(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption))


def test_before_the_first_question_the_screen_offers_to_open_the_engine(
    open_as: Open, console: Console
) -> None:
    at = open_as(Role.VIEWER, "serving")
    assert "The engine is not open yet." in told(at)
    assert not console.engine.loaded
    assert "Prefetch" not in [button.label for button in at.button]


def test_what_is_prefetched_is_in_memory_and_counted(open_as: Open, console: Console, read: Read) -> None:
    save_versions(console, 0.5)
    console.engine()
    at = open_as(Role.TRAINER, "serving")
    assert "None of this workspace." in told(at)
    at.multiselect(key="prefetch-names").set_value(["spring", "brand_test"]).run()
    at.button(key="prefetch").click().run()
    assert not at.error
    deadline = time.monotonic() + 60
    while read(told(at)).count("is ready") < 2 and time.monotonic() < deadline:
        at.run()
    words = read(told(at))
    assert "spring v1" in words
    assert "brand_test v1" in words
    assert words.count("is ready") == 2
    metrics = {metric.label: read(metric.value) for metric in at.metric}
    assert metrics["Adapters resident"] == metrics["Compositions"] == "2"
    adapters, held = (frame.value for frame in at.dataframe)
    assert sorted(adapters["name"]) == ["brand_test v1", "retailer_test v1"]
    assert sorted(held["adapters"]) == ["brand_test v1", "retailer_test v1"]
    assert (adapters["bytes"] > 0).all()
    assert "best possible" in words


def test_the_live_view_can_be_paused(open_as: Open, console: Console) -> None:
    console.engine()
    at = open_as(Role.VIEWER, "serving")
    assert at.toggle(key="serving-live").value
    at.toggle(key="serving-live").set_value(False).run()
    assert not at.exception


def test_a_swap_is_chosen_by_name_and_version_and_asks_first(
    open_as: Open, console: Console, read: Read
) -> None:
    save_versions(console, 0.5, 0.75)
    at = open_as(Role.TRAINER, "serving")
    at.segmented_control(key="serving-part").set_value("Versions that serve").run()
    assert "Nothing has been swapped yet." in told(at)
    at.selectbox(key="swap-name").set_value((ServedKind.FEDERATION, "spring")).run()
    assert at.button(key="swap-start").disabled
    at.selectbox(key=f"swap-version-{ServedKind.FEDERATION}-spring").set_value(1).run()
    at.button(key="swap-start").click().run()
    assert "will mean version 1. Version 2 serves now." in read(told(at))
    with console.database.reading() as s:
        assert list_swaps(s, tenant_of(console)) == []


def test_a_swap_that_cannot_serve_tells_why_and_the_old_version_serves_on(
    open_as: Open, console: Console, read: Read
) -> None:
    save_versions(console, 0.5, 0.75)
    visit = trainer(console)
    run = SwapRun(ServedKind.FEDERATION, "spring", 1, warm=True)
    run.start(visit)
    assert run.over.wait(60)
    assert run.error is None
    assert run.told is not None
    assert [mark for mark, _, _ in steps_of(run.told, over=True)] == ["done"] * 6

    with console.database.transaction() as s:
        adapter = registry.resolve(s, tenant_of(console), "retailer_test")
        registry.archive_adapter(s, tenant_of(console), adapter.id)
    run = SwapRun(ServedKind.FEDERATION, "spring", 2, warm=True)
    run.start(visit)
    assert run.over.wait(60)
    assert run.error is not None
    assert "archived" in run.error.what
    assert steps_of(run.told, over=True)[0][0] == "failed"

    at = open_as(Role.VIEWER, "serving")
    at.segmented_control(key="serving-part").set_value("Versions that serve").run()
    assert "Roll back" not in [button.label for button in at.button]
    (frame,) = (each.value for each in at.dataframe)
    assert list(frame["state"]) == ["failed, the old one serves", "served"]
    assert "archived" in frame["reason"][0]
    assert list(frame["change"]) == ["1 → 2", "2 → 1"]
    assert frame["flip_ms"][1] > 0


def test_the_steps_of_a_swap_follow_its_state(console: Console) -> None:
    assert [mark for mark, _, _ in steps_of(None, over=False)] == ["running", *["waiting"] * 5]
    save_versions(console, 0.5, 0.75)
    run = SwapRun(ServedKind.FEDERATION, "spring", 1, warm=False)
    seen: list[SwapState] = []
    hear = run._hear

    def listen(swap: object) -> None:
        seen.append(swap.state)  # type: ignore[attr-defined]
        hear(swap)  # type: ignore[arg-type]

    run._hear = listen  # type: ignore[method-assign]
    run.start(trainer(console))
    assert run.over.wait(60)
    assert seen == [SwapState.BUILDING, SwapState.CANARY, SwapState.SERVING]
    assert run.told is not None
    row = swap_row(run.told)
    assert (row["mode"], row["state"], row["change"]) == ("cold", "served", "2 → 1")


def test_an_older_version_of_an_adapter_is_offered_to_serve(open_as: Open, console: Console) -> None:
    with console.database.reading() as s:
        adapter = registry.resolve(s, tenant_of(console), "retailer_test")
    at = open_as(Role.TRAINER, "adapters", adapter=adapter.id)
    assert "serve-this" not in [button.key for button in at.button]  # it serves already
