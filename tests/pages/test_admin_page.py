"""Administration: people, keys, audit."""

from collections.abc import Callable
from dataclasses import replace

from streamlit.testing.v1 import AppTest

from app.bootstrap import Console, shared_console
from core.tenants import audit, limits
from core.tenants import service as tenants
from core.tenants.records import Role, TenantLimits, UsageDay, User

Open = Callable[..., AppTest]
Read = Callable[[str], str]


def person(console: Console, email: str) -> User:
    with console.database.reading() as s:
        found = tenants.find_user(s, tenants.list_tenants(s)[0].id, email)
    assert found is not None
    return found


def submit(at: AppTest, label: str) -> AppTest:
    next(button for button in at.form_submit_button if button.label == label).click().run()
    assert not at.exception
    return at


def tab(at: AppTest, label: str) -> AppTest:
    at.session_state["admin-tab"] = label
    at.run()
    return at


def test_a_new_person_gets_a_link_that_is_shown_once_and_works_once(open_as: Open, console: Console) -> None:
    at = open_as(Role.ADMIN, "admin")
    at.text_input(key="person-email").set_value("new@demo.example")
    at.text_input(key="person-name").set_value("New Person")
    at.selectbox(key="person-role").set_value(Role.REVIEWER)
    submit(at, "Add and make a sign-in link")
    assert person(console, "new@demo.example").role is Role.REVIEWER
    (link,) = [code.value for code in at.code if "/sign-in/link?token=" in code.value]
    at.run()
    assert not [code for code in at.code if "/sign-in/link" in code.value]
    token = link.rpartition("token=")[2]
    with console.database.transaction() as s:
        made = tenants.redeem_sign_in_link(s, token, hours=1, now=console.clock())
    assert made.principal.actor == "new@demo.example"


def test_an_address_that_is_taken_is_refused(open_as: Open) -> None:
    at = open_as(Role.ADMIN, "admin")
    at.text_input(key="person-email").set_value("viewer@demo.example")
    submit(at, "Add and make a sign-in link")
    assert len(at.error) == 1


def test_a_role_is_changed_and_noted_in_the_audit_log(open_as: Open, console: Console) -> None:
    viewer = person(console, "viewer@demo.example")
    at = open_as(Role.ADMIN, "admin")
    at.selectbox(key=f"role-{viewer.id}").set_value(Role.TRAINER).run()
    at.button(key=f"save-role-{viewer.id}").click().run()
    assert person(console, "viewer@demo.example").role is Role.TRAINER
    with console.database.reading() as s:
        assert audit.list_entries(s, viewer.tenant_id)[0].action == "user.role_changed"


def test_the_last_administrator_cannot_be_demoted(open_as: Open, console: Console) -> None:
    admin = person(console, "admin@demo.example")
    at = open_as(Role.ADMIN, "admin")
    at.selectbox(key=f"role-{admin.id}").set_value(Role.VIEWER).run()
    at.button(key=f"save-role-{admin.id}").click().run()
    assert len(at.error) == 1
    assert person(console, "admin@demo.example").role is Role.ADMIN


def test_deactivating_asks_first(open_as: Open, console: Console) -> None:
    viewer = person(console, "viewer@demo.example")
    at = open_as(Role.ADMIN, "admin")
    at.button(key=f"off-{viewer.id}").click().run()
    assert person(console, "viewer@demo.example").active
    assert at.button(key="off-yes").label == "Deactivate"


def test_the_secret_of_a_new_key_is_shown_once_and_works(open_as: Open, console: Console) -> None:
    at = tab(open_as(Role.ADMIN, "admin"), ":material/key: API keys")
    at.text_input(key="key-name").set_value("nightly")
    submit(at, "Create")
    (secret,) = [code.value for code in at.code if code.value.startswith("rmn_")]
    with console.database.transaction() as s:
        principal = tenants.authenticate_api_key(s, secret, now=console.clock())
    assert principal is not None
    assert principal.role is Role.VIEWER
    at.run()
    assert secret not in " ".join(str(e.value) for e in (*at.code, *at.markdown, *at.caption, *at.text))


def test_revoking_a_key_asks_first(open_as: Open, console: Console) -> None:
    at = tab(open_as(Role.ADMIN, "admin"), ":material/key: API keys")
    at.text_input(key="key-name").set_value("nightly")
    submit(at, "Create")
    revoke = next(button for button in at.button if button.label == "Revoke")
    revoke.click().run()
    with console.database.reading() as s:
        (key,) = tenants.list_api_keys(s, tenants.list_tenants(s)[0].id)
    assert key.revoked_at is None
    assert at.button(key="revoke-yes").label == "Revoke"


def test_the_audit_log_filters_and_proves_that_it_is_whole(
    open_as: Open, console: Console, read: Read
) -> None:
    at = open_as(Role.ADMIN, "admin")
    at.text_input(key="person-email").set_value("new@demo.example")
    submit(at, "Add and make a sign-in link")
    tab(at, ":material/history: Audit log")
    assert {"user.added", "user.link_made"} <= set(at.dataframe[0].value["action"])
    at.selectbox(key="audit-action").set_value("user.added").run()
    assert set(at.dataframe[0].value["action"]) == {"user.added"}
    at.button(key="audit-verify").click().run()
    assert at.success[0].value.startswith("Whole: 2 entries hold")


LIMITS_TAB = ":material/speed: Limits and usage"


def test_an_administrator_sees_limits_and_usage_and_only_the_operator_may_set_them(
    open_as: Open, console: Console, read: Read
) -> None:
    with console.database.transaction() as s:
        tenant = tenants.list_tenants(s)[0]
        limits.set_limits(s, tenant.id, TenantLimits(tokens_per_day=1000), now=console.clock())
        limits.add_usage(s, tenant.id, UsageDay(limits.day_of(console.clock()), 3, 200, 50))
    at = tab(open_as(Role.ADMIN, "admin"), LIMITS_TAB)
    shown = {metric.label: read(metric.value) for metric in at.metric}
    assert shown["Tokens a day (UTC)"] == "1,000"
    assert shown["Tokens a minute"] == "No limit"
    assert at.dataframe[0].value["prompt_tokens"].tolist() == [200]
    assert not [button for button in at.form_submit_button if button.label == "Save limits"]
    operated = console.settings.model_copy(update={"operator_workspace": tenant.slug})
    shared_console.set(replace(console, settings=operated))
    at.run()
    at.number_input(key=f"requests_per_minute-{tenant.id}").set_value(60)
    at.number_input(key=f"weight-{tenant.id}").set_value(3)
    submit(at, "Save limits")
    with console.database.reading() as s:
        assert limits.get_limits(s, tenant.id) == TenantLimits(60, tokens_per_day=1000, weight=3)
        (entry,) = audit.list_entries(s, tenant.id, action="limits.changed")
        assert entry.actor == "admin@demo.example"
    at.text_input(key="limits-slug").set_value("nobody").run()
    assert "no such workspace" in at.error[0].value
