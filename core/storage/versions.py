"""Things that a tenant names and that come in numbered versions: how they may be called, found and numbered."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.errors import InvalidInputError

VERSION_ATTEMPTS = 20
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
VERSIONED = re.compile(r"(?P<name>.+?)(?:@| v)(?P<version>[1-9][0-9]{0,8})")
Record = TypeVar("Record")

__all__ = ["DuplicateRowError", "check_name", "insert_next_version", "is_askable", "split_version"]


def check_name(name: str, what: str) -> None:
    """Raise InvalidInputError unless `what` («an adapter») may have this name."""
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidInputError(
            f"«{name[:100]}» cannot be the name of {what}.",
            "Use 1 to 100 letters, digits, spaces, dots, dashes, underscores; begin with a letter or digit.",
            "Choose another name.",
        )


def split_version(text: str) -> tuple[str, int] | None:
    """Name and version of «name@2» or «name v2»; None for anything else."""
    match = VERSIONED.fullmatch(text)
    return None if match is None else (match["name"], int(match["version"]))


def is_askable(text: str) -> bool:
    """Names and ids are printable ASCII. Other text cannot match, and some databases fail on it (NUL)."""
    return text.isascii() and text.isprintable()


def insert_next_version(
    s: Session,
    version: InstrumentedAttribute[int],
    of_name: tuple[ColumnElement[bool], ...],
    numbered: Callable[[int], Record],
    to_row: Callable[[Record], Any],
    *,
    what: str,
    is_settled: Callable[[], bool] = lambda: False,
) -> Record:
    """Insert as the next version among the rows `of_name`. Two that insert at once get two versions.

    Both try the same number; the unique key stops one, which tries again. Raises DuplicateRowError instead where
    `is_settled` says that another key was in the way.
    """
    for _ in range(VERSION_ATTEMPTS):
        record = numbered((s.scalar(select(func.max(version)).where(*of_name)) or 0) + 1)
        try:
            with s.begin_nested():
                s.add(to_row(record))
        except DuplicateRowError:
            if is_settled():
                raise
            continue
        return record
    raise RuntimeError(f"no free version of {what} after {VERSION_ATTEMPTS} attempts")
