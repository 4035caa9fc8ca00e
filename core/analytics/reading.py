"""How questions are read: of what, of which period, and the cells that answer them."""

from sqlalchemy.orm import Session

from core.analytics import changes, figures
from core.analytics import subjects as subject_list
from core.analytics.costs import Prices
from core.analytics.periods import Period, period_of
from core.analytics.records import Change, Scope, Subject, SubjectKind, Tally, Totals
from core.analytics.store import cells
from core.errors import InvalidInputError

NO_PRICES = Prices()


def subject_of(s: Session, tenant_id: str, scope: Scope) -> Subject:
    """Raises NotFoundError, InvalidInputError."""
    if scope.adapter is not None and scope.composition is not None:
        raise InvalidInputError(
            "Choose an adapter or a composition.",
            "Figures are kept for each of them, not for both at once.",
            "Leave one out.",
        )
    if scope.adapter is not None:
        return subject_list.find_adapter(s, tenant_id, scope.adapter)
    if scope.composition is not None:
        return subject_list.find_composition(s, tenant_id, scope.composition)
    return subject_list.EVERYTHING


def period_asked(scope: Scope) -> Period:
    """In whole cells. Raises InvalidInputError."""
    return period_of(scope.since, scope.until, scope.asked_at or scope.until)


def tally_of_period(s: Session, tenant_id: str, subject: Subject, period: Period, task: str | None) -> Tally:
    """Everything of one subject."""
    found = cells.read(
        s, tenant_id, subject.kind, period.spans(), lambda _: None, subjects=[subject.id], task=task
    )
    return found.get(None, Tally())


def by_subject(
    s: Session, tenant_id: str, kind: SubjectKind, period: Period, task: str | None
) -> dict[str, Tally]:
    """Everything of a kind, by id."""
    return cells.read(s, tenant_id, kind, period.spans(), lambda key: key.subject, task=task)


def totals_of(subject: Subject, period: Period, now: Tally, before: Tally, prices: Prices) -> Totals:
    """Both periods with what changed."""
    one = figures.summary_of(subject, now, period, prices)
    other = figures.summary_of(subject, before, period.before, prices)
    found: tuple[Change, ...] = (
        changes.change_of_count(
            "requests",
            figures.total(one.requests, one.source),
            figures.total(other.requests, other.source),
        ),
        changes.change_of_share("success_rate", one.success_rate, other.success_rate),
        changes.change_of_quantile("latency_p50", now.latency, before.latency, 0.5),
        changes.change_of_quantile("latency_p95", now.latency, before.latency, 0.95),
        changes.change_of_rating("rating", now, before),
        changes.change_of_share("thumbs", one.thumbs, other.thumbs),
        changes.change_of_count("cost", one.cost, other.cost),
    )
    return Totals(one, other, {change.metric: change for change in found})
