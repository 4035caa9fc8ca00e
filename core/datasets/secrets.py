"""Text that looks like a private key, an access key, a token or a password."""

import re

import polars as pl

_SECRET = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r"|(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)"
    r"|(?<!\w)gh[pousr]_[A-Za-z0-9]{36,}"
    r"|(?<!\w)sk-[A-Za-z0-9_-]{20,}"
    r"|(?<!\w)xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?<!\w)AIza[A-Za-z0-9_-]{35}"
    r"|(?<!\w)eyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10}"
    r"|(?<!\w)github_pat_[A-Za-z0-9_]{40,}|(?<!\w)glpat-[A-Za-z0-9_-]{20,}|(?<!\w)hf_[A-Za-z0-9]{30,}"
    r"|(?<!\w)[sr]k_live_[A-Za-z0-9]{20,}|(?<!\w)npm_[A-Za-z0-9]{36}|AccountKey=[A-Za-z0-9+/]{40,}"
    r"|\b[a-z][a-z0-9+.-]{2,15}://[^\s/:@]{1,64}:[^\s/:@]{3,64}@[\w.-]+"
)
_NAMED = re.compile(
    r"(?i)\b(?:password|passwd|pwd|secret|client_secret|api[_-]?key|access[_-]?token|auth[_-]?token)"
    r"[\"']?\s*[:=]\s*[\"']?([^\s\"',;|&]{8,200})"
)
#: At least what the two patterns find, without looking around: for whole columns.
SCREEN = (
    r"-----BEGIN |AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|hf_|[sr]k_live_|npm_|AccountKey=|xox[abprs]-|AIza|eyJ[A-Za-z0-9]"
    r"|sk-[A-Za-z0-9_-]{20}|://[^\s/:@]+:[^\s/:@]+@"
    r"|(?i:passw(?:or)?d|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token)[\"']?\s*[:=]"
)


def holds_secret(text: str) -> bool:
    """Whether the text holds what looks like a private key, an access key, a token or a password."""
    if _SECRET.search(text):
        return True
    return any(_is_random(match[1]) for match in _NAMED.finditer(text))


def screen_secrets(texts: pl.Series) -> pl.Series:
    """Whether each text may hold a secret: false means that `holds_secret` finds none in it."""
    return texts.str.contains(SCREEN)


def _is_random(value: str) -> bool:
    """A word of a sentence is no password; letters mixed with digits are."""
    return any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)
