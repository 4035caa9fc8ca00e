"""Who may do what."""

from dataclasses import dataclass, replace
from datetime import date, datetime
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
class TenantLimits:
    """What a workspace may use. None: what the settings say.

    `weight` is its part of the engine beside others, `priority` says whose request is taken first when all threads
    that wait for answers are busy.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_requests: int | None = None
    priority: int = 0
    weight: int = 1

    def over(self, defaults: "TenantLimits") -> "TenantLimits":
        """What counts: these, and where one is None that of `defaults`. None there: no limit."""
        return replace(
            self,
            **{
                name: getattr(defaults, name)
                for name in LIMIT_NAMES
                if getattr(self, name) is None and getattr(defaults, name) is not None
            },
        )


LIMIT_NAMES = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "concurrent_requests")


@dataclass(frozen=True, slots=True)
class UsageDay:
    """What a workspace used on one day (UTC): answers, tokens read, tokens generated."""

    day: date
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Read and generated."""
        return self.prompt_tokens + self.completion_tokens


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
