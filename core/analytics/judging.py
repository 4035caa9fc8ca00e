"""What people think of answers: a rating, a thumb, how right it was. In the figures at once."""

import math
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.analytics import subjects
from core.analytics.periods import MINUTE, Grain, floor_to
from core.analytics.records import Feedback, RequestRecord, SubjectKind, Tally, Thumbs
from core.analytics.store import cells, requests
from core.analytics.tallies import CellKey, judgement, merged
from core.errors import BusyError, ConflictError, InvalidInputError, NotFoundError
from core.storage.ids import new_id
from core.storage.text import storable

MOST_A_DAY = 50_000
LEAST_RATING, MOST_RATING = 1.0, 5.0
DAY = timedelta(days=1)


def record_feedback(
    s: Session,
    tenant_id: str,
    *,
    request_id: str | None = None,
    adapter_id: str | None = None,
    rating: float | None = None,
    thumbs: Thumbs | str | None = None,
    task_type: str = "",
    accuracy: float | None = None,
    created_by: str,
    now: datetime,
) -> Feedback:
    """Keep what one person says of one answer (`request_id`) or of an adapter in general (`adapter_id`).

    Of one answer each person is counted once: said again, what is given replaces what was said before, and counts where
    that counted. `rating` is 1 to 5, `accuracy` 0 to 1. Raises InvalidInputError, NotFoundError, BusyError.
    """
    thumbs = _thumbs(thumbs)
    _check(request_id, adapter_id, rating, thumbs, accuracy)
    if requests.judgements_since(s, tenant_id, created_by, now - DAY) >= MOST_A_DAY:
        raise BusyError(
            "This account has judged enough for today.",
            f"One account counts for at most {MOST_A_DAY:,} judgements in 24 hours.",
            "Go on tomorrow.",
            retry_after_s=3600,
        )
    request = None if request_id is None else _request(s, tenant_id, request_id)
    task = storable(task_type).strip()[:80]
    if request is not None:
        adapters, composition, task = request.adapters, request.composition, task or request.task
    else:
        adapters, composition = (subjects.find_adapter(s, tenant_id, adapter_id or "").id,), ""
    said = Feedback(
        new_id("fbk"), tenant_id, request_id, adapters, task, rating, thumbs, accuracy, created_by, now, now
    )
    for _ in range(2):
        before = None if request_id is None else requests.judgement_of(s, tenant_id, request_id, created_by)
        kept = said if before is None else _again(before, said)
        if requests.put_judgement(s, kept, replaces=before, composition=composition):
            _count(s, kept, before, composition)
            return kept
    raise ConflictError(
        "You judged this answer twice at the same moment.", "One of the two was kept.", "Send it again."
    )


def _again(before: Feedback, said: Feedback) -> Feedback:
    """What was said before, with what is said now in its place."""
    return Feedback(
        before.id,
        before.tenant_id,
        before.request_id,
        before.adapters,
        before.task,
        before.rating if said.rating is None else said.rating,
        before.thumbs if said.thumbs is None else said.thumbs,
        before.accuracy if said.accuracy is None else said.accuracy,
        before.created_by,
        said.created_at,
        before.counted_at,
    )


def _count(s: Session, kept: Feedback, before: Feedback | None, composition: str) -> None:
    """Into a row of its own, so that nobody waits for anybody; roll-ups add it up."""
    change: Tally = judgement(kept.rating, kept.thumbs, kept.accuracy)
    if before is not None:
        change = merged((change, judgement(before.rating, before.thumbs, before.accuracy, -1)))
    minute = floor_to(kept.counted_at, MINUTE)
    places = [(SubjectKind.ALL.value, "")]
    places += [(SubjectKind.ADAPTER.value, adapter) for adapter in dict.fromkeys(kept.adapters)]
    if composition:
        places.append((SubjectKind.COMPOSITION.value, composition))
    counted = {CellKey(kept.tenant_id, kind, minute, name, kept.task): change for kind, name in places}
    cells.insert_whole(s, counted.items(), Grain.MINUTE, new_id("wri"))


def _request(s: Session, tenant_id: str, request_id: str) -> RequestRecord:
    found = requests.by_request_id(s, tenant_id, request_id)
    if found is None:
        raise NotFoundError(
            f"There is no request «{request_id[:64]}».",
            "Single requests can be judged from a second after their end and as long as they are kept.",
            "Look at the id, or judge the adapter with adapter_id.",
        )
    return found


def _thumbs(given: Thumbs | str | None) -> Thumbs | None:
    try:
        return None if given is None else Thumbs(given)
    except ValueError:
        raise InvalidInputError(
            "There is no such thumb.", f"It is up or down, not «{str(given)[:20]}».", "Correct it."
        ) from None


def _check(
    request_id: str | None,
    adapter_id: str | None,
    rating: float | None,
    thumbs: Thumbs | None,
    accuracy: float | None,
) -> None:
    if (request_id is None) is (adapter_id is None):
        raise InvalidInputError(
            "It is not clear what is judged.",
            "A judgement is of one answer (request_id) or of an adapter (adapter_id).",
            "Give one of the two.",
        )
    if rating is None and thumbs is None and accuracy is None:
        raise InvalidInputError(
            "Nothing was said.", "There is no rating, no thumb and no accuracy.", "Give at least one of them."
        )
    if rating is not None and not (math.isfinite(rating) and LEAST_RATING <= rating <= MOST_RATING):
        raise InvalidInputError("There is no such rating.", f"It is 1 to 5, not {rating}.", "Correct it.")
    if accuracy is not None and not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise InvalidInputError(
            "There is no such accuracy.", f"It is a share from 0 to 1, not {accuracy}.", "Correct it."
        )
