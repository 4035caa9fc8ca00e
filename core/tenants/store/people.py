"""All SQL of tenants and people."""

from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import ConflictError
from core.storage.tables import AuditHeadRow, TenantRow, UserRow
from core.tenants.records import Role, Tenant, User
from core.tenants.store.rows import changed, first_tenant, first_user, fresh, tenant_of, user_of


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
    return first_tenant(s, select(TenantRow).where(TenantRow.id == tenant_id))


def tenant_by_slug(s: Session, slug: str) -> Tenant | None:
    return first_tenant(s, select(TenantRow).where(TenantRow.slug == slug))


def tenants(s: Session) -> list[Tenant]:
    rows = s.scalars(select(TenantRow).order_by(TenantRow.created_at, TenantRow.id))
    return [tenant_of(row) for row in rows]


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
    return first_user(s, select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.id == user_id))


def user_by_email(s: Session, tenant_id: str, email: str) -> User | None:
    return first_user(s, select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.email == email))


def users(s: Session, tenant_id: str) -> list[User]:
    statement = select(UserRow).where(UserRow.tenant_id == tenant_id).order_by(UserRow.email)
    return [user_of(row) for row in fresh(s, statement)]


def who_may_sign_in(s: Session, email: str, slug: str | None) -> list[tuple[User, str | None]]:
    """Active users with this e-mail and their password hashes: of one tenant, or of all."""
    statement = select(UserRow).where(UserRow.email == email, UserRow.active.is_(True)).order_by(UserRow.id)
    if slug is not None:
        statement = statement.join(TenantRow, TenantRow.id == UserRow.tenant_id).where(TenantRow.slug == slug)
    return [(user_of(row), row.password_hash) for row in fresh(s, statement)]


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
    return changed(s, statement.values(**changes)) == 1
