"""Workspaces, people, roles and API keys."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.storage.database import Database
from core.tenants import service as tenants
from core.tenants.records import Role, Tenant, User


def _add(database: Database, tenant: Tenant, email: str, role: Role, now: datetime) -> User:
    with database.transaction() as s:
        return tenants.add_user(s, tenant.id, email=email, name="Somebody", role=role, now=now)


def test_a_workspace_gets_a_slug_of_its_own(database: Database, now: datetime) -> None:
    def create(_: int) -> str:
        with database.transaction() as s:
            return tenants.create_tenant(s, name="  Älpha   & Söhne! ", simulated=True, now=now).slug

    with ThreadPoolExecutor(4) as pool:
        slugs = sorted(pool.map(create, range(4)))
    assert slugs == ["alpha-sohne", "alpha-sohne-2", "alpha-sohne-3", "alpha-sohne-4"]
    with database.transaction() as s:
        found = tenants.find_tenant_by_slug(s, "alpha-sohne-3")
        assert found is not None
        assert (found.name, found.simulated) == ("Älpha & Söhne!", True)
        assert tenants.get_tenant(s, found.id) == found
        assert len(tenants.list_tenants(s)) == 4
        assert tenants.create_tenant(s, name="店", now=now).slug == "workspace"


def test_a_workspace_that_does_not_exist_is_not_found(database: Database, now: datetime) -> None:
    for tenant_id in ("ten_nobody", "\0", "\ud800"):
        with pytest.raises(NotFoundError), database.transaction() as s:
            tenants.get_tenant(s, tenant_id)
        with pytest.raises(NotFoundError), database.transaction() as s:
            tenants.add_user(s, tenant_id, email="a@b.example", name="A", role=Role.VIEWER, now=now)
    with database.transaction() as s:
        assert tenants.find_tenant_by_slug(s, "nobody") is None


def test_an_address_has_one_account_in_a_workspace(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    ann = _add(database, tenant, "ann@example.com", Role.ADMIN, now)
    with pytest.raises(ConflictError, match="already"):
        _add(database, tenant, " Ann@EXAMPLE.com", Role.VIEWER, now)
    _add(database, other_tenant, "ann@example.com", Role.VIEWER, now)
    with database.transaction() as s:
        assert tenants.find_user(s, tenant.id, "ANN@example.com") == ann
        assert tenants.list_users(s, tenant.id) == [ann]


def test_capitals_and_accents_make_another_address(database: Database, tenant: Tenant, now: datetime) -> None:
    _add(database, tenant, "rene@example.com", Role.VIEWER, now)
    _add(database, tenant, "rené@example.com", Role.VIEWER, now)
    with database.transaction() as s:
        assert len(tenants.list_users(s, tenant.id)) == 2


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@b", "a b@c.example", "a@b@c", "a\0@b.c", "x" * 250 + "@b.example"]
)
def test_what_is_no_address_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, email: str
) -> None:
    with pytest.raises(InvalidInputError):
        _add(sqlite_database, sqlite_tenant, email, Role.VIEWER, now)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "bell\x07", "escape\x1b[31m"])
def test_a_name_that_cannot_be_shown_is_refused(sqlite_database: Database, now: datetime, name: str) -> None:
    with pytest.raises(InvalidInputError), sqlite_database.transaction() as s:
        tenants.create_tenant(s, name=name, now=now)


def test_the_last_administrator_stays(database: Database, tenant: Tenant, now: datetime) -> None:
    ann = _add(database, tenant, "ann@example.com", Role.ADMIN, now)
    bob = _add(database, tenant, "bob@example.com", Role.ADMIN, now)
    with database.transaction() as s:
        tenants.deactivate_user(s, tenant.id, bob.id, now=now)
    for act in (
        lambda s: tenants.deactivate_user(s, tenant.id, ann.id, now=now),
        lambda s: tenants.change_role(s, tenant.id, ann.id, Role.TRAINER),
    ):
        with pytest.raises(ConflictError, match="last administrator"), database.transaction() as s:
            act(s)
    with database.transaction() as s:
        tenants.change_role(s, tenant.id, ann.id, Role.ADMIN)
        tenants.reactivate_user(s, tenant.id, bob.id)
        assert tenants.change_role(s, tenant.id, ann.id, Role.VIEWER).role is Role.VIEWER


def test_two_administrators_who_demote_each_other_at_once_leave_one(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    for number in range(5):
        pair = [_add(database, tenant, f"{name}{number}@example.com", Role.ADMIN, now) for name in "ab"]
        with database.transaction() as s:
            for user in tenants.list_users(s, tenant.id):
                if user not in pair and user.active:
                    tenants.deactivate_user(s, tenant.id, user.id, now=now)

        def demote(user: User) -> bool:
            try:
                with database.transaction() as s:
                    tenants.change_role(s, tenant.id, user.id, Role.VIEWER)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(demote, pair)) == [False, True]


def test_an_api_key_stands_for_its_workspace_and_role(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        made = tenants.create_api_key(
            s, tenant.id, name="nightly", role=Role.TRAINER, created_by="ann@example.com", now=now
        )
        assert re.fullmatch(r"rmn_[A-Za-z0-9_-]{43}", made.secret)
        assert made.key.prefix == made.secret[:12]
    with database.transaction() as s:
        who = tenants.authenticate_api_key(s, made.secret, now=now)
    assert who is not None
    assert (who.tenant_id, who.tenant_name, who.role) == (tenant.id, "Alpha Stores", Role.TRAINER)
    assert (who.key_id, who.user_id) == (made.key.id, None)
    assert made.secret not in who.actor


def test_the_secret_of_a_key_is_kept_nowhere(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        made = tenants.create_api_key(s, tenant.id, name="k", role=Role.VIEWER, created_by="ann", now=now)
        kept = str(s.execute(text("SELECT * FROM api_keys")).all())
    assert made.secret[12:] not in kept
    assert made.secret not in repr(made.key)


def test_a_revoked_or_expired_key_is_refused_at_once(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        made = tenants.create_api_key(s, tenant.id, name="k", role=Role.VIEWER, created_by="ann", now=now)
        short = tenants.create_api_key(
            s,
            tenant.id,
            name="s",
            role=Role.VIEWER,
            created_by="ann",
            expires_at=now + timedelta(hours=1),
            now=now,
        )
    with database.transaction() as s:
        assert tenants.authenticate_api_key(s, short.secret, now=now + timedelta(minutes=59)) is not None
        assert tenants.authenticate_api_key(s, short.secret, now=now + timedelta(hours=1)) is None
        assert tenants.revoke_api_key(s, tenant.id, made.key.id, now=now).revoked_at == now
        assert tenants.authenticate_api_key(s, made.secret, now=now) is None
        again = tenants.revoke_api_key(s, tenant.id, made.key.id, now=now + timedelta(days=1))
        assert again.revoked_at == now


def test_a_secret_that_is_almost_right_is_refused(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        secret = tenants.create_api_key(
            s, tenant.id, name="k", role=Role.VIEWER, created_by="ann", now=now
        ).secret
        other = "A" if secret[-2] != "A" else "B"
        for wrong in (
            "",
            secret[:-1],
            secret + "x",
            secret + "\n",
            secret[:-2] + other + secret[-1],
            secret.swapcase(),
            "rmn_" + "\ud800" * 43,
            secret[:12],
        ):
            assert tenants.authenticate_api_key(s, wrong, now=now) is None


def test_the_use_of_a_key_is_noted_once_a_minute(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        secret = tenants.create_api_key(
            s, tenant.id, name="k", role=Role.VIEWER, created_by="ann", now=now
        ).secret
        seen = []
        for second in (0, 30, 60):
            tenants.authenticate_api_key(s, secret, now=now + timedelta(seconds=second))
            seen.append(tenants.list_api_keys(s, tenant.id)[0].last_used_at)
    assert seen == [now, now, now + timedelta(seconds=60)]


def test_another_tenants_keys_are_not_found(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        made = tenants.create_api_key(s, tenant.id, name="k", role=Role.VIEWER, created_by="ann", now=now)
    with pytest.raises(NotFoundError), database.transaction() as s:
        tenants.revoke_api_key(s, other_tenant.id, made.key.id, now=now)
    with database.transaction() as s:
        assert tenants.list_api_keys(s, other_tenant.id) == []
        assert [key.id for key in tenants.list_api_keys(s, tenant.id)] == [made.key.id]
        assert tenants.authenticate_api_key(s, made.secret, now=now) is not None


def test_a_key_cannot_expire_before_it_exists(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with pytest.raises(InvalidInputError), sqlite_database.transaction() as s:
        tenants.create_api_key(
            s, sqlite_tenant.id, name="k", role=Role.VIEWER, created_by="ann", expires_at=now, now=now
        )
