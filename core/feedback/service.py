"""Preferences of a tenant: say one, count them, export them for training."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.engine.records import Message
from core.errors import BusyError, ConflictError, InvalidInputError
from core.feedback import store
from core.feedback.pairs import dpo_line, pair_digest, settled, summarize
from core.feedback.records import FeedbackStats, PairDraft, PairSource, PreferencePair
from core.storage.ids import new_id
from core.storage.text import storable

MAX_PAIRS_A_DAY = 2000
DAY = timedelta(days=1)


def record_pair(
    s: Session, tenant_id: str, draft: PairDraft, *, source: PairSource, created_by: str, now: datetime
) -> PreferencePair:
    """Keep what one person prefers. Said again, the first record is answered; nothing is ever changed.

    Raises InvalidInputError (equal or empty answers, no question), ConflictError (the same person chose the other
    answer before), BusyError (more than MAX_PAIRS_A_DAY in a day).
    """
    chosen, rejected = storable(draft.chosen), storable(draft.rejected)
    messages = tuple(Message(m.role, storable(m.content)) for m in draft.messages)
    _check(messages, chosen, rejected)
    pair = PreferencePair(
        id=new_id("prf"),
        tenant_id=tenant_id,
        digest=pair_digest(messages, chosen, rejected),
        messages=messages,
        chosen=chosen,
        rejected=rejected,
        chosen_model=storable(draft.chosen_model),
        rejected_model=storable(draft.rejected_model),
        chosen_key=draft.chosen_key,
        rejected_key=draft.rejected_key,
        source=source,
        why=storable(draft.why),
        created_by=created_by,
        created_at=now,
    )
    if store.count_since(s, tenant_id, created_by, now - DAY) >= MAX_PAIRS_A_DAY:
        raise BusyError(
            "This account has judged enough for today.",
            f"One account counts for at most {MAX_PAIRS_A_DAY:,} judgements in 24 hours.",
            "Go on tomorrow.",
            retry_after_s=3600,
        )
    kept = store.add(s, pair)
    if kept.chosen != chosen:
        raise ConflictError(
            "You chose the other answer before.",
            "A judgement is kept as it was given; two that contradict each other would teach nothing.",
            "Leave it, or ask somebody else to judge these answers.",
        )
    return kept


def feedback_stats(s: Session, tenant_id: str) -> FeedbackStats:
    """What all judgements of the tenant say together."""
    return summarize(store.list_all(s, tenant_id))


def export_dpo(s: Session, tenant_id: str) -> Iterator[str]:
    """Lines of JSON for TRL's DPO trainer, without line ends: each pair of answers once, as most people chose."""
    return map(dpo_line, settled(store.list_all(s, tenant_id)))


def _check(messages: tuple[Message, ...], chosen: str, rejected: str) -> None:
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise InvalidInputError(
            "There is no question to these answers.",
            "The last message has to be one of the user, with text in it.",
            "Send the messages that both answers were given to.",
        )
    if not chosen.strip() or not rejected.strip():
        raise InvalidInputError(
            "One of the answers is empty.", "Nothing can be learned from it.", "Send two answers with text."
        )
    if chosen.strip() == rejected.strip():
        raise InvalidInputError(
            "Both answers are the same.", "A preference needs a difference.", "Send two different answers."
        )
