"""All SQL of tenants, users, credentials and the audit log."""

import json
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, Text, cast, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import ConflictError
from core.storage.ids import new_id
from core.storage.tables import (
    ApiKeyRow,
    AuditHeadRow,
    AuditRow,
    SignInLinkRow,
    TenantRow,
    UserRow,
    WebSessionRow,
)
from core.tenants.records import ApiKey, AuditEntry, Role, Tenant, User


def insert_tenant(s: Session, tenant: Tenant, first_hash: str) -> bool:
    """Add a tenant and the start of its audit chain; False when the slug is taken."""
    try:
        with s.begin_nested():
            s.execute(
                insert(TenantRow).values(
                    id=tenant.id,
                    slug=tenant.slug,
                    name=tenant.name,
                    simulated=tenant.simulated,
                    created_at=tenant.created_at,
                )
            )
            s.execute(insert(AuditHeadRow).values(tenant_id=tenant.id, seq=0, hash=first_hash))
    except IntegrityError:
        return False
    return True


def tenant_by_id(s: Session, tenant_id: str) -> Tenant | None:
    return _first_tenant(s, select(TenantRow).where(TenantRow.id == tenant_id))


def tenant_by_slug(s: Session, slug: str) -> Tenant | None:
    return _first_tenant(s, select(TenantRow).where(TenantRow.slug == slug))


def tenants(s: Session) -> list[Tenant]:
    rows = s.scalars(select(TenantRow).order_by(TenantRow.created_at, TenantRow.id))
    return [_tenant(row) for row in rows]


def insert_user(s: Session, user: User, password_hash: str | None) -> None:
    """Add a user. Raises ConflictError when the tenant has this e-mail already."""
    try:
        with s.begin_nested():
            s.execute(
                insert(UserRow).values(
                    id=user.id,
                    tenant_id=user.tenant_id,
                    email=user.email,
                    name=user.name,
                    role=user.role.value,
                    active=user.active,
                    password_hash=password_hash,
                    created_at=user.created_at,
                )
            )
    except IntegrityError:
        raise ConflictError(
            f"There is already an account for {user.email}.",
            "An e-mail address has one account in a workspace.",
            "Change the account that is there.",
        ) from None


def user_by_id(s: Session, tenant_id: str, user_id: str) -> User | None:
    return _first_user(s, select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.id == user_id))


def user_by_email(s: Session, tenant_id: str, email: str) -> User | None:
    return _first_user(s, select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.email == email))


def users(s: Session, tenant_id: str) -> list[User]:
    statement = select(UserRow).where(UserRow.tenant_id == tenant_id).order_by(UserRow.email)
    return [_user(row) for row in _fresh(s, statement)]


def who_may_sign_in(s: Session, email: str, slug: str | None) -> list[tuple[User, str | None]]:
    """Active users with this e-mail and their password hashes: of one tenant, or of all."""
    statement = select(UserRow).where(UserRow.email == email, UserRow.active.is_(True)).order_by(UserRow.id)
    if slug is not None:
        statement = statement.join(TenantRow, TenantRow.id == UserRow.tenant_id).where(TenantRow.slug == slug)
    return [(_user(row), row.password_hash) for row in _fresh(s, statement)]


def lock_active_admins(s: Session, tenant_id: str) -> list[str]:
    """Ids of the administrators that can sign in, locked until the transaction ends."""
    statement = (
        select(UserRow.id)
        .where(UserRow.tenant_id == tenant_id, UserRow.role == Role.ADMIN.value, UserRow.active.is_(True))
        .order_by(UserRow.id)
        .with_for_update()
    )
    return list(s.scalars(statement))


def change_user(s: Session, tenant_id: str, user_id: str, **changes: Any) -> bool:
    """Set columns of a user; False when this tenant has no such user."""
    statement = update(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.id == user_id)
    return _rows(s, statement.values(**changes)) == 1


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
    return None if found is None else (found[0], _user(found[1]), _tenant(found[2]))


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
    used = _rows(
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
    return _first_user(
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
        _key(row) for row in _fresh(s, statement.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id.desc()))
    ]


def key_by_id(s: Session, tenant_id: str, key_id: str) -> ApiKey | None:
    statement = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id)
    return next((_key(row) for row in _fresh(s, statement)), None)


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
    return None if found is None else (found[0].secret_hash, _key(found[0]), _tenant(found[1]))


def note_key_use(s: Session, key_id: str, now: datetime) -> None:
    s.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=now))


def revoke_key(s: Session, tenant_id: str, key_id: str, now: datetime) -> None:
    s.execute(
        update(ApiKeyRow)
        .where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def lock_audit_head(s: Session, tenant_id: str) -> tuple[int, str] | None:
    """Number and hash of the last link, locked until the transaction ends."""
    statement = select(AuditHeadRow.seq, AuditHeadRow.hash).where(AuditHeadRow.tenant_id == tenant_id)
    found = s.execute(statement.with_for_update()).first()
    return None if found is None else (found[0], found[1])


def audit_head(s: Session, tenant_id: str) -> tuple[int, str] | None:
    """Number and hash of the last link as they were noted when it was written."""
    statement = select(AuditHeadRow.seq, AuditHeadRow.hash).where(AuditHeadRow.tenant_id == tenant_id)
    found = s.execute(statement).first()
    return None if found is None else (found[0], found[1])


def append_audit(s: Session, tenant_id: str, entry: AuditEntry) -> None:
    s.execute(
        insert(AuditRow).values(
            tenant_id=tenant_id,
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
            previous_hash=entry.previous_hash,
            hash=entry.hash,
        )
    )
    s.execute(
        update(AuditHeadRow).where(AuditHeadRow.tenant_id == tenant_id).values(seq=entry.seq, hash=entry.hash)
    )


def audit_entries(
    s: Session, tenant_id: str, limit: int, before_seq: int | None, action: str | None
) -> list[AuditEntry]:
    """Newest first."""
    statement = _audit_columns(tenant_id)
    if before_seq is not None:
        statement = statement.where(AuditRow.seq < before_seq)
    if action is not None:
        statement = statement.where(AuditRow.action == action)
    return [_entry(row) for row in s.execute(statement.order_by(AuditRow.seq.desc()).limit(limit))]


def audit_chain(s: Session, tenant_id: str, portion: int = 500) -> Generator[AuditEntry]:
    """Every link, oldest first, a portion at a time. Raises ValueError at a portion that cannot be read."""
    statement = _audit_columns(tenant_id).order_by(AuditRow.seq).execution_options(yield_per=portion)
    with s.execute(statement) as rows:
        yield from map(_entry, rows)


def _audit_columns(tenant_id: str) -> Any:
    # The detail is read as text: what somebody put there may not be JSON.
    statement = select(
        AuditRow.seq,
        AuditRow.at,
        AuditRow.actor,
        AuditRow.action,
        AuditRow.subject,
        cast(AuditRow.detail, Text).label("detail"),
        AuditRow.previous_hash,
        AuditRow.hash,
    )
    return statement.where(AuditRow.tenant_id == tenant_id)


def _end(s: Session, now: datetime, *which: Any) -> int:
    return _rows(
        s, update(WebSessionRow).where(*which, WebSessionRow.ended_at.is_(None)).values(ended_at=now)
    )


def _rows(s: Session, statement: Any) -> int:
    return int(s.execute(statement).rowcount)  # type: ignore[attr-defined]


def _fresh(s: Session, statement: Select[Any]) -> Sequence[Any]:
    # A row that this session read before may have been changed by an UPDATE since.
    return s.scalars(statement.execution_options(populate_existing=True)).all()


def _first_tenant(s: Session, statement: Select[Any]) -> Tenant | None:
    return next((_tenant(row) for row in _fresh(s, statement)), None)


def _first_user(s: Session, statement: Select[Any]) -> User | None:
    return next((_user(row) for row in _fresh(s, statement)), None)


def _tenant(row: TenantRow) -> Tenant:
    return Tenant(row.id, row.slug, row.name, row.simulated, row.created_at)


def _user(row: UserRow) -> User:
    return User(
        id=row.id,
        tenant_id=row.tenant_id,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        active=row.active,
        has_password=row.password_hash is not None,
        created_at=row.created_at,
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


def _entry(row: Row[Any]) -> AuditEntry:
    try:
        detail = json.loads(row.detail)
    except (ValueError, TypeError, RecursionError):
        detail = {"unreadable": row.detail}
    return AuditEntry(
        row.seq, row.at, row.actor, row.action, row.subject, detail, row.previous_hash, row.hash
    )
