"""Figures, metrics and alerts in words."""

from collections.abc import Mapping

from app.ui import numbers
from app.ui.badges import Color
from core.analytics.alert_records import AlertKind, AlertState, DeliveryState
from core.analytics.records import CANCELLED, Change, Figure, Outlook, RankMetric

TOO_FEW = "too few"
NO_TASK = "(no task)"
METRICS: Mapping[RankMetric, str] = {
    RankMetric.SUCCESS_RATE: "Success rate",
    RankMetric.P95_LATENCY_MS: "P95 latency",
    RankMetric.AVG_LATENCY_MS: "Mean latency",
    RankMetric.AVG_USER_RATING: "Rating",
    RankMetric.THUMBS_UP_RATE: "Thumbs up",
    RankMetric.TASK_ACCURACY: "Accuracy",
    RankMetric.TOTAL_REQUESTS: "Requests",
}
OUTLOOKS: Mapping[Outlook, tuple[str, Color]] = {
    Outlook.BETTER: ("better", "green"),
    Outlook.WORSE: ("worse", "red"),
    Outlook.UNCLEAR: ("not clear", "gray"),
}
KINDS: Mapping[AlertKind, tuple[str, str]] = {
    AlertKind.SUCCESS: ("Success rate", ":material/rule:"),
    AlertKind.LATENCY: ("Latency", ":material/speed:"),
    AlertKind.RATING: ("Rating", ":material/star_half:"),
    AlertKind.MEMORY: ("Memory", ":material/memory_alt:"),
    AlertKind.GPU: ("GPU", ":material/developer_board:"),
    AlertKind.STUCK_JOB: ("Stuck job", ":material/hourglass_disabled:"),
    AlertKind.LOSS_PLATEAU: ("Loss plateau", ":material/trending_flat:"),
}
STATES: Mapping[AlertState, tuple[str, Color, str]] = {
    AlertState.OPEN: ("Open", "red", ":material/notifications_active:"),
    AlertState.ACKNOWLEDGED: ("Acknowledged", "orange", ":material/visibility:"),
    AlertState.RESOLVED: ("Resolved", "green", ":material/check_circle:"),
}
DELIVERIES: Mapping[DeliveryState, str] = {
    DeliveryState.WAITING: "waiting",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.FAILED: "failed",
}
UNITS = {"share", "ms", "points", "requests", "bytes"}


def value(figure: Figure) -> str:
    """A figure's value in its unit; a dash where there is none."""
    return numbers.NOTHING if figure.value is None else amount(figure.value, figure.unit)


def amount(number: float, unit: str) -> str:
    """A number in its unit: 98.1%, 240 ms, 4.2, 12,345, 0.0412 USD."""
    match unit:
        case "share":
            return numbers.percent(number)
        case "ms":
            return numbers.milliseconds(number)
        case "points":
            return f"{number:.2f}"
        case "requests":
            return numbers.count(round(number))
        case "bytes":
            return numbers.size(round(number))
        case _:
            return f"{money(number)} {unit}"


def money(number: float) -> str:
    """Cents where there are some: 12.34, 0.0041."""
    return f"{number:,.2f}" if abs(number) >= 1 or number == 0 else f"{number:.2g}"


def interval(figure: Figure) -> str:
    """Its 95 % interval, with an open end where so few do not bound it; nothing where there is none."""
    low, high = figure.low, figure.high
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return (
            f"from {amount(low, figure.unit)}"
            if low is not None
            else f"up to {amount(high or 0.0, figure.unit)}"
        )
    if figure.unit == "share":
        return numbers.interval(low, high)
    if figure.unit == "ms" and high < 1000:
        return f"{low:.0f}–{high:.0f} ms"
    return f"{amount(low, figure.unit)}–{amount(high, figure.unit)}"


def with_n(figure: Figure) -> str:
    """Interval and n, or why there is no value."""
    if figure.value is None:
        return figure.note or f"{TOO_FEW}, n {figure.n:,}"
    told = interval(figure)
    return f"{told}, n {figure.n:,}" if told else f"n {figure.n:,}"


def difference(figure: Figure) -> str:
    """A difference with its sign and unit: +1.2 points, −30 ms, +0.21; a dash where there is none."""
    return numbers.NOTHING if figure.value is None else _signed(figure.value, figure.unit)


def difference_interval(figure: Figure) -> str:
    """−0.4 to +1.2 points; nothing where there is none."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = _signed(figure.low, figure.unit), _signed(figure.high, figure.unit)
    unit = low.partition(" ")[2]
    return (
        f"{low.removesuffix(' ' + unit)} to {high}"
        if unit and high.endswith(f" {unit}")
        else f"{low} to {high}"
    )


def relative(change: Change) -> str:
    """How much a counted total grew or shrank: +12%; nothing where there was none before."""
    now, before = change.now.value or 0.0, change.before.value or 0.0
    if not before:
        return ""
    return f"{100 * (now / before - 1):+,.0f}%".replace("-", "−")


def outcome(error: str) -> str:
    """How a request ended."""
    return "answered" if not error else "left by its reader" if error == CANCELLED else "failed"


def _signed(number: float, unit: str) -> str:
    match unit:
        case "share":
            told = numbers.points(number)
        case "ms":
            told = f"{number:+,.0f} ms" if abs(number) >= 10 else f"{number:+.1f} ms"
        case _:
            told = f"{number:+.2f}"
    return told.replace("-", "−")
