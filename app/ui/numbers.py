"""Numbers as people read them: with unit, n and interval."""

from datetime import UTC, datetime

from core.training.records import Proportion

NOTHING = "–"


def count(value: int | None) -> str:
    """12,345; a dash when there is no number."""
    return NOTHING if value is None else f"{value:,}"


def rows(value: int) -> str:
    """1 row, 2 rows, 1,200 rows."""
    return counted(value, "row")


def counted(value: int, word: str) -> str:
    """1 column, 12 columns: a number with its noun."""
    return f"{value:,} {word}{'' if value == 1 else 's'}"


def short_count(value: int | None) -> str:
    """3.7 M, 840 k."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g} {unit}"
    return f"{value:,}"


def percent(share: float | None) -> str:
    """0.862 → 86.2%."""
    return NOTHING if share is None else f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """0.621 → +62.1 points."""
    return f"{100 * difference:+.1f} points"


def interval(low: float, high: float) -> str:
    """The 95 % interval of a share."""
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def proportion(value: Proportion) -> str:
    """A share with its interval and n."""
    return f"{percent(value.value)} ({interval(value.low, value.high)}, n {count(value.n)})"


def lift(value: tuple[float, float, float]) -> str:
    """A paired difference of shares with its 95 % interval."""
    middle, low, high = value
    return f"{points(middle)} ({100 * low:+.1f} to {100 * high:+.1f})"


def loss_change(value: tuple[float, float, float]) -> str:
    """A paired difference of losses with its 95 % interval, in nats per token: less is better."""
    middle, low, high = value
    return f"{signed(middle)} ({signed(low)} to {signed(high)})"


def signed(value: float) -> str:
    """+0.12, −1.47: with a real minus sign."""
    return f"{value:+.2f}".replace("-", "−")


def size(value: int | None) -> str:
    """Bytes in the unit that fits."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float | None) -> str:
    """42 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def band(low: float, high: float) -> str:
    """A span of time: 40–70 s, or 1 min 10 s to 2 min."""
    if high < 60:
        return f"{low:.0f}–{high:.0f} s"
    return f"{duration(low)} to {duration(high)}"


def milliseconds(value: float) -> str:
    """840 ms, 1.24 s."""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def ago(moment: datetime | None, now: datetime) -> str:
    """5 min ago; the date when it is more than a week."""
    if moment is None:
        return NOTHING
    seconds = (now - moment).total_seconds()
    if seconds < 45:
        return "just now"
    for limit, divisor, unit in ((3600, 60, "min"), (86400, 3600, "h"), (7 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{max(1, round(seconds / divisor))} {unit} ago"
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def moment(value: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def short_digest(digest: str) -> str:
    """The first twelve signs of a digest."""
    return digest[:12]
