"""Training of the static gate (G0): one factor per adapter and module, by gradient descent on the answer loss.

Base and adapters are frozen; only adapters × modules numbers are learned, from the uniform mixture (1/K each) on, with
Adam and a pull back towards that start. The factors kept are those with the least loss on rows that the descent did
not see.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.errors import InvalidInputError
from core.training.answers import Question
from core.training.gate_model import AdapterMixture

LEARNING_RATE = 0.05
PULL = 1e-3
BATCH_ROWS = 4
CHECK_EVERY = 15
LEAST_ROWS = 8


@dataclass(frozen=True, slots=True)
class LearnedGains:
    """Factors (adapters, modules), and the loss per answer token on the rows that chose them: (step, nats)."""

    gains: Tensor
    curve: tuple[tuple[int, float], ...]
    best_step: int


def train_gains(
    model: Any,
    mixture: AdapterMixture,
    train: Sequence[Question],
    checked: Sequence[Question],
    *,
    steps: int,
    seed: int,
    alive: Callable[[int], None],
) -> LearnedGains:
    """Learn the gains. `alive(steps done)` is called often; what it raises ends the work.

    Raises InvalidInputError when there are too few rows, or the loss is no number.
    """
    train, checked = ([q for q in rows if q.expected] for rows in (train, checked))
    if len(train) < LEAST_ROWS or not checked:
        raise InvalidInputError(
            "The gate cannot be trained: there are too few rows.",
            f"It has {len(train)} to learn from and {len(checked)} to choose by; {LEAST_ROWS} and 1 are needed.",
            "Use datasets with more validation rows.",
        )
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    model.eval()
    start = 1.0 / mixture.adapters
    gains = torch.full(mixture.shape, start, device=model.device, requires_grad=True)
    optimizer = torch.optim.Adam([gains], lr=LEARNING_RATE)
    draw = random.Random(seed)
    order: list[int] = []
    best, best_step, curve = gains.detach().clone(), 0, [(0, _mean_loss(model, mixture, gains, checked))]
    for step in range(1, steps + 1):
        if len(order) < BATCH_ROWS:
            order += draw.sample(range(len(train)), len(train))
        rows, order = [train[i] for i in order[:BATCH_ROWS]], order[BATCH_ROWS:]
        mixture.use(gains)
        nats, tokens = answer_loss(model, rows)
        loss = nats / tokens + PULL * ((gains - start) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        alive(step)
        if step % CHECK_EVERY == 0 or step == steps:
            curve.append((step, _mean_loss(model, mixture, gains, checked)))
            if curve[-1][1] < min(value for _, value in curve[:-1]):
                best, best_step = gains.detach().clone(), step
    mixture.use(None)
    for parameter in frozen:
        parameter.requires_grad_(True)
    if not bool(torch.isfinite(best).all()) or not all(math.isfinite(value) for _, value in curve):
        raise InvalidInputError(
            "The training of the gate diverged.", "The loss is no number.", "Try fewer steps."
        )
    return LearnedGains(best.cpu(), tuple(curve), best_step)


def answer_loss(model: Any, rows: Sequence[Question]) -> tuple[Tensor, int]:
    """Summed loss of the expected answers in nats, differentiable, and their number of tokens."""
    width = max(len(q.prompt) + len(q.expected) for q in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, wanted = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, q in enumerate(rows):
        whole = len(q.prompt) + len(q.expected)
        ids[i, :whole] = torch.tensor(q.prompt + q.expected)
        mask[i, :whole] = 1
        wanted[i, len(q.prompt) : whole] = torch.tensor(q.expected)
    ids, mask, wanted = (each.to(model.device) for each in (ids, mask, wanted))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    nats = cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), wanted[:, 1:].reshape(-1), reduction="sum"
    )
    return nats, sum(len(q.expected) for q in rows)


def _mean_loss(model: Any, mixture: AdapterMixture, gains: Tensor, rows: Sequence[Question]) -> float:
    mixture.use(gains.detach())
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for first in range(0, len(rows), BATCH_ROWS):
            nats, count = answer_loss(model, rows[first : first + BATCH_ROWS])
            total, tokens = total + float(nats), tokens + count
    return total / tokens
