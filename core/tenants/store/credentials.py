"""All SQL of sessions, sign-in links and API keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from core.storage.ids import new_id
from core.storage.tables import ApiKeyRow, SignInLinkRow, TenantRow, UserRow, WebSessionRow
from core.tenants.records import ApiKey, Role, Tenant, User
from core.tenants.store.rows import changed, first_user, fresh, tenant_of, user_of


def insert_session(s: Session, user: User, *, token_hash: str, at: datetime, until: datetime) -> None:
    s.execute(
        insert(WebSessionRow).values(
            id=new_id("ses"),
            tenant_id=user.tenant_id,
            user_id=user.id,
            token_hash=token_hash,
            created_at=at,
            expires_at=until,
        )
    )


def open_session(s: Session, token_hash: str, now: datetime) -> tuple[str, User, Tenant] | None:
    """The stored hash, user and tenant of a session that is still good."""
    statement = (
        select(WebSessionRow.token_hash, UserRow, TenantRow)
        .join(UserRow, UserRow.id == WebSessionRow.user_id)
        .join(TenantRow, TenantRow.id == UserRow.tenant_id)
        .where(
            WebSessionRow.token_hash == token_hash,
            WebSessionRow.ended_at.is_(None),
            WebSessionRow.expires_at > now,
            UserRow.active.is_(True),
        )
    )
    found = s.execute(statement.execution_options(populate_existing=True)).first()
    return None if found is None else (found[0], user_of(found[1]), tenant_of(found[2]))


def end_session(s: Session, token_hash: str, now: datetime) -> None:
    _end(s, now, WebSessionRow.token_hash == token_hash)


def end_sessions_of(s: Session, tenant_id: str, user_id: str, now: datetime) -> int:
    """End all sessions of a user and return how many were open."""
    return _end(s, now, WebSessionRow.tenant_id == tenant_id, WebSessionRow.user_id == user_id)


def insert_link(s: Session, user: User, *, token_hash: str, at: datetime, until: datetime) -> None:
    s.execute(
        insert(SignInLinkRow).values(
            id=new_id("lnk"),
            tenant_id=user.tenant_id,
            user_id=user.id,
            token_hash=token_hash,
            created_at=at,
            expires_at=until,
        )
    )


def use_link(s: Session, token_hash: str, now: datetime) -> User | None:
    """Mark a link as used, once for all, and return its user; None when it is not good (any more)."""
    used = changed(
        s,
        update(SignInLinkRow)
        .where(
            SignInLinkRow.token_hash == token_hash,
            SignInLinkRow.used_at.is_(None),
            SignInLinkRow.expires_at > now,
        )
        .values(used_at=now),
    )
    if used != 1:
        return None
    return first_user(
        s,
        select(UserRow)
        .join(SignInLinkRow, SignInLinkRow.user_id == UserRow.id)
        .where(SignInLinkRow.token_hash == token_hash, UserRow.active.is_(True)),
    )


def void_links_of(s: Session, tenant_id: str, user_id: str, now: datetime) -> None:
    s.execute(
        update(SignInLinkRow)
        .where(
            SignInLinkRow.tenant_id == tenant_id,
            SignInLinkRow.user_id == user_id,
            SignInLinkRow.used_at.is_(None),
        )
        .values(used_at=now)
    )


def delete_spent(s: Session, before: datetime) -> None:
    """Remove sessions and links that were over before a moment."""
    s.execute(
        delete(WebSessionRow).where(or_(WebSessionRow.expires_at < before, WebSessionRow.ended_at < before))
    )
    s.execute(delete(SignInLinkRow).where(SignInLinkRow.expires_at < before))


def insert_key(s: Session, key: ApiKey, secret_hash: str) -> None:
    s.execute(
        insert(ApiKeyRow).values(
            id=key.id,
            tenant_id=key.tenant_id,
            name=key.name,
            role=key.role.value,
            prefix=key.prefix,
            secret_hash=secret_hash,
            created_by=key.created_by,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )


def keys(s: Session, tenant_id: str) -> list[ApiKey]:
    statement = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id)
    return [
        _key(row) for row in fresh(s, statement.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id.desc()))
    ]


def key_by_id(s: Session, tenant_id: str, key_id: str) -> ApiKey | None:
    statement = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id)
    return next((_key(row) for row in fresh(s, statement)), None)


def good_key(s: Session, secret_hash: str, now: datetime) -> tuple[str, ApiKey, Tenant] | None:
    """The stored hash, key and tenant of a key that is neither revoked nor expired."""
    statement = (
        select(ApiKeyRow, TenantRow)
        .join(TenantRow, TenantRow.id == ApiKeyRow.tenant_id)
        .where(
            ApiKeyRow.secret_hash == secret_hash,
            ApiKeyRow.revoked_at.is_(None),
            or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now),
        )
    )
    found = s.execute(statement.execution_options(populate_existing=True)).first()
    return None if found is None else (found[0].secret_hash, _key(found[0]), tenant_of(found[1]))


def note_key_use(s: Session, key_id: str, now: datetime) -> None:
    s.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=now))


def revoke_key(s: Session, tenant_id: str, key_id: str, now: datetime) -> None:
    s.execute(
        update(ApiKeyRow)
        .where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def _end(s: Session, now: datetime, *which: Any) -> int:
    return changed(
        s, update(WebSessionRow).where(*which, WebSessionRow.ended_at.is_(None)).values(ended_at=now)
    )


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        role=Role(row.role),
        prefix=row.prefix,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
