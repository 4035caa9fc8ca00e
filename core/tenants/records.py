"""Who may do what."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.errors import PermissionDeniedError


class Role(StrEnum):
    """What a person or key may do; each role may do all that the one before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    TRAINER = "trainer"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a screen, route or command asks for."""

    PUBLIC = "public"  # nobody needs to sign in
    VIEW = "view"  # read this tenant's datasets, jobs, adapters
    INFER = "infer"  # ask a composition for an answer
    REVIEW = "review"  # judge answers
    TRAIN = "train"  # submit and cancel jobs; import datasets and adapters; save federations
    ADMINISTER = "administer"  # users, keys, audit


_LEAST_ROLE = {
    Permission.VIEW: Role.VIEWER,
    Permission.INFER: Role.VIEWER,
    Permission.REVIEW: Role.REVIEWER,
    Permission.TRAIN: Role.TRAINER,
    Permission.ADMINISTER: Role.ADMIN,
}
_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: a signed-in person or an API key, always of one tenant."""

    tenant_id: str
    tenant_name: str
    actor: str
    role: Role
    user_id: str | None = None
    key_id: str | None = None

    def may(self, permission: Permission) -> bool:
        """Whether this principal's role allows it."""
        if permission is Permission.PUBLIC:
            return True
        return _RANK[self.role] >= _RANK[_LEAST_ROLE[permission]]

    def require(self, permission: Permission) -> None:
        """Raise PermissionDeniedError unless this principal may."""
        if not self.may(permission):
            raise PermissionDeniedError(
                "This account may not do that.",
                f"It needs the role «{_LEAST_ROLE[permission]}»; this account is «{self.role}».",
                "Ask an administrator of your workspace.",
            )


@dataclass(frozen=True, slots=True)
class Tenant:
    """A workspace: everything else belongs to exactly one."""

    id: str
    slug: str
    name: str
    simulated: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """A person of one tenant."""

    id: str
    tenant_id: str
    email: str
    name: str
    role: Role
    active: bool
    has_password: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential for programs. The secret is not kept; `prefix` helps to tell keys apart."""

    id: str
    tenant_id: str
    name: str
    role: Role
    prefix: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made, with the secret that is shown this once."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class NewSession:
    """A sign-in just made, with the token that goes into the cookie."""

    token: str
    principal: Principal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of a tenant's audit chain."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What checking a chain found. `first_bad_seq` is None when every link holds."""

    entries: int
    head: str
    first_bad_seq: int | None
    problem: str | None
