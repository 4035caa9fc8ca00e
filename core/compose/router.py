"""The request router (G1): from the features of a prompt to the adapter that answers, or to the base.

Features x are the mean of the frozen embedding table over the prompt's tokens. They are standardized and turned onto
the main directions of the training prompts, z = D (x − mean)/scale; a multinomial logistic regression on z, divided
by a temperature (Guo et al. 2017, «On Calibration of Modern Neural Networks»), gives the probabilities. The router
leaves a prompt to the base when its best probability is below a threshold that was chosen on validation prompts, or
when the prompt is foreign: farther from the class it chose than that class's own prompts were. The distance is
Mahalanobis's to the class centre (Lee et al. 2018, arXiv 1807.03888), with what D leaves out as isotropic noise
(probabilistic PCA, Tipping and Bishop 1999), as a multiple of how far the class reaches: short prompts scatter more
than long ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from core.compose.gate_files import GateFile, shaped
from core.errors import InvalidInputError, RefusedFileError

BASE = ""  # the class «none of the adapters», by its place among digests
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RouterWeights:
    """A trained router; h features, q directions, c classes (the adapters, then maybe the base).

    `whitening` (q, q) makes the spread within classes one; `noise` is the spread of what the directions leave out;
    `reach` is the distance within which 99 % of a class's own prompts lie.
    """

    mean: Vector  # (h,)
    scale: Vector  # (h,)
    directions: Vector  # (q, h)
    whitening: Vector  # (q, q)
    centres: Vector  # (c, q)
    reach: Vector  # (c,)
    noise: float
    weights: Vector  # (c, q)
    bias: Vector  # (c,)
    temperature: float
    threshold: float
    distance_limit: float


@dataclass(frozen=True, slots=True)
class Routed:
    """What the router says of one prompt. `weights`: adapter digest → factor on its weight; empty: the base answers.

    `probabilities` are calibrated, by adapter digest ("" is the base where the router knows it as a class); `entropy`
    is theirs, in nats; `distance` is in reaches of the likeliest class. `reason` says why the base answers: uncertain,
    foreign, base; or is empty.
    """

    weights: Mapping[str, float]
    probabilities: Mapping[str, float]
    entropy: float
    distance: float
    abstained: bool
    reason: str
    chosen: str | None


class Router:
    """A router that is ready to choose. Immutable; may be asked from any thread."""

    def __init__(self, adapters: Sequence[str], weights: RouterWeights) -> None:
        self.adapters = tuple(adapters)
        self.with_base = len(weights.bias) == len(adapters) + 1
        self._w = weights
        self._classes = (*self.adapters, *((BASE,) if self.with_base else ()))

    @property
    def temperature(self) -> float:
        """What the logits are divided by: above 1 the classifier was too sure."""
        return self._w.temperature

    @property
    def threshold(self) -> float:
        """The least probability with which an adapter is chosen."""
        return self._w.threshold

    @property
    def distance_limit(self) -> float:
        """The largest distance, in reaches of the likeliest class, at which a prompt still counts as familiar."""
        return self._w.distance_limit

    @property
    def classes(self) -> tuple[str, ...]:
        """Adapter digests in order, then "" where the base is a class of its own."""
        return self._classes

    def choose(self, features: Sequence[float]) -> Routed:
        """The adapter for a prompt with these features, or the base. Raises InvalidInputError for another base's."""
        x = np.asarray(features, np.float64)
        if x.shape != self._w.mean.shape or not np.isfinite(x).all():
            raise InvalidInputError(
                "This prompt cannot be routed.",
                f"The gate expects {len(self._w.mean)} features, it was given {x.size}.",
                "Use the gate with the base it was trained on.",
            )
        z, rest = project(self._w, x)
        chances = softmax((self._w.weights @ z + self._w.bias) / self._w.temperature)
        best = int(chances.argmax())
        distance = float(distances_to_classes(self._w, z, rest)[best] / self._w.reach[best])
        reason = ""
        if distance > self._w.distance_limit:
            reason = "foreign"
        elif chances[best] < self._w.threshold:
            reason = "uncertain"
        elif self._classes[best] == BASE:
            reason = "base"
        chosen = None if reason else self._classes[best]
        return Routed(
            weights={} if chosen is None else {chosen: 1.0},
            probabilities=dict(zip(self._classes, chances.tolist(), strict=True)),
            entropy=entropy(chances),
            distance=distance,
            abstained=bool(reason),
            reason=reason,
            chosen=chosen,
        )


def project(w: RouterWeights, x: Vector) -> tuple[Vector, float]:
    """Coordinates of x on the directions, and the squared length of what they leave out."""
    standard = (x - w.mean) / w.scale
    z = w.directions @ standard
    return z, max(0.0, float(standard @ standard - z @ z))


def distances_to_classes(w: RouterWeights, z: Vector, rest: float) -> Vector:
    """Distance to each class centre, (c,), in units of the spread within classes (root mean over features)."""
    white = (z - w.centres) @ w.whitening.T
    left_out = rest / w.noise**2 if len(w.mean) > len(z) else 0.0
    result: Vector = np.sqrt(((white * white).sum(axis=1) + left_out) / len(w.mean))
    return result


def softmax(logits: Vector) -> Vector:
    """Probabilities of one row of logits."""
    raised = np.exp(logits - logits.max())
    result: Vector = raised / raised.sum()
    return result


def entropy(chances: Vector) -> float:
    """Of a distribution, in nats; 0·log 0 is 0."""
    held = chances[chances > 0]
    return max(0.0, float(-(held * np.log(held)).sum()))


def router_tensors(w: RouterWeights) -> dict[str, NDArray[np.float32]]:
    """The weights as tensors of a gate's file."""
    return {field.name: np.atleast_1d(np.asarray(getattr(w, field.name), np.float32)) for field in fields(w)}


def router_of(file: GateFile) -> Router:
    """The router in a gate's file. Raises RefusedFileError where shapes or values make no router."""
    h, q = shaped(file, "directions", (None, None)).shape[::-1]
    c = shaped(file, "bias", (None,)).shape[0]
    shapes = {
        "mean": (h,),
        "scale": (h,),
        "directions": (q, h),
        "whitening": (q, q),
        "centres": (c, q),
        "reach": (c,),
        "weights": (c, q),
        "bias": (c,),
    }
    tensors = {name: shaped(file, name, shape).astype(np.float64) for name, shape in shapes.items()}
    numbers = {
        name: float(shaped(file, name, (1,))[0])
        for name in ("noise", "temperature", "threshold", "distance_limit")
    }
    weights = RouterWeights(**tensors, **numbers)  # type: ignore[arg-type]
    known = c in (len(file.adapters), len(file.adapters) + 1)
    if not known or min(*numbers.values(), weights.scale.min(), weights.reach.min()) <= 0:
        raise RefusedFileError(
            "The file of a gate was refused.", "Its numbers make no router.", "Train the gate again."
        )
    return Router(file.adapters, weights)
