"""What a run says while it trains, and when it must not go on."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from transformers import TrainerCallback

from core.errors import RmnError
from core.jobs.records import JobPoint
from core.training.progress import Clock, Progress, RunInterruptedError, Stop

WINDOW = 20
SPEED_STEPS = 50


class DivergedError(RmnError):
    """The loss is no number, or rises instead of falling."""

    code = "diverged"


class DivergenceWatch:
    """Raises DivergedError when a loss is not finite, or when the mean of the last 20 is far above the first.

    Far is twice the first mean and at least 2 nats more: a bad start or one hard batch is not enough.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=WINDOW)

    def see(self, step: int, loss: float, grad_norm: float | None) -> None:
        """Look at one reading. Raises DivergedError."""
        if not math.isfinite(loss) or (grad_norm is not None and not math.isfinite(grad_norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise diverged(f"At step {step} the {what} is not a finite number.")
        self._last.append(loss)
        if len(self._first) < WINDOW:
            self._first.append(loss)
            return
        start, now = sum(self._first) / WINDOW, sum(self._last) / WINDOW
        if now > max(2 * start, start + 2.0):
            raise diverged(f"The loss began at {start:.2f} and has risen to {now:.2f} at step {step}.")


def diverged(why: str) -> DivergedError:
    """The error of a run that gets worse, not better."""
    return DivergedError(
        "The training diverged: it got worse instead of better.",
        why,
        "Lower the learning rate (a third of it is a good next try), or give more warm-up, and start again.",
    )


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Sends each logged reading to the job, keeps the ETA, and stops the run when it must stop."""

    def __init__(
        self, progress: Progress, stop: Stop, clock: Clock, tokens_seen: Callable[[], int], after_s: float
    ) -> None:
        self._progress, self._stop, self._clock = progress, stop, clock
        self._tokens_seen, self._after_s = tokens_seen, after_s
        self._watch = DivergenceWatch()
        self._times: deque[tuple[float, int, int]] = deque(maxlen=SPEED_STEPS)
        self._latest: JobPoint | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The steps are known now; an earlier attempt may have done some."""
        self._times.append((time.monotonic(), state.global_step, self._tokens_seen()))
        self._progress.advance(step=state.global_step, total_steps=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say that it lives. Asked to end, leave a checkpoint first, so that nothing is lost."""
        self._times.append((time.monotonic(), state.global_step, self._tokens_seen()))
        if self._stop.requested:
            control.should_save = True
            control.should_training_stop = True
            return
        self._progress.advance(
            step=state.global_step, total_steps=state.max_steps, eta_s=self._eta_s(state.max_steps)
        )

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """A reading of the training loss, or of the validation loss at the same step. Written with the next step."""
        logs = logs or {}
        if "loss" in logs:
            loss, norm = float(logs["loss"]), _number(logs.get("grad_norm"))
            self._watch.see(state.global_step, loss, norm)
            rate = _number(logs.get("learning_rate"))
            self._latest = JobPoint(state.global_step, self._clock(), loss, None, rate, norm, self._speed())
            self._progress.note(self._latest)
        elif "eval_loss" in logs:
            latest = self._latest
            if latest is None or latest.step != state.global_step:
                latest = JobPoint(state.global_step, self._clock())
            self._latest = replace(latest, validation_loss=float(logs["eval_loss"]))
            self._progress.note(self._latest)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the last points."""
        self._progress.write()
        if state.global_step < state.max_steps:
            raise RunInterruptedError

    def _speed(self) -> float | None:
        (start, _, before), (end, _, after) = self._times[0], self._times[-1]
        return (after - before) / (end - start) if end > start else None

    def _eta_s(self, max_steps: int) -> float | None:
        (start, first, _), (end, last, _) = self._times[0], self._times[-1]
        if last <= first:
            return None
        return (max_steps - last) * (end - start) / (last - first) + self._after_s


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
