"""Why the training of a gate failed, in words for the person who asked for it."""

import errno

from core.errors import RmnError
from core.jobs.records import JobError
from core.training.failures import MEMORY_WORDS


def explain(error: BaseException) -> JobError:
    """What happened, why, what next."""
    if isinstance(error, RmnError):
        return JobError(error.what, error.why, error.next_step)
    told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, MemoryError) or any(word in told.lower() for word in MEMORY_WORDS):
        return JobError(
            "The training of the gate ran out of memory.",
            told,
            "Choose fewer adapters or evaluation rows, or close other programs.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError(
            "The disk is full.", "The gate could not be written.", "Free some space and start the job again."
        )
    return JobError(
        "The training of the gate stopped with an error that was not foreseen.",
        told,
        "Report it with the job's log.",
    )
