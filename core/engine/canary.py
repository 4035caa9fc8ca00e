"""One small forward pass through an adapter that was just loaded, before anybody can use it."""

import math
from collections.abc import Sequence

import torch

from core.engine.base import LoadedBase
from core.engine.lora import Lane
from core.engine.plan import BatchPlan, RowTerm, plan_batch
from core.errors import RefusedFileError

# Two, so that attention has something to choose between: the pass costs what reading the base costs, and others wait for it.
TOKENS = 2
MOST_TIMES_BASE = 1e4  # logits this many times as large as the base's are of no use to anybody


class Canary:
    """Runs on the inference thread, between passes of the batch: it uses the same model and the same lane."""

    def __init__(self, base: LoadedBase, lane: Lane, adapter_dtype: torch.dtype) -> None:
        self._base, self._lane, self._dtype = base, lane, adapter_dtype
        self._largest_of_base: float | None = None

    def check(self, terms: Sequence[RowTerm]) -> None:
        """Raises RefusedFileError when the base with these terms gives logits that are not usable numbers."""
        if self._largest_of_base is None:
            self._largest_of_base = self._largest_logit(None)
        plan = plan_batch([terms], dtype=self._dtype, device=self._base.device, kernel=self._lane.kernel)
        largest = self._largest_logit(plan)
        if not math.isfinite(largest) or largest > MOST_TIMES_BASE * max(self._largest_of_base, 1.0):
            raise RefusedFileError(
                "The adapter does not work on this base.",
                "A trial pass gave values that are "
                + ("too large." if math.isfinite(largest) else "not numbers."),
                "Train it again with a smaller learning rate, or lower its alpha.",
            )

    def _largest_logit(self, plan: BatchPlan | None) -> float:
        """Largest size of any logit after a few tokens; not a finite number if one of them is not."""
        ids = torch.arange(TOKENS, device=self._base.device).remainder(self._base.vocabulary_size)
        self._lane.plan = plan
        try:
            with torch.inference_mode():
                logits = self._base.model(input_ids=ids.unsqueeze(0), use_cache=False).logits
                return float(logits.float().abs().max())
        finally:
            self._lane.plan = None
            self._lane.forget()
