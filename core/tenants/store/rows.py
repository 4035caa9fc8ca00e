"""How rows are read and changed here, and what tenants and people look like as records."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from core.storage.tables import TenantRow, UserRow
from core.tenants.records import Role, Tenant, User


def changed(s: Session, statement: Any) -> int:
    """Run an UPDATE or DELETE; how many rows it met."""
    return int(s.execute(statement).rowcount)  # type: ignore[attr-defined]


def fresh(s: Session, statement: Select[Any]) -> Sequence[Any]:
    """The rows as they are now: one that this session read before may have been changed by an UPDATE since."""
    return s.scalars(statement.execution_options(populate_existing=True)).all()


def first_tenant(s: Session, statement: Select[Any]) -> Tenant | None:
    """The first workspace that fits."""
    return next((tenant_of(row) for row in fresh(s, statement)), None)


def first_user(s: Session, statement: Select[Any]) -> User | None:
    """The first person that fits."""
    return next((user_of(row) for row in fresh(s, statement)), None)


def tenant_of(row: TenantRow) -> Tenant:
    """As the product knows it."""
    return Tenant(row.id, row.slug, row.name, row.simulated, row.created_at)


def user_of(row: UserRow) -> User:
    """As the product knows them."""
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
