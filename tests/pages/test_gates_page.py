"""Gates on screen: train one for real, read its report, promote by the rule and not otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import gate_child
from app.bootstrap import Console
from app.ui.compose.gate_charts import confusion_chart
from core.compose import gates
from core.compose.gate_records import Gate, GateAdapter, GateState
from core.compose.gate_report import Policy, RowResult, compare, decide
from core.compose.records import GateKind
from core.jobs import service as jobs
from core.jobs.records import Job
from core.registry import service as registry
from core.tenants import service as tenants
from core.tenants.records import Role
from core.training.progress import Stop

Open = Callable[..., AppTest]
Read = Callable[[str], str]
NAMES = ("retailer_test", "brand_test")


def tenant_of(console: Console) -> str:
    with console.database.reading() as s:
        return tenants.list_tenants(s)[0].id


def told(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption, *at.success, *at.info, *at.warning))


def submit(at: AppTest, console: Console, kind: GateKind = GateKind.ROUTER) -> Job:
    with console.database.reading() as s:
        ids = [registry.resolve(s, tenant_of(console), name).id for name in NAMES]
    at.segmented_control(key="gate-kind").set_value(kind).run()
    at.text_input(key="gate-name").set_value("chooser").run()
    assert at.button(key="gate-train").disabled
    at.multiselect(key="gate-adapters").set_value(ids).run()
    at.number_input(key="gate-rows").set_value(8).run()
    at.button(key="gate-train").click().run()
    assert not at.exception
    assert not at.error
    with console.database.reading() as s:
        return next(job for job in jobs.list_jobs(s, tenant_of(console), kind="gate"))


def keep_gate(console: Console, better: bool) -> Gate:
    """A gate of the token kind that answered sixteen rows, all right or none, beside others that were right on none."""
    rows = tuple(RowResult(better, int(better), 1, True, None, 0) for _ in range(16))
    others = [
        Policy("base", "the base alone", tuple(RowResult(False, 0, 1, True, None, 0) for _ in range(16)))
    ]
    comparison = compare(Policy("gate", "the gate", rows), others)
    promotable, reason = decide(comparison)
    with console.database.transaction() as s:
        adapters = [registry.resolve(s, tenant_of(console), name) for name in NAMES]
        return gates.record(
            s,
            tenant_of(console),
            name="arrow",
            kind=GateKind.TOKEN,
            base_digest=adapters[0].base_digest,
            digest="a" * 64,
            path=Path(console.settings.home / "gates" / "arrow"),
            adapters=[GateAdapter(a.digest, a.name, a.version) for a in adapters],
            report={
                "kind": "token",
                "decision": {"promotable": promotable, "reason": reason},
                "comparison": comparison,
                "cost": {"adapters_at_once": 2},
            },
            job_id=None,
            created_by="trainer@demo.example",
            now=console.clock(),
        )


def test_without_a_gate_the_screen_says_what_one_is_for(open_as: Open) -> None:
    at = open_as(Role.VIEWER, "gates")
    assert "No gate has been trained yet." in told(at)
    assert not at.expander


def test_a_router_is_trained_from_its_adapters_sets_and_its_report_is_read(
    open_as: Open, console: Console, read: Read, follow: Callable[[AppTest, str], AppTest]
) -> None:
    job = submit(open_as(Role.TRAINER, "gates"), console)
    assert [bool(source["dataset_id"]) for source in job.spec["sources"]] == [True, True]
    with console.database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=console.clock())
    assert claimed is not None
    at = open_as(Role.VIEWER, "gates", job=job.id)
    assert [title.value for title in at.title] == ["chooser"]
    gate_child.run_job(console.database, console.settings, job.id, claimed.fence, Stop())

    at = open_as(Role.TRAINER, "gates", job=job.id)
    at.button(key="gate-open").click().run()
    assert not at.exception
    words = read(told(at))
    metrics = {metric.label: read(metric.value) for metric in at.metric}
    assert metrics["Routed right"].endswith("%")
    assert "It is not promoted." in words  # random adapters are better at nothing
    assert at.button(key="gate-promote").disabled
    assert len(at.get("plotly_chart")) == 4  # gain, confusion, calibration, use
    (frame,) = (each.value for each in at.dataframe)
    assert "the gate" in list(frame["label"])
    assert any("uniform" in label for label in frame["label"])
    assert any("most frequent" in label for label in frame["label"])

    at = open_as(Role.TRAINER, "federation")
    at.segmented_control(key="composer-way").set_value("router").run()
    assert (
        at.selectbox(key="composer-gate-router").value == "chooser@1"
    )  # a candidate is tried by its version
    assert "no others" in read(at.warning[0].value)
    for kind, name in (("retailer", NAMES[0]), ("brand", NAMES[1])):
        with console.database.reading() as s:
            at.multiselect(key=f"composer-{kind}").set_value(
                [registry.resolve(s, tenant_of(console), name).id]
            )
        at.run()
    assert not at.error
    at.text_area(key="playground-prompt").set_value("Harmonize: row 1").run()
    at.number_input(key="ask-tokens").set_value(2).run()
    at.button(key="ask").click().run(timeout=120)
    assert not at.error
    assert "What the router saw" in [each.label for each in at.expander]
    assert "chose" in read(told(at))


def test_a_gate_that_beats_all_others_is_promoted_by_a_click(
    open_as: Open, console: Console, read: Read
) -> None:
    gate = keep_gate(console, better=True)
    at = open_as(Role.VIEWER, "gates", gate=gate.id)
    assert "It may be promoted." in told(at)
    assert "gate-promote" not in [button.key for button in at.button]
    at = open_as(Role.TRAINER, "gates", gate=gate.id)
    at.button(key="gate-promote").click().run()
    assert not at.error
    assert "It answers for the name" in told(at)
    with console.database.reading() as s:
        assert gates.get_gate(s, gate.tenant_id, gate.id).state is GateState.PROMOTED


@pytest.mark.parametrize("view", ["Cards", "Table"])
def test_gates_are_listed_with_the_reason_of_their_state(
    view: str, open_as: Open, console: Console, read: Read
) -> None:
    keep_gate(console, better=False)
    at = open_as(Role.TRAINER, "gates")
    at.segmented_control(key="gates-view").set_value(view).run()
    shown: Any = at.dataframe[0].value["reason"][0] if view == "Table" else read(told(at))
    assert "It is not shown to beat the base alone" in shown


def test_names_in_a_confusion_matrix_are_letters(console: Console) -> None:
    routing = {
        "n": 3,
        "labels": ["<b>x</b>", "two", "the base"],
        "confusion": [[2, 0, 0], [1, 0, 0], [0, 0, 0]],
    }
    figure = confusion_chart(routing)
    assert list(figure.data[0].x) == ["&lt;b&gt;x&lt;/b&gt;", "two"]
    assert figure.data[0].z[0][0] == 100
    assert "n 3 held-out prompts" in figure.layout.title.subtitle.text
