"""Is a gate better than what it replaces? The comparison on held-out rows, and the rule of promotion. Pure numbers.

Every policy answered the same rows, so all differences are paired: exact match by Newcombe (1998, method 10), field
accuracy and answer loss as ratios over rows (Cochran 1977, §6.4; see `core.stats`). A gate is better only if the lower
end of the 95 % interval of its gain is above 0 against each other policy, on rows that nothing was trained on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.compose.router import BASE, Routed, Router
from core.stats.means import ratio_mean
from core.stats.proportions import Interval, clustered_share, paired_difference, wilson

LEAST_ROWS = 8
BINS = 10
EXACT_MATCH, ANSWER_LOSS = "exact_match", "answer_loss"
GATE = "gate"


@dataclass(frozen=True, slots=True)
class RowResult:
    """One answer against the expected one. `nats`: loss of the expected answer over its `tokens`, None: unknown."""

    exact: bool
    right_fields: int
    fields: int
    is_json: bool
    nats: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to answer the held-out rows: its key and label, and how it did on each row, in their order."""

    key: str
    label: str
    rows: tuple[RowResult, ...]


def compare(gate: Policy, others: Sequence[Policy]) -> dict[str, Any]:
    """The gate beside each other policy: figures of each, and paired differences whose gain is the gate's.

    The figure that decides is exact match, or the answer loss where half of the expected answers or more are free
    text, of which no two are the same. Raises ValueError when there are no rows or policies differ in their number.
    """
    if not gate.rows or not others or any(len(other.rows) != len(gate.rows) for other in others):
        raise ValueError("all policies answer the same rows, one or more")
    texts = sum(not row.is_json for row in gate.rows)
    measured = all(_measured(row) for policy in (gate, *others) for row in policy.rows)
    figure = ANSWER_LOSS if measured and 2 * texts >= len(gate.rows) else EXACT_MATCH
    differences = [_difference(gate, other, figure) for other in others]
    hardest = min(differences, key=lambda each: (each["gain"]["low"], each["gain"]["value"]))
    return {
        "figure": figure,
        "n": len(gate.rows),
        "policies": [_figures(policy) for policy in (gate, *others)],
        "differences": differences,
        "hardest": hardest["against"],
    }


def decide(comparison: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the gate may be promoted, and why in one sentence. Judges the figures of `compare` alone."""
    differences, n = comparison.get("differences") or [], int(comparison.get("n") or 0)
    if n < LEAST_ROWS or not differences:
        return False, f"It was compared on {n} held-out rows; {LEAST_ROWS} are needed to judge it."
    figure = str(comparison["figure"])
    hardest = next(each for each in differences if each["against"] == comparison["hardest"])
    gain, name = hardest["gain"], hardest["label"]
    better = all(each["gain"]["low"] > 0 for each in differences)
    told = (
        f"{_amount(gain['value'], figure)} (95 % interval {_amount(gain['low'], figure)} to "
        f"{_amount(gain['high'], figure)}) on {n} held-out rows"
    )
    what = "exact match" if figure == EXACT_MATCH else "loss per answer token, less is better"
    if better:
        return True, f"It beats every other choice; the closest is {name}, by {told} ({what})."
    return False, f"It is not shown to beat {name}: the gain is {told} ({what})."


def routing(
    routed: Sequence[Routed], wanted: Sequence[int], names: Sequence[str], router: Router
) -> dict[str, Any]:
    """How the router chose on held-out prompts whose best adapter is known.

    `wanted` are places among the router's adapters, or one beyond them for the base; `names` their labels, the
    base last. A prompt that is left to the base counts as wrong unless it was meant for it.
    """
    places = {digest: i for i, digest in enumerate(router.adapters)}
    base = len(router.adapters)
    given = [base if each.chosen is None else places[each.chosen] for each in routed]
    confusion = [[0] * (base + 1) for _ in range(base + 1)]
    for want, got in zip(wanted, given, strict=True):
        confusion[want][got] += 1
    right, n = sum(confusion[i][i] for i in range(base + 1)), len(given)
    reasons = [each.reason for each in routed]
    return {
        "n": n,
        "labels": list(names),
        "accuracy": _share(right, n),
        "confusion": confusion,
        "utilisation": [{"label": name, **_share(given.count(place), n)} for place, name in enumerate(names)],
        "entropy": {
            "mean": math.fsum(each.entropy for each in routed) / n,
            "most_possible": math.log(len(router.classes)) if len(router.classes) > 1 else 0.0,
        },
        "calibration": {**calibration(routed, wanted, router), "temperature": router.temperature},
        "abstention": {
            **_share(sum(each.abstained for each in routed), n),
            "uncertain": reasons.count("uncertain"),
            "foreign": reasons.count("foreign"),
            "threshold": router.threshold,
            "distance_limit": router.distance_limit,
        },
    }


def calibration(routed: Sequence[Routed], wanted: Sequence[int], router: Router) -> dict[str, Any]:
    """Expected calibration error over ten equal bins of the best probability (Naeini et al. 2015), before abstaining.

    Prompts meant for the base count only where the base is a class that the router can name.
    """
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for each, want in zip(routed, wanted, strict=True):
        if want == len(router.adapters) and not router.with_base:
            continue
        best = max(each.probabilities, key=lambda digest: each.probabilities[digest])
        place = len(router.adapters) if best == BASE else router.adapters.index(best)
        chance = each.probabilities[best]
        bins[min(BINS - 1, int(chance * BINS))].append((chance, place == want))
    n = sum(map(len, bins))
    told = [
        {
            "from": i / BINS,
            "to": (i + 1) / BINS,
            "n": len(each),
            "mean_probability": float(np.mean([chance for chance, _ in each])),
            "accuracy": float(np.mean([right for _, right in each])),
        }
        for i, each in enumerate(bins)
        if each
    ]
    gaps = [abs(each["mean_probability"] - each["accuracy"]) * each["n"] for each in told]
    return {"ece": math.fsum(gaps) / n if n else None, "n": n, "bins": told}


def _measured(row: RowResult) -> bool:
    return row.nats is not None and math.isfinite(row.nats) and row.tokens > 0


def _difference(gate: Policy, other: Policy, figure: str) -> dict[str, Any]:
    pairs = [(b.exact, a.exact) for b, a in zip(other.rows, gate.rows, strict=True)]
    exact = paired_difference(
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
    )
    loss = _loss_change(gate, other)
    gain = exact if figure == EXACT_MATCH or loss is None else Interval(-loss.value, -loss.high, -loss.low)
    return {
        "against": other.key,
        "label": other.label,
        "gain": _plain(gain),
        "exact_match": _plain(exact),
        "field_accuracy": _plain(_field_change(gate, other)),
        "answer_loss": None if loss is None else _plain(loss),
    }


def _field_change(gate: Policy, other: Policy) -> Interval | None:
    if len(gate.rows) < 2:
        return None
    changes = [a.right_fields - b.right_fields for a, b in zip(gate.rows, other.rows, strict=True)]
    return ratio_mean(changes, [row.fields for row in gate.rows])


def _loss_change(gate: Policy, other: Policy) -> Interval | None:
    rows = [
        (a.nats - b.nats, a.tokens)
        for a, b in zip(gate.rows, other.rows, strict=True)
        if a.nats is not None and b.nats is not None and _measured(a) and _measured(b)
    ]
    if len(rows) < 2:
        return None
    return ratio_mean([change for change, _ in rows], [tokens for _, tokens in rows])


def _figures(policy: Policy) -> dict[str, Any]:
    measured = [(row.nats, row.tokens) for row in policy.rows if row.nats is not None and _measured(row)]
    loss = None
    if len(measured) > 1:
        loss = ratio_mean([nats for nats, _ in measured], [tokens for _, tokens in measured])
    fields = [row.fields for row in policy.rows]
    return {
        "key": policy.key,
        "label": policy.label,
        "n": len(policy.rows),
        "exact_match": _share(sum(row.exact for row in policy.rows), len(policy.rows)),
        "field_accuracy": {
            **(_plain(clustered_share([row.right_fields for row in policy.rows], fields)) or {}),
            "n": sum(fields),
        },
        "answer_loss": None
        if loss is None
        else {**(_plain(loss) or {}), "n": sum(tokens for _, tokens in measured)},
    }


def _share(count: int, n: int) -> dict[str, float]:
    interval = wilson(count, n)
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": n}


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def _amount(value: float, figure: str) -> str:
    return f"{100 * value:+.1f} points" if figure == EXACT_MATCH else f"{value:+.3f} nats"
