"""Every screen for every role: what may be opened opens with its title, what may not cannot be reached."""

import re
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app.access import POLICIES
from app.bootstrap import Console
from app.ui.screens import SCREENS, Screen
from core.settings import PROJECT_ROOT
from core.tenants.records import Permission, Principal, Role

PAGES = sorted((PROJECT_ROOT / "pages").glob("*.py"))


def may(role: Role, screen: Screen) -> bool:
    permission = POLICIES[screen.path]
    assert isinstance(permission, Permission)
    return Principal("t", "t", "a", role).may(permission)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_a_screen_opens_for_the_roles_that_may_and_for_no_other(
    screen: Screen, role: Role, open_as: Callable[..., AppTest]
) -> None:
    if may(role, screen):
        at = open_as(role, screen.name)
        assert [title.value for title in at.title] == [screen.title]
        assert at.caption[0].value
    else:
        with pytest.raises(ValueError, match=screen.name):
            open_as(role, screen.name)


def test_a_viewer_sees_no_button_that_changes_anything(open_as: Callable[..., AppTest]) -> None:
    for screen in SCREENS:
        if may(Role.VIEWER, screen):
            labels = [button.label for button in open_as(Role.VIEWER, screen.name).button]
            assert not any(re.search("Train|Import|Cancel|Archive|Save|Add", label) for label in labels), (
                labels
            )


def test_every_page_is_a_screen_with_a_policy() -> None:
    assert {f"pages/{page.name}" for page in PAGES} == {screen.path for screen in SCREENS}
    assert all(screen.path in POLICIES for screen in SCREENS)


def test_without_a_sign_in_there_is_only_the_way_to_it(
    open_as: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    at = open_as(Role.ADMIN)
    monkeypatch.setattr("app.ui.visit.session_token", lambda: None)
    at.run()
    assert [title.value for title in at.title] == ["Please sign in"]
    assert not at.metric
    assert not at.button


def test_signing_out_ends_the_session_on_the_server(open_as: Callable[..., AppTest]) -> None:
    at = open_as(Role.TRAINER)
    at.button(key="sign-out").click().run()
    assert [title.value for title in at.title] == ["Please sign in"]
    at.run()
    assert [title.value for title in at.title] == ["Please sign in"]


def test_a_person_who_loses_a_role_loses_its_screens_at_once(
    open_as: Callable[..., AppTest], console: Console
) -> None:
    from core.tenants import service as tenants

    at = open_as(Role.TRAINER, "training")
    with console.database.transaction() as s:
        tenant = tenants.list_tenants(s)[0].id
        user = tenants.find_user(s, tenant, "trainer@demo.example")
        assert user is not None
        tenants.change_role(s, tenant, user.id, Role.VIEWER)
    at.run()
    assert "Train an adapter" not in [title.value for title in at.title]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_a_short_plain_script(page) -> None:
    text = page.read_text()
    assert 20 <= len(text.splitlines()) <= 150
    assert not re.search(r"^(def|class) ", text, re.MULTILINE)


SOURCES = [*PAGES, *sorted((PROJECT_ROOT / "app" / "ui").glob("*.py")), PROJECT_ROOT / "app" / "main.py"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_no_screen_injects_html_css_or_scripts(source) -> None:
    banned = (
        r"unsafe_allow_html|unsafe_allow_javascript|st\.html|st\.components|st\.iframe|st\.write\b|<style"
    )
    assert not re.search(banned, source.read_text())
