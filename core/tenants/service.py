"""The verbs of tenants, people and credentials. No function commits; time is an argument."""

import re
import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.errors import ConflictError, InvalidInputError, NotAuthenticatedError, NotFoundError
from core.storage.ids import new_id
from core.storage.text import storable
from core.tenants import credentials
from core.tenants.audit import FIRST_HASH
from core.tenants.records import ApiKey, NewApiKey, NewSession, Principal, Role, Tenant, User
from core.tenants.store import credentials as credential_store
from core.tenants.store import people as people_store

NAME_LETTERS = 100
EMAIL_LETTERS = 254
SLUG_LETTERS = 48
KEY_USE_NOTED_EVERY = timedelta(minutes=1)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def create_tenant(s: Session, *, name: str, simulated: bool = False, now: datetime) -> Tenant:
    """Add a workspace. Its slug is made from the name; a number is added where another has it."""
    name = _clean_name(name, "workspace")
    stem = _slug(name)
    tenant = Tenant(new_id("ten"), stem, name, simulated, now)
    number = 1
    while not people_store.insert_tenant(s, tenant, FIRST_HASH):
        number += 1
        tenant = replace(tenant, slug=f"{stem}-{number}")
    return tenant


def get_tenant(s: Session, tenant_id: str) -> Tenant:
    """Raises NotFoundError."""
    tenant = people_store.tenant_by_id(s, tenant_id)
    if tenant is None:
        raise NotFoundError("There is no such workspace.")
    return tenant


def find_tenant_by_slug(s: Session, slug: str) -> Tenant | None:
    """The workspace with this slug."""
    return people_store.tenant_by_slug(s, slug)


def list_tenants(s: Session) -> list[Tenant]:
    """All workspaces, oldest first. For the command line: no screen or route may show them."""
    return people_store.tenants(s)


def add_user(
    s: Session,
    tenant_id: str,
    *,
    email: str,
    name: str,
    role: Role,
    password: str | None = None,
    now: datetime,
) -> User:
    """Add a person. Without a password they sign in by link. Raises ConflictError for a second account."""
    get_tenant(s, tenant_id)
    user = User(
        id=new_id("usr"),
        tenant_id=tenant_id,
        email=_clean_email(email),
        name=_clean_name(name, "person"),
        role=Role(role),
        active=True,
        has_password=password is not None,
        created_at=now,
    )
    people_store.insert_user(s, user, None if password is None else credentials.hash_password(password))
    return user


def list_users(s: Session, tenant_id: str) -> list[User]:
    """The people of a workspace, by e-mail."""
    return people_store.users(s, tenant_id)


def get_user(s: Session, tenant_id: str, user_id: str) -> User:
    """Raises NotFoundError, also for a user of another tenant."""
    user = people_store.user_by_id(s, tenant_id, user_id)
    if user is None:
        raise NotFoundError("There is no such account in this workspace.")
    return user


def find_user(s: Session, tenant_id: str, email: str) -> User | None:
    """The account with this e-mail, however it is capitalized."""
    return people_store.user_by_email(s, tenant_id, _email_form(email))


def change_role(s: Session, tenant_id: str, user_id: str, role: Role) -> User:
    """Give a person another role, at once. Raises ConflictError for the last administrator."""
    user = get_user(s, tenant_id, user_id)
    if role is not Role.ADMIN:
        _keep_an_admin(s, tenant_id, user_id)
    people_store.change_user(s, tenant_id, user_id, role=Role(role).value)
    return replace(user, role=Role(role))


def deactivate_user(s: Session, tenant_id: str, user_id: str, *, now: datetime) -> User:
    """Shut a person out: sessions end, links become void. Raises ConflictError for the last administrator."""
    user = get_user(s, tenant_id, user_id)
    _keep_an_admin(s, tenant_id, user_id)
    people_store.change_user(s, tenant_id, user_id, active=False)
    credential_store.end_sessions_of(s, tenant_id, user_id, now)
    credential_store.void_links_of(s, tenant_id, user_id, now)
    return replace(user, active=False)


def reactivate_user(s: Session, tenant_id: str, user_id: str) -> User:
    """Let a person in again; they sign in anew."""
    user = get_user(s, tenant_id, user_id)
    people_store.change_user(s, tenant_id, user_id, active=True)
    return replace(user, active=True)


def set_password(s: Session, tenant_id: str, user_id: str, password: str) -> None:
    """Raises InvalidInputError for one that is too short. Sessions go on; end_all_sessions ends them."""
    get_user(s, tenant_id, user_id)
    people_store.change_user(s, tenant_id, user_id, password_hash=credentials.hash_password(password))


def sign_in_with_password(
    s: Session, *, email: str, password: str, hours: float, now: datetime, tenant_slug: str | None = None
) -> NewSession:
    """Raises NotAuthenticatedError with one text for every reason, after one password check in every case.

    An e-mail that has accounts in several workspaces needs `tenant_slug`. The caller limits failed attempts.
    """
    found = people_store.who_may_sign_in(s, _email_form(email), tenant_slug)
    user, password_hash = found[0] if len(found) == 1 else (None, None)
    right = credentials.password_matches(password, password_hash)
    if user is None or password_hash is None or not right:
        raise NotAuthenticatedError(
            "That did not work.",
            "The e-mail address or the password is not right, or the account is closed.",
            "Try again, name your workspace if you have several, or ask an administrator for a sign-in link.",
        )
    if credentials.needs_new_hash(password_hash):
        people_store.change_user(
            s, user.tenant_id, user.id, password_hash=credentials.hash_password(password)
        )
    return _open_session(s, user, hours, now)


def make_sign_in_link(s: Session, tenant_id: str, user_id: str, *, minutes: float, now: datetime) -> str:
    """A token that signs this person in, once. Raises ConflictError for a closed account."""
    user = get_user(s, tenant_id, user_id)
    if not user.active:
        raise ConflictError(
            f"The account of {user.email} is closed.", "", "Open it again before you make a sign-in link."
        )
    token = credentials.new_token()
    until = now + timedelta(minutes=minutes)
    credential_store.insert_link(s, user, token_hash=credentials.fingerprint(token), at=now, until=until)
    return token


def redeem_sign_in_link(s: Session, token: str, *, hours: float, now: datetime) -> NewSession:
    """Turn a link's token into a session. Raises NotAuthenticatedError when it is spent."""
    user = credential_store.use_link(s, credentials.fingerprint(token), now)
    if user is None:
        raise NotAuthenticatedError(
            "This sign-in link does not work.",
            "It was used already, is too old, or the account is closed.",
            "Ask for a new link.",
        )
    return _open_session(s, user, hours, now)


def authenticate_session(s: Session, token: str, *, now: datetime) -> Principal | None:
    """Who a session's token belongs to, with the role that they have now; None when it is not good."""
    wanted = credentials.fingerprint(token)
    found = credential_store.open_session(s, wanted, now)
    if found is None or not credentials.same(found[0], wanted):
        return None
    return _principal_of(found[1], found[2])


def end_session(s: Session, token: str, *, now: datetime) -> None:
    """Sign out."""
    credential_store.end_session(s, credentials.fingerprint(token), now)


def end_all_sessions(s: Session, tenant_id: str, user_id: str, *, now: datetime) -> int:
    """Sign a person out everywhere; returns how many sessions were open."""
    get_user(s, tenant_id, user_id)
    return credential_store.end_sessions_of(s, tenant_id, user_id, now)


def create_api_key(
    s: Session,
    tenant_id: str,
    *,
    name: str,
    role: Role,
    created_by: str,
    expires_at: datetime | None = None,
    now: datetime,
) -> NewApiKey:
    """Make a key for a program. Its secret is in the answer and nowhere else."""
    get_tenant(s, tenant_id)
    if expires_at is not None and expires_at <= now:
        raise InvalidInputError("A key cannot expire in the past.", "", "Choose a later day.")
    secret = credentials.new_api_secret()
    key = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=_clean_name(name, "key"),
        role=Role(role),
        prefix=secret[: credentials.API_PREFIX_LETTERS],
        created_by=storable(created_by)[:200],
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    credential_store.insert_key(s, key, credentials.fingerprint(secret))
    return NewApiKey(key, secret)


def revoke_api_key(s: Session, tenant_id: str, key_id: str, *, now: datetime) -> ApiKey:
    """Make a key useless at once. Raises NotFoundError; revoking twice keeps the first moment."""
    credential_store.revoke_key(s, tenant_id, key_id, now)
    key = credential_store.key_by_id(s, tenant_id, key_id)
    if key is None:
        raise NotFoundError("There is no such key in this workspace.")
    return key


def list_api_keys(s: Session, tenant_id: str) -> list[ApiKey]:
    """All keys of a workspace, newest first, revoked ones too."""
    return credential_store.keys(s, tenant_id)


def authenticate_api_key(s: Session, secret: str, *, now: datetime) -> Principal | None:
    """Who a secret stands for; None when it is not good. Notes its use, at most once a minute."""
    if not credentials.looks_like_api_secret(secret):
        return None
    wanted = credentials.fingerprint(secret)
    found = credential_store.good_key(s, wanted, now)
    if found is None or not credentials.same(found[0], wanted):
        return None
    _, key, tenant = found
    if key.last_used_at is None or now - key.last_used_at >= KEY_USE_NOTED_EVERY:
        credential_store.note_key_use(s, key.id, now)
    return Principal(tenant.id, tenant.name, f"{key.name} ({key.prefix}…)", key.role, key_id=key.id)


def forget_spent_credentials(s: Session, *, before: datetime) -> None:
    """Remove sessions and sign-in links that were over before a moment."""
    credential_store.delete_spent(s, before)


def _open_session(s: Session, user: User, hours: float, now: datetime) -> NewSession:
    token = credentials.new_token()
    until = now + timedelta(hours=hours)
    credential_store.insert_session(s, user, token_hash=credentials.fingerprint(token), at=now, until=until)
    return NewSession(token, _principal_of(user, get_tenant(s, user.tenant_id)), until)


def _principal_of(user: User, tenant: Tenant) -> Principal:
    return Principal(tenant.id, tenant.name, user.email, user.role, user_id=user.id)


def _keep_an_admin(s: Session, tenant_id: str, user_id: str) -> None:
    if people_store.lock_active_admins(s, tenant_id) == [user_id]:
        raise ConflictError(
            "This is the last administrator of the workspace.",
            "Without one nobody could manage people and keys any more.",
            "Make somebody else an administrator first.",
        )


def _clean_name(name: str, what: str) -> str:
    clean = " ".join(storable(unicodedata.normalize("NFC", name)).split())
    if not 1 <= len(clean) <= NAME_LETTERS or any(unicodedata.category(letter) == "Cc" for letter in clean):
        raise InvalidInputError(
            f"This name for a {what} cannot be used.",
            f"A name has 1 to {NAME_LETTERS} characters and no control characters.",
            "Choose another name.",
        )
    return clean


def _clean_email(email: str) -> str:
    clean = _email_form(email)
    if (
        len(clean) > EMAIL_LETTERS
        or not _EMAIL.fullmatch(clean)
        or not clean.isprintable()
        or "\ufffd" in clean
    ):
        raise InvalidInputError(
            "This is not an e-mail address.",
            f"It must look like name@example.com and have at most {EMAIL_LETTERS} characters.",
            "Correct it.",
        )
    return clean


def _email_form(email: str) -> str:
    return storable(unicodedata.normalize("NFC", email.strip())).lower()


def _slug(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:SLUG_LETTERS].strip("-") or "workspace"
