"""People and their sign-ins, API keys, and new workspaces."""

from datetime import datetime

from app.actions.audit import note
from app.bootstrap import Console
from core.demo.workspace import prepare_workspace
from core.errors import NotAuthenticatedError, PermissionDeniedError
from core.settings import PROJECT_ROOT
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import (
    ApiKey,
    NewApiKey,
    NewSession,
    Permission,
    Principal,
    Role,
    Tenant,
    User,
)


def list_users(c: Console, p: Principal) -> list[User]:
    """By e-mail."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return tenants.list_users(s, p.tenant_id)


def add_user(
    c: Console, p: Principal, *, email: str, name: str, role: Role, password: str | None = None
) -> User:
    """Raises ConflictError for a second account of an e-mail."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        user = tenants.add_user(
            s, p.tenant_id, email=email, name=name, role=role, password=password, now=c.clock()
        )
        note(c, s, p, "user.added", user.id, email=user.email, role=user.role.value)
    return user


def change_role(c: Console, p: Principal, user_id: str, role: Role) -> User:
    """Raises ConflictError for the last administrator."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        user = tenants.change_role(s, p.tenant_id, user_id, role)
        note(c, s, p, "user.role_changed", user.id, email=user.email, role=user.role.value)
    return user


def deactivate_user(c: Console, p: Principal, user_id: str) -> User:
    """Shut a person out at once. Raises ConflictError for the last administrator."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        user = tenants.deactivate_user(s, p.tenant_id, user_id, now=c.clock())
        note(c, s, p, "user.deactivated", user.id, email=user.email)
    return user


def reactivate_user(c: Console, p: Principal, user_id: str) -> User:
    """Let a person in again."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        user = tenants.reactivate_user(s, p.tenant_id, user_id)
        note(c, s, p, "user.reactivated", user.id, email=user.email)
    return user


def set_password(c: Console, p: Principal, user_id: str, password: str) -> None:
    """One's own, or as administrator anybody's; all sessions of that person end."""
    if user_id != p.user_id:
        p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        tenants.set_password(s, p.tenant_id, user_id, password)
        tenants.end_all_sessions(s, p.tenant_id, user_id, now=c.clock())
        note(c, s, p, "user.password_set", user_id)


def make_sign_in_link(c: Console, p: Principal, user_id: str, *, base_url: str | None = None) -> str:
    """A link that signs this person in once. `base_url`: where people reach this console, if not at its own address."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        token = tenants.make_sign_in_link(
            s, p.tenant_id, user_id, minutes=c.settings.sign_in_link_minutes, now=c.clock()
        )
        note(c, s, p, "user.link_made", user_id)
    host = "127.0.0.1" if c.settings.host in ("0.0.0.0", "::") else c.settings.host  # noqa: S104 (a comparison)
    url = (
        base_url
        or c.settings.public_url
        or f"http://{f'[{host}]' if ':' in host else host}:{c.settings.port}"
    )
    return f"{url.rstrip('/')}/sign-in/link?token={token}"


def sign_in(
    c: Console, email: str, password: str, *, host: str = "", tenant_slug: str | None = None
) -> NewSession:
    """By password. Raises NotAuthenticatedError; BusyError after too many failures of this account or `host`."""
    account = email.strip().lower()[:254]
    c.rates.check_sign_in(account, host)
    try:
        with c.database.transaction() as s:
            new = tenants.sign_in_with_password(
                s,
                email=email,
                password=password,
                hours=c.settings.session_hours,
                now=c.clock(),
                tenant_slug=tenant_slug or None,
            )
            note(c, s, new.principal, "session.started", new.principal.user_id or "", by="password")
    except NotAuthenticatedError:
        c.rates.count_failed_sign_in(account, host)
        raise
    return new


def redeem_link(c: Console, token: str) -> NewSession:
    """By one-time link. Raises NotAuthenticatedError when it is spent."""
    with c.database.transaction() as s:
        new = tenants.redeem_sign_in_link(s, token, hours=c.settings.session_hours, now=c.clock())
        note(c, s, new.principal, "session.started", new.principal.user_id or "", by="link")
    return new


def sign_out(c: Console, token: str) -> None:
    """End a session; its cookie is worth nothing from now on."""
    with c.database.transaction() as s:
        principal = tenants.authenticate_session(s, token, now=c.clock())
        tenants.end_session(s, token, now=c.clock())
        if principal is not None:
            note(c, s, principal, "session.ended", principal.user_id or "")


def principal_of_session(c: Console, token: str) -> Principal | None:
    """Whom a session's token stands for, with the role of now; None when it is not good."""
    with c.database.reading() as s:
        return tenants.authenticate_session(s, token, now=c.clock())


def principal_of_key(c: Console, secret: str) -> Principal | None:
    """Whom an API key stands for; None when it is not good."""
    now = c.clock()
    if not c.key_uses.is_due(secret, now):
        # The use was written a moment ago: nothing is to be written now, so no request waits for those that write.
        with c.database.reading() as s:
            return tenants.authenticate_api_key(s, secret, now=now)
    with c.database.transaction() as s:
        principal = tenants.authenticate_api_key(s, secret, now=now)
    if principal is not None:
        c.key_uses.note(secret, now)
    return principal


def create_key(
    c: Console, p: Principal, *, name: str, role: Role, expires_at: datetime | None = None
) -> NewApiKey:
    """A key for a program; its secret is in the answer and nowhere else."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        made = tenants.create_api_key(
            s,
            p.tenant_id,
            name=name,
            role=role,
            created_by=p.actor,
            expires_at=expires_at,
            now=c.clock(),
        )
        note(
            c,
            s,
            p,
            "key.created",
            made.key.id,
            name=made.key.name,
            role=made.key.role.value,
            prefix=made.key.prefix,
        )
    return made


def revoke_key(c: Console, p: Principal, key_id: str) -> ApiKey:
    """Make a key useless at once."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        key = tenants.revoke_api_key(s, p.tenant_id, key_id, now=c.clock())
        note(c, s, p, "key.revoked", key.id, name=key.name, prefix=key.prefix)
    return key


def list_keys(c: Console, p: Principal) -> list[ApiKey]:
    """Newest first, revoked ones too."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return tenants.list_api_keys(s, p.tenant_id)


def register_tenant(
    c: Console, p: Principal | None, *, name: str, admin_email: str, admin_name: str
) -> tuple[Tenant, User, NewApiKey]:
    """A new workspace with its administrator, first key, and the shipped datasets and adapters.

    Needs an administrator, unless the settings open registration to everybody.
    """
    if p is not None:
        p.require(Permission.ADMINISTER)
    elif not c.settings.open_registration:
        raise PermissionDeniedError(
            "Registration is not open here.",
            "A new workspace is made by an administrator.",
            "Send an administrator's API key, or set RMN_OPEN_REGISTRATION.",
        )
    now = c.clock()
    with c.database.transaction() as s:
        tenant = tenants.create_tenant(s, name=name, now=now)
        user = tenants.add_user(s, tenant.id, email=admin_email, name=admin_name, role=Role.ADMIN, now=now)
        prepare_workspace(s, tenant.id, project_root=PROJECT_ROOT, now=now)
        made = tenants.create_api_key(
            s, tenant.id, name="First key", role=Role.ADMIN, created_by=user.email, now=now
        )
        audit.append(
            s,
            tenant_id=tenant.id,
            actor=p.actor if p is not None else "registration",
            action="tenant.created",
            subject=tenant.id,
            detail={"name": tenant.name, "admin": user.email},
            now=now,
        )
    return tenant, user, made
