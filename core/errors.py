"""Every error that the product raises on purpose.

    RmnError
    ├── InvalidInputError            the request or file is wrong; nothing was changed
    │   ├── RefusedFileError         a file was read and is not safe or not what it claims to be
    │   └── QuotaExceededError       this tenant may not store that much
    ├── NotAuthenticatedError        no credential, or one that is not valid (any more)
    ├── PermissionDeniedError        a valid credential whose role does not allow this
    ├── NotFoundError                no such thing for this tenant (also when another tenant has it)
    ├── ConflictError                the thing exists, changed meanwhile, or is in the wrong state
    │   └── IllegalTransitionError   a state may not follow the current one
    ├── BusyError                    too much at once; says when to come back
    ├── InsufficientMemoryError      does not fit into this machine's memory
    ├── UnavailableError             a part that is needed is missing or down
    └── IntegrityError               stored bytes are not the bytes that were stored

Each says what happened, why, and what to do next, in words for the person who reads it.
"""

from typing import ClassVar


class RmnError(Exception):
    """What happened, why, and what to do next."""

    code: ClassVar[str] = "error"

    def __init__(self, what: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.next_step) if part)


class InvalidInputError(RmnError):
    """The request or file is wrong; nothing was changed."""

    code = "invalid_input"


class RefusedFileError(InvalidInputError):
    """A file was read and is not safe, or is not what it claims to be."""

    code = "refused_file"


class QuotaExceededError(InvalidInputError):
    """The files of this tenant would take more room than it may have."""

    code = "quota_exceeded"


class NotAuthenticatedError(RmnError):
    """No credential, or one that is not valid (any more)."""

    code = "not_authenticated"


class PermissionDeniedError(RmnError):
    """The credential is valid; its role does not allow this."""

    code = "permission_denied"


class NotFoundError(RmnError):
    """No such thing for this tenant. The answer is the same when another tenant has it."""

    code = "not_found"


class ConflictError(RmnError):
    """The thing exists already, changed meanwhile, or is in the wrong state."""

    code = "conflict"


class IllegalTransitionError(ConflictError):
    """A state may not follow the current one."""

    code = "illegal_transition"


class BusyError(RmnError):
    """Too much at once. `retry_after_s` says when to come back, in seconds."""

    code = "busy"

    def __init__(self, what: str, why: str = "", next_step: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(what, why, next_step)
        self.retry_after_s = retry_after_s


class InsufficientMemoryError(RmnError):
    """Does not fit into this machine's memory."""

    code = "insufficient_memory"


class UnavailableError(RmnError):
    """A part that is needed is missing or down."""

    code = "unavailable"


class IntegrityError(RmnError):
    """Stored bytes are not the bytes that were stored."""

    code = "integrity"
