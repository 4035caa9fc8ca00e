"""What a request may ask for."""

import math

from core.engine.records import GenerationRequest
from core.errors import InsufficientMemoryError, InvalidInputError

MAX_STOPS = 16
MAX_STOP_LENGTH = 200
MAX_PRIORITY = 100
MAX_TIME_LIMIT_S = 86_400
ADAPTER_MARGIN_BYTES = 32 << 20


def check_request(request: GenerationRequest) -> None:
    """Raises InvalidInputError for numbers that make no sense."""
    if request.max_new_tokens < 1:
        raise _wrong("max_new_tokens", request.max_new_tokens, "a whole number from 1")
    if not (math.isfinite(request.temperature) and 0.0 <= request.temperature <= 100.0):
        raise _wrong("temperature", request.temperature, "a number from 0 (greedy) to 100")
    if not 0.0 < request.top_p <= 1.0:
        raise _wrong("top_p", request.top_p, "a number above 0 and up to 1")
    if len(request.stop) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP_LENGTH for stop in request.stop):
        raise _wrong(
            "stop",
            f"{len(request.stop)} texts",
            f"up to {MAX_STOPS} texts of 1 to {MAX_STOP_LENGTH} characters",
        )
    if not 1e-3 <= request.share <= 1e3:
        raise _wrong("share", request.share, "a number from 0.001 to 1,000")
    if not -MAX_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise _wrong("priority", request.priority, f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if request.time_limit_s is not None and not 0.0 < request.time_limit_s <= MAX_TIME_LIMIT_S:
        raise _wrong(
            "time_limit_s",
            request.time_limit_s,
            f"a number of seconds above 0 and up to {MAX_TIME_LIMIT_S:,}",
        )


def check_length(prompt_tokens: int, max_new_tokens: int, context_length: int) -> None:
    """Raises InvalidInputError when prompt and answer together are longer than the base can hold."""
    total = prompt_tokens + max_new_tokens
    if total <= context_length:
        return
    left = context_length - prompt_tokens
    raise InvalidInputError(
        "The prompt and the answer do not fit into the base's context.",
        f"The prompt has {prompt_tokens:,} tokens; with {max_new_tokens:,} for the answer that is {total:,}, "
        f"and the base holds {context_length:,}.",
        f"Ask for at most {left:,} new tokens, or shorten the prompt." if left > 0 else "Shorten the prompt.",
    )


def check_cache(needed_bytes: int, budget_bytes: int) -> None:
    """Raises InsufficientMemoryError when one request alone needs more than is set aside for its cache."""
    if needed_bytes > budget_bytes:
        raise InsufficientMemoryError(
            "There is not enough memory for a prompt and an answer this long.",
            f"They need {needed_bytes / 1e6:,.0f} MB, and {budget_bytes / 1e6:,.0f} MB are set aside.",
            "Shorten the prompt, ask for fewer new tokens, or free memory and restart.",
        )


def check_adapter(needed_bytes: int, free: int) -> None:
    """Raises InsufficientMemoryError when an adapter would take the last memory there is."""
    if needed_bytes + ADAPTER_MARGIN_BYTES > free:
        raise InsufficientMemoryError(
            "There is not enough memory for another adapter.",
            f"It needs {needed_bytes / 1e6:,.1f} MB, and {free / 1e6:,.0f} MB are free.",
            "Lower adapter_slots, or free memory.",
        )


def _wrong(name: str, value: object, right: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name} is {value}.", f"It must be {right}.", "Correct it and send the request again."
    )
