"""How good answers are: exact match, valid JSON, share of right fields, loss of the expected answer; with intervals."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core.stats.means import ratio_mean
from core.stats.proportions import Interval, clustered_share, paired_difference, wilson
from core.training.records import AnswerLoss, Proportion, SliceScore

MISSING = object()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model wrote to a row, and how surprised it was at the expected answer: nats over all its tokens."""

    text: str
    nats: float | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class RowScore:
    """One answer against what was expected. `valid_json` is None where the expected answer is no JSON."""

    exact: bool
    valid_json: bool | None
    right_fields: int
    fields: int
    nats: float | None = None
    tokens: int = 0


def score_answered(answered: Answered, expected: str) -> RowScore:
    """As `score_answer`, with the loss."""
    return replace(score_answer(answered.text, expected), nats=answered.nats, tokens=answered.tokens)


def score_answer(answer: str, expected: str) -> RowScore:
    """Compare one answer with the expected one.

    Exact match: equal as parsed JSON where the expected answer is JSON, else equal text without the white space
    around it. Fields are the leaves of the expected JSON, found by their path; an expected text is one field.
    Fields that the answer has beyond the expected ones cost the exact match, not the field accuracy.
    """
    wanted = parse_json(expected)
    if wanted is MISSING:
        same = answer.strip() == expected.strip()
        return RowScore(same, None, int(same), 1)
    found = parse_json(answer)
    if found is MISSING:
        return RowScore(False, False, 0, sum(1 for _ in leaves(wanted)))
    values = dict(leaves(found))
    right = [same_value(values.get(path, MISSING), value) for path, value in leaves(wanted)]
    return RowScore(same_value(found, wanted), True, sum(right), len(right))


def parse_json(text: str) -> Any:
    """The JSON object or array in `text`, or MISSING. Numbers keep all digits; NaN and Infinity are not JSON."""
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return MISSING
    return value if isinstance(value, dict | list) else MISSING


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each leaf with its path. An empty object or array is a leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def same_value(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are the same number, 1 and true are not the same value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def score_slice(base: Sequence[RowScore], adapter: Sequence[RowScore]) -> SliceScore:
    """Both models on the same rows, in the same order. Raises ValueError when there are no rows."""
    pairs = [(b.exact, a.exact) for b, a in zip(base, adapter, strict=True)]
    lift = paired_difference(
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
    )
    return SliceScore(
        n=len(pairs),
        base_exact_match=_share([row.exact for row in base]),
        adapter_exact_match=_share([row.exact for row in adapter]),
        exact_match_lift=(lift.value, lift.low, lift.high),
        base_json_validity=_validity(base),
        adapter_json_validity=_validity(adapter),
        base_field_accuracy=_fields(base),
        adapter_field_accuracy=_fields(adapter),
        **_losses(base, adapter),
    )


def _losses(base: Sequence[RowScore], adapter: Sequence[RowScore]) -> dict[str, Any]:
    """Both losses and their paired difference, over the rows that both were measured on."""
    rows = [
        (b.nats, a.nats, b.tokens)
        for b, a in zip(base, adapter, strict=True)
        if _measured(b) and _measured(a) and b.nats is not None and a.nats is not None
    ]
    if len(rows) < 2:
        return {}
    sizes = [tokens for _, _, tokens in rows]
    change = ratio_mean([after - before for before, after, _ in rows], sizes)
    return {
        "base_answer_loss": _loss(ratio_mean([before for before, _, _ in rows], sizes), sizes),
        "adapter_answer_loss": _loss(ratio_mean([after for _, after, _ in rows], sizes), sizes),
        "answer_loss_change": (change.value, change.low, change.high),
    }


def _measured(row: RowScore) -> bool:
    return row.nats is not None and math.isfinite(row.nats) and row.tokens > 0


def _loss(interval: Interval, sizes: Sequence[int]) -> AnswerLoss:
    return AnswerLoss(interval.value, max(0.0, interval.low), interval.high, len(sizes), sum(sizes))


def _share(outcomes: Sequence[bool]) -> Proportion:
    return _proportion(wilson(sum(outcomes), len(outcomes)), len(outcomes))


def _validity(rows: Sequence[RowScore]) -> Proportion | None:
    outcomes = [row.valid_json for row in rows if row.valid_json is not None]
    return _share(outcomes) if outcomes else None


def _fields(rows: Sequence[RowScore]) -> Proportion | None:
    if all(row.valid_json is None for row in rows):
        return None
    interval = clustered_share([row.right_fields for row in rows], [row.fields for row in rows])
    return _proportion(interval, sum(row.fields for row in rows))


def _proportion(interval: Interval, n: int) -> Proportion:
    return Proportion(interval.value, interval.low, interval.high, n)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
