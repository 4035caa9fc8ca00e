"""Analytics & monitoring: every state of the screen, for every role; filters, drilling, alerts, rules, webhook, system."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.bootstrap import Console
from core.analytics import alerts, service, webhooks
from core.analytics.alert_records import Alert, AlertKind, AlertState, Finding, default_rule
from core.analytics.records import RequestEvent, Scope
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import Role

Open = Callable[..., AppTest]
Read = Callable[[str], str]
FEW = 5


def tenant_of(console: Console) -> str:
    with console.database.reading() as s:
        return tenants.list_tenants(s)[0].id


def record(
    console: Console,
    requests: Sequence[tuple[str, float, str]],
    *,
    at: datetime | None = None,
    source: str = "served",
    task: str = "harmonize",
) -> None:
    """Requests of an adapter, each with its milliseconds and its error, all at one moment."""
    tenant = tenant_of(console)
    moment = (at or console.clock()).timestamp()
    for number, (adapter, milliseconds, error) in enumerate(requests):
        console.recorder.record(
            RequestEvent(
                tenant, moment, f"req_{moment:.0f}_{number}", adapter, "", ((adapter, "retailer"),), (), task, error,
                milliseconds, 1.0, 0.5, 5.0, 100, 20, 0, source,
            )
        )  # fmt: skip
    assert console.recorder.write()


def traffic(adapter: str, answered: int, failed: int = 0, left: int = 0) -> list[tuple[str, float, str]]:
    """Latencies of 1, 2, … ms."""
    ends = [""] * answered + ["timeout"] * failed + ["cancelled"] * left
    return [(adapter, float(number + 1), error) for number, error in enumerate(ends)]


def open_alert(console: Console, kind: AlertKind = AlertKind.SUCCESS, subject: str = "alpha") -> Alert:
    finding = Finding(kind, subject, subject, "Fewer requests succeed.", "98% before, 90% now.", "Look.", {})
    with console.database.transaction() as s:
        alert = alerts.report(s, tenant_of(console), finding, default_rule(kind), now=console.clock())
    assert alert is not None
    return alert


def told(at: AppTest, read: Read) -> str:
    return read(" ".join(e.value for e in (*at.markdown, *at.caption, *at.info, *at.warning, *at.error)))


def metrics(at: AppTest, read: Read) -> dict[str, str]:
    return {metric.label: read(metric.value) for metric in at.metric}


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def show(open_as: Open, role: Role, part: str = "Traffic", **query: str) -> AppTest:
    return open_as(role, "analytics", **{"analytics-part": part, **query})


def test_a_workspace_without_traffic_says_what_to_do_and_offers_it(open_as: Open, read: Read) -> None:
    for part in ("Traffic", "Adapters", "Trends", "Requests"):
        at = show(open_as, Role.VIEWER, part)
        assert "Nobody has asked anything yet." in told(at, read)
        assert "Ask in the composer" in labels(at)
        assert not at.metric


def test_key_figures_carry_their_interval_and_n(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("alpha", 95, failed=5, left=2))
    at = show(open_as, Role.VIEWER)
    found = metrics(at, read)
    assert found["Requests"] == "102"
    assert found["Success rate"] == "95.0%"
    assert found["Median latency"] == "48 ms"
    assert found["Tokens"] == f"{102 * 120 / 1000:.3g} k"
    words = told(at, read)
    assert "88.8–97.8%, n 100" in words  # Wilson's interval of 95 of 100, without the two that were left
    assert "102 measured here" in words
    assert "Simulated data" not in words
    assert "No prices are set" in words
    assert len(at.get("plotly_chart")) == 5  # nobody has judged anything: no sixth chart
    assert "Nobody has judged an answer in this period." in words


def test_the_change_against_the_period_before_has_its_interval(
    open_as: Open, console: Console, read: Read
) -> None:
    record(console, traffic("alpha", 400, failed=0), at=console.clock() - timedelta(hours=30))
    record(console, traffic("alpha", 300, failed=100))
    at = show(open_as, Role.VIEWER)
    delta = {metric.label: metric.delta for metric in at.metric}
    assert delta["Success rate"] == "−25.0 points"
    assert delta["Requests"] == "+0%"
    assert "change −29.5 to −20.9 points" in told(at, read)


def test_simulated_traffic_is_labelled(open_as: Open, console: Console, read: Read) -> None:
    hour_ago = console.clock() - timedelta(hours=1)
    record(console, traffic("alpha", 20), source="simulated", at=hour_ago)
    record(console, traffic("alpha", 10), source="reported")
    for part in ("Traffic", "Adapters", "Trends", "Requests"):
        assert "Simulated data" in told(show(open_as, Role.VIEWER, part), read), part
    assert "10 reported through the API, 20 simulated" in told(show(open_as, Role.VIEWER), read)


def test_of_few_requests_no_percentile_is_shown_and_it_says_so(
    open_as: Open, console: Console, read: Read
) -> None:
    record(console, traffic("alpha", FEW))
    at = show(open_as, Role.VIEWER)
    assert metrics(at, read)["P95 latency"] == "–"
    assert "It needs 10 requests: of 5 it is only the slowest" in told(at, read)
    at = show(open_as, Role.VIEWER, "Adapters")
    (frame,) = (each.value for each in at.dataframe)
    assert math.isnan(float(frame["p95"][0] or math.nan))
    assert frame["p50"][0] == pytest.approx(3, rel=0.02)


def test_adapters_are_ranked_by_what_is_sure(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("lucky", 2))
    record(console, traffic("proven", 980, failed=20))
    at = show(open_as, Role.VIEWER, "Adapters")
    table = at.dataframe[0].value
    assert list(table["name"]) == ["proven", "lucky"]
    assert list(table["rank"]) == [1, 2]
    assert list(table["registered"]) == ["no", "no"]
    assert "2 of 2 does not beat 980 of 1,000" in told(at, read)
    at.selectbox(key="adapters-rank").set_value("total_requests").run()
    assert list(at.dataframe[0].value["bound"]) == ["1,000", "2"]
    at.segmented_control(key="adapters-kind").set_value("Tasks").run()
    assert list(at.dataframe[0].value["task"]) == ["harmonize"]
    assert list(at.dataframe[0].value["requests"]) == [1002]


def test_two_adapters_are_compared_with_intervals(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("one", 190, failed=10))
    record(console, traffic("two", 140, failed=60))
    at = show(open_as, Role.VIEWER, "Adapters")
    assert list(at.multiselect(key="adapters-compared").value) == ["one", "two"]
    rows = at.dataframe[1].value.set_index("metric")
    assert rows.loc["Success rate", "difference"] == "−25.0 points"
    assert rows.loc["Success rate", "interval"] == "−32.1 to −17.9 points"
    assert rows.loc["Success rate", "says"] == "worse"
    assert rows.loc["Rating", "difference"] == "–"
    at.multiselect(key="adapters-compared").set_value(["one"]).run()
    assert "Choose two or more." in told(at, read)


def test_filters_stay_in_the_address(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("one", 30), task="copy")
    record(console, traffic("two", 12))
    at = show(open_as, Role.VIEWER, **{"analytics-of": "one", "analytics-period": "7 days"})
    assert metrics(at, read)["Requests"] == "30"
    at.selectbox(key="analytics-task").set_value("harmonize").run()
    assert "No requests in this period: 7 days." in told(at, read)
    at.button(key="empty-No requests in this period: 7 days.-0").click().run()
    assert at.segmented_control(key="analytics-period").value == "90 days"


def test_an_address_with_what_does_not_exist_shows_everything(
    open_as: Open, console: Console, read: Read
) -> None:
    record(console, traffic("one", 30))
    query = {
        "analytics-of": "nobody",
        "analytics-period": "never",
        "from": "x",
        "to": "9" * 30,
        "before": "-1",
    }
    assert metrics(show(open_as, Role.VIEWER, **query), read)["Requests"] == "30"
    at = show(open_as, Role.VIEWER, "Requests", **query)
    assert len(at.dataframe[0].value) == 30


def test_single_requests_are_filtered_and_paged(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("one", 110, failed=7, left=3))
    at = show(open_as, Role.VIEWER, "Requests")
    assert "120 requests in all" in told(at, read)
    assert len(at.dataframe[0].value) == 50
    first = set(at.dataframe[0].value["request_id"])
    at.button(key="requests-older").click().run()
    at.button(key="requests-older").click().run()
    last = at.dataframe[0].value
    assert len(last) == 20
    assert not first & set(last["request_id"])
    assert at.button(key="requests-older").disabled
    at.segmented_control(key="requests-outcome").set_value("Failed").run()
    assert set(at.dataframe[0].value["error"]) == {"timeout"}
    assert len(at.dataframe[0].value) == 7
    at.segmented_control(key="requests-outcome").set_value("Left").run()
    assert set(at.dataframe[0].value["outcome"]) == {"left by its reader"}
    at.segmented_control(key="requests-outcome").set_value("All")
    at.number_input(key="requests-slower").set_value(105.0).run()
    assert sorted(at.dataframe[0].value["latency"]) == [106, 107, 108, 109, 110]
    at.number_input(key="requests-slower").set_value(100_000.0).run()
    assert "No such requests to show." in told(at, read)
    at.button(key="empty-No such requests to show.-0").click().run()
    assert len(at.dataframe[0].value) == 50


def test_a_step_of_a_chart_opens_its_requests_and_the_whole_period_comes_back(
    open_as: Open, console: Console, read: Read
) -> None:
    now = console.clock()
    record(console, traffic("one", 4), at=now - timedelta(hours=3))
    record(console, traffic("one", 6))
    start = (now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    query = {"from": f"{start.timestamp():.0f}", "to": f"{start.timestamp() + 3600:.0f}"}
    at = show(open_as, Role.VIEWER, "Requests", **query)
    assert len(at.dataframe[0].value) == 4
    assert f"{start:%Y-%m-%d %H:%M} to" in told(at, read)
    at.button(key="window-off").click().run()
    assert len(at.dataframe[0].value) == 10
    assert "from" not in at.query_params


def _judge_script(request_id: str) -> None:
    from app.ui.analytics.judge import show_judging
    from app.ui.visit import current_visit

    show_judging(current_visit(), request_id)


def test_a_reviewer_judges_an_answer_and_it_is_in_the_figures(
    open_as: Open, console: Console, read: Read
) -> None:
    record(console, traffic("one", 12))
    show(open_as, Role.REVIEWER, "Requests")
    with console.database.reading() as s:
        scope = Scope(console.clock() - timedelta(hours=1), console.clock())
        request_id = service.requests(s, tenant_of(console), scope).rows[0].request_id
    at = AppTest.from_function(_judge_script, args=(request_id,), default_timeout=30).run()
    assert at.button(key="judge-keep").disabled
    at.feedback(key=f"judge-stars-{request_id}").set_value(3)
    at.feedback(key=f"judge-thumb-{request_id}").set_value(0).run()
    at.button(key="judge-keep").click().run()
    assert not at.error
    found = metrics(show(open_as, Role.VIEWER), read)
    assert found["Rating, 1–5"] == "4.00"
    assert found["Thumbs up"] == "0.0%"


def test_trends_of_a_young_workspace_say_what_is_missing(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("one", 30), at=console.clock() - timedelta(hours=2))
    at = show(open_as, Role.VIEWER, "Trends")
    assert "Marks need 24 whole hours" in told(at, read)
    assert "A forecast needs 12 whole hours" in told(at, read)
    assert "They cannot be told yet." in told(at, read)


def test_an_hour_that_does_not_fit_is_listed_with_what_was_expected(
    open_as: Open, console: Console, read: Read
) -> None:
    now = console.clock()
    for hours in range(1, 60):
        record(console, traffic("one", 30 if hours == 20 else 6 + hours % 3), at=now - timedelta(hours=hours))
    at = show(open_as, Role.VIEWER, "Trends")
    table = at.dataframe[0].value
    assert 30 in set(table["value"])
    row = table[table["value"] == 30].iloc[0]
    assert row["says"] == "more than expected"
    assert row["low"] <= row["expected"] <= row["high"] < 30


def test_an_open_alert_shows_on_every_part_and_on_the_overview(
    open_as: Open, console: Console, read: Read
) -> None:
    record(console, traffic("alpha", 20))
    assert "See alerts" not in labels(show(open_as, Role.VIEWER))
    open_alert(console)
    assert "Fewer requests succeed." in told(show(open_as, Role.VIEWER), read)
    assert "See alerts" in labels(open_as(Role.VIEWER))


def test_a_viewer_sees_alerts_and_cannot_acknowledge_them(
    open_as: Open, console: Console, read: Read
) -> None:
    open_alert(console)
    at = show(open_as, Role.VIEWER, "Alerts")
    assert "98% before, 90% now." in told(at, read)
    assert "Reviewers acknowledge and resolve alerts." in told(at, read)
    assert not {"Acknowledge", "Resolve"} & set(labels(at))
    assert "Administrators change these rules." in told(at, read)
    assert "Webhook" not in [expander.label for expander in at.expander]


def test_a_reviewer_acknowledges_and_resolves_after_a_question(
    open_as: Open, console: Console, read: Read
) -> None:
    alert = open_alert(console)
    at = show(open_as, Role.REVIEWER, "Alerts")
    at.button(key=f"acknowledge-{alert.id}").click().run()
    assert "Nothing is wrong that the watch knows of." in told(at, read)
    at.segmented_control(key="alerts-state").set_value(AlertState.ACKNOWLEDGED).run()
    assert "reviewer@demo.example acknowledged it just now" in told(at, read)
    at.button(key=f"resolve-{alert.id}").click().run()
    assert "cannot be opened again" in told(at, read)
    with console.database.reading() as s:
        assert alerts.get(s, alert.tenant_id, alert.id).state is AlertState.ACKNOWLEDGED
    question = AppTest.from_function(_resolve_script, args=(alert.id,), default_timeout=30).run()
    question.button(key="resolve-yes").click().run()
    assert not question.error
    at.run()
    at.segmented_control(key="alerts-state").set_value(AlertState.RESOLVED).run()
    assert "resolved by reviewer@demo.example" in told(at, read)
    at.segmented_control(key="alerts-view").set_value("Table").run()
    assert list(at.dataframe[0].value["state"]) == ["Resolved"]


def test_an_alert_leads_to_the_requests_behind_it(open_as: Open, console: Console, read: Read) -> None:
    record(console, traffic("alpha", 20, failed=4))
    record(console, traffic("beta", 20, failed=2))
    alert = open_alert(console)
    at = show(open_as, Role.VIEWER, "Alerts")
    at.button(key=f"requests-of-{alert.id}").click().run()
    assert at.segmented_control(key="analytics-part").value == "Requests"
    assert at.selectbox(key="analytics-of").value == "alpha"
    assert len(at.dataframe[0].value) == 4


def _resolve_script(alert_id: str) -> None:
    from app.ui.analytics.alerts import ask_resolve

    ask_resolve(alert_id, "alpha")


def _remove_script() -> None:
    from app.ui.analytics.webhook import ask_remove

    ask_remove()


def test_names_in_alerts_are_shown_letter_by_letter(open_as: Open, console: Console, read: Read) -> None:
    open_alert(console, subject="![x](https://evil.example/x.png)")
    at = show(open_as, Role.VIEWER, "Alerts")
    assert not any("![x](" in markdown.value for markdown in at.markdown)
    assert "![x](" in told(at, read)


def test_an_administrator_changes_a_rule_and_the_rest_stays(open_as: Open, console: Console) -> None:
    at = show(open_as, Role.ADMIN, "Alerts")
    assert at.number_input(key="rule-threshold-success").value == 2.0  # per cent
    at.number_input(key="rule-threshold-success").set_value(5.0)
    at.number_input(key="rule-cooldown-latency").set_value(15)
    at.toggle(key="rule-on-gpu").set_value(False)
    at.button(key="rules-keep").click().run()
    assert not at.error
    with console.database.reading() as s:
        rules = {rule.kind: rule for rule in alerts.rules(s, tenant_of(console))}
        actions = [entry.action for entry in audit.list_entries(s, tenant_of(console))]
    assert rules[AlertKind.SUCCESS].threshold == pytest.approx(0.05)
    assert rules[AlertKind.LATENCY].cooldown_minutes == 15
    assert not rules[AlertKind.GPU].enabled
    assert rules[AlertKind.MEMORY] == default_rule(AlertKind.MEMORY)
    assert actions.count("alert_rule.changed") == 3


def test_rules_that_were_not_changed_are_not_written(open_as: Open, console: Console, read: Read) -> None:
    at = show(open_as, Role.ADMIN, "Alerts")
    at.button(key="rules-keep").click().run()
    assert "Nothing was changed." in told(at, read)


def test_a_private_address_is_refused_as_a_webhook(open_as: Open, console: Console, read: Read) -> None:
    at = show(open_as, Role.ADMIN, "Alerts")
    at.text_input(key="webhook-url").set_value("http://127.0.0.1:9/x")
    at.button(key="webhook-set").click().run()
    assert at.error
    with console.database.reading() as s:
        assert webhooks.find_webhook(s, tenant_of(console)) is None


def test_a_webhook_is_tried_and_removed_after_a_question(
    open_as: Open, console: Console, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.analytics.hook_server import receiver

    tenant = tenant_of(console)
    with receiver() as hook:
        monkeypatch.setattr(
            "core.settings.Settings.webhook_host_names", property(lambda self: hook.allowed), raising=True
        )
        at = show(open_as, Role.ADMIN, "Alerts")
        at.text_input(key="webhook-url").set_value(hook.url)
        at.button(key="webhook-set").click().run()
        assert not at.error
        secret = next(code.value for code in at.code if code.value.startswith("whs_"))
        assert "It is shown this once" in told(at, read)
        at.button(key="webhook-secret-kept").click().run()
        assert secret not in " ".join(code.value for code in at.code)
        at.button(key="webhook-test").click().run()
        assert [success.value for success in at.success] == ["It was taken: HTTP 204."]
        hook.answers[:] = [500]
        at.button(key="webhook-test").click().run()
        assert "It answered 500" in read(at.error[0].value)
    assert len(hook.got) == 2
    at.button(key="webhook-remove").click().run()
    with console.database.reading() as s:
        assert webhooks.find_webhook(s, tenant) is not None
    assert at.button(key="webhook-remove-yes").label == "Remove it"
    question = AppTest.from_function(_remove_script, default_timeout=30).run()
    question.button(key="webhook-remove-yes").click().run()
    with console.database.reading() as s:
        assert webhooks.find_webhook(s, tenant) is None


def test_the_machine_is_for_administrators_and_a_cpu_says_that_there_is_no_gpu(
    open_as: Open, console: Console, read: Read
) -> None:
    at = show(open_as, Role.VIEWER, "System")
    assert "shown to administrators" in told(at, read)
    assert "This machine" not in [head.value for head in at.subheader]
    assert "running run" in list(at.dataframe[0].value["name"])
    at = show(open_as, Role.ADMIN, "System")
    gpus = console.watch.machine().gpus
    assert gpus or "no GPU" in told(at, read)
    assert "No engine is open in this process" in told(at, read)
    assert "Cache and memory" in labels(at)


def test_the_live_view_can_be_paused_and_lists_of_requests_stand_still(
    open_as: Open, console: Console
) -> None:
    record(console, traffic("one", 12))
    at = show(open_as, Role.VIEWER)
    assert at.toggle(key="analytics-live").value
    at.toggle(key="analytics-live").set_value(False).run()
    assert not at.exception
    toggles: list[Any] = list(show(open_as, Role.VIEWER, "Requests").toggle)
    assert toggles == []
