"""Passwords, tokens and API secrets: how they are made, hashed and compared. No I/O."""

import hashlib
import hmac
import re
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import InvalidInputError

LEAST_PASSWORD_LETTERS = 12
MOST_PASSWORD_LETTERS = 1024
API_SECRET_MARK = "rmn_"  # noqa: S105 - no secret, but what every one starts with
API_PREFIX_LETTERS = 12
_API_SECRET = re.compile(r"rmn_[A-Za-z0-9_-]{43}")
_HASHER = PasswordHasher()

# The hash of a random password that nobody knows, with the parameters above: checked where there is no
# account, so that the time of an answer does not tell which e-mail addresses have one.
NOBODYS_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$BBTq+0l0JSwG4WXcz/zmFA$q8WBqudmqPGnYklREbOD9T3i8UJgounEEFG+tQywQpM"
)


def hash_password(password: str) -> str:
    """Argon2id hash, with salt and parameters in it. Raises InvalidInputError for a short or endless one."""
    letters = len(_password_form(password))
    if not LEAST_PASSWORD_LETTERS <= letters <= MOST_PASSWORD_LETTERS:
        raise InvalidInputError(
            "This password cannot be used.",
            f"It has {letters} characters; {LEAST_PASSWORD_LETTERS} to {MOST_PASSWORD_LETTERS} are needed.",
            "Choose a longer one, a few words for example."
            if letters < LEAST_PASSWORD_LETTERS
            else "Choose a shorter one.",
        )
    return _HASHER.hash(_password_bytes(password))


def password_matches(password: str, password_hash: str | None) -> bool:
    """Whether the password is the one that was hashed. Takes as long where there is no hash."""
    if len(password) > MOST_PASSWORD_LETTERS * 4:
        password = ""
    try:
        right = _HASHER.verify(password_hash or NOBODYS_HASH, _password_bytes(password))
    except (VerificationError, InvalidHashError):
        return False
    return right and password_hash is not None


def needs_new_hash(password_hash: str) -> bool:
    """Whether the hash was made with parameters that are no longer used."""
    return _HASHER.check_needs_rehash(password_hash)


def new_token() -> str:
    """256 random bits as 43 URL-safe characters: for sessions and sign-in links."""
    return secrets.token_urlsafe(32)


def new_api_secret() -> str:
    """`rmn_` and 256 random bits as 43 URL-safe characters."""
    return API_SECRET_MARK + secrets.token_urlsafe(32)


def looks_like_api_secret(text: str) -> bool:
    """Whether the text has the form of an API secret; nothing else needs to be looked up."""
    return _API_SECRET.fullmatch(text) is not None


def fingerprint(token: str) -> str:
    """Hex SHA-256 of a token. One round is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two fingerprints in a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def _password_form(password: str) -> str:
    # The same password typed on another keyboard may arrive as other code points (NIST SP 800-63B, 5.1.1.2).
    return unicodedata.normalize("NFKC", password)


def _password_bytes(password: str) -> bytes:
    return _password_form(password).encode("utf-8", "surrogatepass")
