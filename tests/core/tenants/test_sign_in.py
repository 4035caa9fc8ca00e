"""Passwords, links and sessions."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import text

from core.errors import ConflictError, InvalidInputError, NotAuthenticatedError, NotFoundError
from core.storage.database import Database
from core.tenants import credentials
from core.tenants import service as tenants
from core.tenants.records import NewSession, Role, Tenant, User

PASSWORD = "a long enough pässword"


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Made once: a hash is slow on purpose."""
    return credentials.hash_password(PASSWORD)


@pytest.fixture
def ann(database: Database, tenant: Tenant, now: datetime, password_hash: str) -> User:
    with database.transaction() as s:
        user = tenants.add_user(s, tenant.id, email="Ann@Example.com", name="Ann", role=Role.ADMIN, now=now)
        s.execute(text("UPDATE users SET password_hash = :hash"), {"hash": password_hash})
        return tenants.get_user(s, tenant.id, user.id)


@pytest.fixture
def bob(database: Database, tenant: Tenant, now: datetime) -> User:
    with database.transaction() as s:
        return tenants.add_user(s, tenant.id, email="bob@example.com", name="Bob", role=Role.VIEWER, now=now)


def _sign_in(
    database: Database, now: datetime, email: str, password: str, slug: str | None = None
) -> NewSession:
    with database.transaction() as s:
        return tenants.sign_in_with_password(
            s, email=email, password=password, hours=2, now=now, tenant_slug=slug
        )


def test_the_right_password_opens_a_session_of_that_person(
    database: Database, tenant: Tenant, ann: User, now: datetime
) -> None:
    session = _sign_in(database, now, " ANN@example.COM ", PASSWORD)
    assert session.expires_at == now + timedelta(hours=2)
    with database.transaction() as s:
        who = tenants.authenticate_session(s, session.token, now=now)
    assert who == session.principal
    assert who is not None
    assert (who.tenant_id, who.user_id, who.role, who.actor) == (
        tenant.id,
        ann.id,
        Role.ADMIN,
        "ann@example.com",
    )


@pytest.mark.parametrize("backend", ["sqlite"])
def test_every_reason_to_refuse_a_sign_in_reads_the_same(
    database: Database, ann: User, bob: User, now: datetime
) -> None:
    texts = set()
    for email, password in (
        ("ann@example.com", "not the password"),
        ("ann@example.com", ""),
        ("nobody@example.com", PASSWORD),
        ("bob@example.com", PASSWORD),
        ("ann@example.com", "x" * 100_000),
        ("\0\ud800", "\0\ud800"),
    ):
        with pytest.raises(NotAuthenticatedError) as refusal:
            _sign_in(database, now, email, password)
        texts.add(str(refusal.value))
    assert len(texts) == 1


def test_a_refusal_takes_as_long_without_an_account(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        tenants.add_user(
            s,
            sqlite_tenant.id,
            email="ann@example.com",
            name="Ann",
            role=Role.ADMIN,
            password=PASSWORD,
            now=now,
        )

    def seconds(email: str) -> float:
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            with pytest.raises(NotAuthenticatedError):
                _sign_in(sqlite_database, now, email, "not the password")
            best = min(best, time.process_time() - start)
        return best

    known, unknown = seconds("ann@example.com"), seconds("nobody@example.com")
    assert unknown > known / 2


def test_the_hash_that_stands_in_for_no_account_has_the_parameters_in_use() -> None:
    assert extract_parameters(credentials.NOBODYS_HASH) == extract_parameters(PasswordHasher().hash("x"))
    assert not credentials.password_matches("", None)


def test_a_password_is_kept_as_an_argon2id_hash_alone(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        tenants.add_user(
            s, tenant.id, email="a@b.example", name="A", role=Role.VIEWER, password=PASSWORD, now=now
        )
        kept = s.execute(text("SELECT * FROM users")).one()
    assert kept.password_hash.startswith("$argon2id$")
    assert PASSWORD not in str(tuple(kept))


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_outdated_hash_is_made_anew_at_sign_in(database: Database, ann: User, now: datetime) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    with database.transaction() as s:
        s.execute(text("UPDATE users SET password_hash = :weak"), {"weak": weak})
    _sign_in(database, now, "ann@example.com", PASSWORD)
    with database.transaction() as s:
        assert "m=65536" in s.scalar(text("SELECT password_hash FROM users"))
    _sign_in(database, now, "ann@example.com", PASSWORD)


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1025])
def test_a_password_of_the_wrong_length_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, password: str
) -> None:
    with pytest.raises(InvalidInputError, match="12 to 1024"), sqlite_database.transaction() as s:
        tenants.add_user(
            s, sqlite_tenant.id, email="a@b.example", name="A", role=Role.VIEWER, password=password, now=now
        )


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_password_typed_as_other_code_points_is_the_same(
    database: Database, ann: User, now: datetime
) -> None:
    _sign_in(database, now, "ann@example.com", PASSWORD.replace("ä", "a\u0308"))


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_new_password_replaces_the_old_one(database: Database, ann: User, now: datetime) -> None:
    with database.transaction() as s:
        tenants.set_password(s, ann.tenant_id, ann.id, "another long password")
    _sign_in(database, now, "ann@example.com", "another long password")
    with pytest.raises(NotAuthenticatedError):
        _sign_in(database, now, "ann@example.com", PASSWORD)


def test_an_address_with_accounts_in_two_workspaces_needs_the_workspace(
    database: Database, tenant: Tenant, other_tenant: Tenant, ann: User, now: datetime
) -> None:
    with database.transaction() as s:
        tenants.add_user(
            s,
            other_tenant.id,
            email="ann@example.com",
            name="Ann",
            role=Role.VIEWER,
            password=PASSWORD,
            now=now,
        )
    with pytest.raises(NotAuthenticatedError):
        _sign_in(database, now, "ann@example.com", PASSWORD)
    assert _sign_in(database, now, "ann@example.com", PASSWORD, "beta-market").principal.role is Role.VIEWER
    assert _sign_in(database, now, "ann@example.com", PASSWORD, tenant.slug).principal.role is Role.ADMIN


def test_a_session_ends_with_its_time_and_at_sign_out(database: Database, ann: User, now: datetime) -> None:
    first = _sign_in(database, now, "ann@example.com", PASSWORD)
    second = _sign_in(database, now, "ann@example.com", PASSWORD)
    with database.transaction() as s:
        assert tenants.authenticate_session(s, first.token, now=now + timedelta(hours=2)) is None
        tenants.end_session(s, first.token, now=now)
        assert tenants.authenticate_session(s, first.token, now=now) is None
        assert tenants.authenticate_session(s, second.token, now=now) is not None
        assert tenants.end_all_sessions(s, ann.tenant_id, ann.id, now=now) == 1
        assert tenants.authenticate_session(s, second.token, now=now) is None


def test_a_token_that_was_never_given_out_is_nobodys(database: Database, ann: User, now: datetime) -> None:
    with database.transaction() as s:
        for token in ("", "x", "\0", "\ud800", "' OR 1=1 --", "é" * 5000):
            assert tenants.authenticate_session(s, token, now=now) is None


def test_tokens_are_kept_as_hashes_alone(database: Database, ann: User, now: datetime) -> None:
    session = _sign_in(database, now, "ann@example.com", PASSWORD)
    with database.transaction() as s:
        link = tenants.make_sign_in_link(s, ann.tenant_id, ann.id, minutes=5, now=now)
        kept = str(
            [*s.execute(text("SELECT * FROM web_sessions")), *s.execute(text("SELECT * FROM sign_in_links"))]
        )
    assert session.token not in kept
    assert link not in kept
    assert credentials.fingerprint(session.token) in kept


def test_a_sign_in_link_works_once(database: Database, bob: User, now: datetime) -> None:
    with database.transaction() as s:
        link = tenants.make_sign_in_link(s, bob.tenant_id, bob.id, minutes=5, now=now)

    def redeem(_: int) -> str:
        try:
            with database.transaction() as s:
                return tenants.redeem_sign_in_link(s, link, hours=1, now=now).principal.actor
        except NotAuthenticatedError:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(redeem, range(4)))
    assert answers == ["bob@example.com", "refused", "refused", "refused"]


def test_a_sign_in_link_runs_out(database: Database, bob: User, now: datetime) -> None:
    with database.transaction() as s:
        link = tenants.make_sign_in_link(s, bob.tenant_id, bob.id, minutes=5, now=now)
        with pytest.raises(NotAuthenticatedError):
            tenants.redeem_sign_in_link(s, link, hours=1, now=now + timedelta(minutes=5))
        tenants.redeem_sign_in_link(s, link, hours=1, now=now + timedelta(minutes=4))


def test_a_closed_account_is_shut_out_at_once_and_may_come_back(
    database: Database, ann: User, bob: User, now: datetime
) -> None:
    with database.transaction() as s:
        tenants.set_password(s, bob.tenant_id, bob.id, PASSWORD)
        link = tenants.make_sign_in_link(s, bob.tenant_id, bob.id, minutes=5, now=now)
    session = _sign_in(database, now, "bob@example.com", PASSWORD)
    with database.transaction() as s:
        assert tenants.deactivate_user(s, bob.tenant_id, bob.id, now=now).active is False
        assert tenants.authenticate_session(s, session.token, now=now) is None
        with pytest.raises(ConflictError):
            tenants.make_sign_in_link(s, bob.tenant_id, bob.id, minutes=5, now=now)
    with pytest.raises(NotAuthenticatedError):
        _sign_in(database, now, "bob@example.com", PASSWORD)
    with database.transaction() as s:
        tenants.reactivate_user(s, bob.tenant_id, bob.id)
        assert tenants.authenticate_session(s, session.token, now=now) is None
        with pytest.raises(NotAuthenticatedError):
            tenants.redeem_sign_in_link(s, link, hours=1, now=now)
    assert _sign_in(database, now, "bob@example.com", PASSWORD).principal.user_id == bob.id


def test_another_role_counts_from_the_next_request(
    database: Database, ann: User, bob: User, now: datetime
) -> None:
    with database.transaction() as s:
        link = tenants.make_sign_in_link(s, bob.tenant_id, bob.id, minutes=5, now=now)
        session = tenants.redeem_sign_in_link(s, link, hours=1, now=now)
        tenants.change_role(s, bob.tenant_id, bob.id, Role.TRAINER)
        who = tenants.authenticate_session(s, session.token, now=now)
    assert who is not None
    assert who.role is Role.TRAINER


def test_links_and_sessions_that_are_over_can_be_forgotten(
    database: Database, ann: User, now: datetime
) -> None:
    open_one = _sign_in(database, now, "ann@example.com", PASSWORD)
    ended = _sign_in(database, now, "ann@example.com", PASSWORD)
    with database.transaction() as s:
        tenants.make_sign_in_link(s, ann.tenant_id, ann.id, minutes=5, now=now)
        tenants.end_session(s, ended.token, now=now)
        tenants.forget_spent_credentials(s, before=now + timedelta(hours=1))
        assert tenants.authenticate_session(s, open_one.token, now=now) is not None
        assert s.scalar(text("SELECT COUNT(*) FROM web_sessions")) == 1
        assert s.scalar(text("SELECT COUNT(*) FROM sign_in_links")) == 0


def test_another_tenants_people_are_not_found(
    database: Database, other_tenant: Tenant, ann: User, now: datetime
) -> None:
    there, who = other_tenant.id, ann.id
    for act in (
        lambda s: tenants.get_user(s, there, who),
        lambda s: tenants.change_role(s, there, who, Role.VIEWER),
        lambda s: tenants.deactivate_user(s, there, who, now=now),
        lambda s: tenants.reactivate_user(s, there, who),
        lambda s: tenants.set_password(s, there, who, "another long password"),
        lambda s: tenants.make_sign_in_link(s, there, who, minutes=5, now=now),
        lambda s: tenants.end_all_sessions(s, there, who, now=now),
    ):
        with pytest.raises(NotFoundError), database.transaction() as s:
            act(s)
    with database.transaction() as s:
        assert tenants.list_users(s, there) == []
        assert tenants.find_user(s, there, "ann@example.com") is None
        assert tenants.get_user(s, ann.tenant_id, who) == ann
