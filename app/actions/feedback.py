"""What people prefer: say it, count it, export it."""

from collections.abc import Iterator

from app.bootstrap import Console
from core.feedback import service as feedback
from core.feedback.records import FeedbackStats, PairDraft, PairSource, PreferencePair
from core.tenants.records import Permission, Principal


def record_pair(
    c: Console, p: Principal, draft: PairDraft, *, source: PairSource = PairSource.CONSOLE
) -> PreferencePair:
    """Keep a judgement. Raises InvalidInputError, ConflictError, BusyError."""
    p.require(Permission.REVIEW)
    with c.database.transaction() as s:
        return feedback.record_pair(s, p.tenant_id, draft, source=source, created_by=p.actor, now=c.clock())


def feedback_stats(c: Console, p: Principal) -> FeedbackStats:
    """What all judgements of the workspace say together."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return feedback.feedback_stats(s, p.tenant_id)


def export_dpo(c: Console, p: Principal) -> Iterator[str]:
    """Lines of JSON for TRL's DPO trainer, each with its line end."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        lines = list(feedback.export_dpo(s, p.tenant_id))
    return (line + "\n" for line in lines)
