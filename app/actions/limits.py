"""What a workspace may use and what it used; who may change that."""

from dataclasses import asdict, dataclass

from app.bootstrap import Console
from app.standings import default_limits
from core.errors import NotFoundError, PermissionDeniedError
from core.tenants import audit, limits
from core.tenants import service as tenants
from core.tenants.records import Permission, Principal, Tenant, TenantLimits, UsageDay


@dataclass(frozen=True, slots=True)
class LimitsView:
    """`given` was set for this workspace, `counting` is what holds: the settings fill what is None. None there: no limit."""

    tenant_id: str
    tenant_slug: str
    given: TenantLimits
    counting: TenantLimits


def is_operator(c: Console, p: Principal) -> bool:
    """Whether this principal runs the installation: an administrator of the workspace that the settings name, or
    whoever uses the command line on this machine. An administrator of any other workspace does not."""
    if not p.may(Permission.ADMINISTER):
        return False
    if p.user_id is None and p.key_id is None:  # neither a key nor a sign-in: a command
        return True
    named = c.settings.operator_workspace
    return bool(named) and c.admission.standings(p.tenant_id).slug == named


def require_operator(c: Console, p: Principal) -> None:
    """Raises PermissionDeniedError."""
    if not is_operator(c, p):
        raise PermissionDeniedError(
            "This account may not do that.",
            "It is for whoever runs this installation: administrators of the workspace in RMN_OPERATOR_WORKSPACE.",
            "Ask them, or use the command line on that machine.",
        )


def own_limits(c: Console, p: Principal) -> LimitsView:
    """Those of one's own workspace."""
    p.require(Permission.VIEW)
    return _view(c, p.tenant_id)


def limits_of(c: Console, p: Principal, tenant_id: str) -> LimitsView:
    """Those of any workspace, for who runs the installation; everybody else sees their own. Raises NotFoundError."""
    p.require(Permission.ADMINISTER)
    if tenant_id != p.tenant_id and not is_operator(c, p):
        raise NotFoundError("There is no such workspace.")
    return _view(c, tenant_id)


def set_limits(c: Console, p: Principal, tenant_id: str, given: TenantLimits) -> LimitsView:
    """Set all limits of a workspace; they count at once here, and within seconds in other processes.

    Raises PermissionDeniedError, NotFoundError, InvalidInputError.
    """
    require_operator(c, p)
    with c.database.transaction() as s:
        before = limits.get_limits(s, tenant_id)
        limits.set_limits(s, tenant_id, given, now=c.clock())
        detail = {"before": asdict(before), "after": asdict(given)}
        # One's own name is nothing for the log of another workspace. Sorted: two such changes must not wait in a ring.
        for log in sorted({tenant_id, p.tenant_id}):
            actor = p.actor if log == p.tenant_id else "operator"
            audit.append(
                s,
                tenant_id=log,
                actor=actor,
                action="limits.changed",
                subject=tenant_id,
                detail=detail,
                now=c.clock(),
            )
    c.admission.standings.forget(tenant_id)
    return _view(c, tenant_id)


def own_usage(c: Console, p: Principal, *, days: int = 30) -> list[UsageDay]:
    """Days with any usage, newest first. The last second may be missing."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return limits.usage_of(s, p.tenant_id, days=days, now=c.clock())


def find_workspace(c: Console, p: Principal, slug: str) -> Tenant:
    """Raises PermissionDeniedError, NotFoundError."""
    require_operator(c, p)
    with c.database.reading() as s:
        found = tenants.find_tenant_by_slug(s, slug)
    if found is None:
        raise NotFoundError(
            "There is no such workspace.", "Nothing here has this slug.", "Look at its spelling."
        )
    return found


def _view(c: Console, tenant_id: str) -> LimitsView:
    with c.database.reading() as s:
        slug = tenants.get_tenant(s, tenant_id).slug
        given = limits.get_limits(s, tenant_id)
    return LimitsView(tenant_id, slug, given, given.over(default_limits(c.settings)))
