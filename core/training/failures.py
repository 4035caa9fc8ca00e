"""Why a run failed, in words for the person who asked for it."""

import errno

from core.errors import RmnError
from core.jobs.records import JobError

MEMORY_NEXT = (
    "Choose a smaller batch size with more gradient accumulation, a lower rank, or 4-bit quantization, "
    "or close other programs."
)
# Torch raises plain RuntimeErrors when a CPU allocation fails.
MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


def explain(error: BaseException) -> JobError:
    """What happened, why, what next."""
    if isinstance(error, RmnError):
        return JobError(error.what, error.why, error.next_step)
    text = str(error)
    if isinstance(error, MemoryError) or any(word in text.lower() for word in MEMORY_WORDS):
        return JobError("The training ran out of memory.", _first_line(text), MEMORY_NEXT)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError(
            "The disk is full.",
            "A checkpoint or the adapter could not be written.",
            "Free some space and start the job again.",
        )
    return JobError(
        "The training stopped with an error that was not foreseen.",
        f"{type(error).__name__}: {_first_line(text)}",
        "Look into the job's log. If the dataset and the values are right, report it with that log.",
    )


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""
