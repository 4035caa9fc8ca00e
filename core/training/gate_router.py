"""Training of the request router (G1): seconds on a CPU, no gradient through the base, no chance involved.

Logistic regression with an L2 pull (strictly convex: one solution), fitted by L-BFGS on standardized features turned
onto at most 64 main directions. Temperature on the validation prompts (Guo et al. 2017) against Platt's softened
targets (Platt 1999), so that a perfect separation does not make it infinitely sure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from core.compose.router import RouterWeights, distances_to_classes, project
from core.errors import InvalidInputError

MOST_DIRECTIONS = 64
LEAST_OF_CLASS = 4
L2 = 1.0
SHRINK = 0.1
LEAST_THRESHOLD = 0.5  # a choice that is less likely than not is none
MOST_ERRORS = 0.02  # of the validation prompts that are not left to the base
REACH_QUANTILE, FAMILIAR_REACHES = 0.99, 1.2

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Features (n, h) of prompts, and the place of the best adapter of each (one beyond the adapters: the base)."""

    features: Matrix
    labels: NDArray[np.int64]


def train_router(
    train: LabelledFeatures, validation: LabelledFeatures, *, classes: int, labels: Sequence[str]
) -> RouterWeights:
    """Fit, calibrate, and set the bounds for abstaining. `labels` are the classes' names, for errors.

    Raises InvalidInputError when a class has too few prompts.
    """
    _check(train, classes, labels, "training")
    _check(validation, classes, labels, "validation", least=1)
    x = np.asarray(train.features, np.float64)
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-9 * max(1.0, float(scale.max())), scale, 1.0)
    standard = (x - mean) / scale
    _, _, turned = np.linalg.svd(standard, full_matrices=False)
    directions = turned[: max(1, min(MOST_DIRECTIONS, x.shape[1], len(x) // 4))]
    z = standard @ directions.T
    centres = np.stack([z[train.labels == each].mean(0) for each in range(classes)])
    weights, bias = _fit(z, train.labels, classes)
    rest = np.maximum(0.0, (standard**2).sum(1) - (z**2).sum(1))
    left = x.shape[1] - len(directions)
    untuned = RouterWeights(
        mean=mean,
        scale=scale,
        directions=directions,
        whitening=_whitening(z - centres[train.labels]),
        centres=centres,
        reach=np.ones(classes),
        noise=float(np.sqrt(max(rest.mean() / left, 1e-6))) if left else 1.0,
        weights=weights,
        bias=bias,
        temperature=1.0,
        threshold=LEAST_THRESHOLD,
        distance_limit=FAMILIAR_REACHES,
    )
    return _tune(untuned, train, validation)


def _tune(w: RouterWeights, train: LabelledFeatures, validation: LabelledFeatures) -> RouterWeights:
    """Temperature and threshold from the validation prompts; how far each class reaches from all of them."""
    seen = np.stack([project(w, row)[0] for row in np.asarray(validation.features, np.float64)])
    logits = seen @ w.weights.T + w.bias
    temperature = _temperature(logits, validation.labels, len(w.bias))
    chances = _softmax(logits / temperature)
    return replace(
        w,
        temperature=temperature,
        threshold=choose_threshold(chances.max(1), chances.argmax(1) == validation.labels),
        reach=np.array([max(_reach(w, part, c) for part in (train, validation)) for c in range(len(w.bias))]),
    )


def _reach(w: RouterWeights, given: LabelledFeatures, place: int) -> float:
    own = np.asarray(given.features, np.float64)[given.labels == place]
    distances = [distances_to_classes(w, *project(w, row))[place] for row in own]
    return max(float(np.quantile(distances, REACH_QUANTILE)), 1e-6)


def choose_threshold(chances: Matrix, right: NDArray[np.bool_]) -> float:
    """The least probability, from 0.5 on, above which at most 2 % of the choices are wrong.

    Where even the surest choices are wrong, 1: then almost everything is left to the base.
    """
    for bound in np.unique(np.concatenate([[LEAST_THRESHOLD], chances[chances > LEAST_THRESHOLD]])):
        kept = right[chances >= bound]
        if len(kept) and (~kept).mean() <= MOST_ERRORS:
            return float(bound)
    return 1.0


def _fit(z: Matrix, labels: NDArray[np.int64], classes: int) -> tuple[Matrix, Matrix]:
    """Weights (c, q) and bias (c,) of the multinomial regression, on directions of equal spread."""
    spread = z.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    inputs, wanted = z / spread, np.eye(classes)[labels]
    rows, size = inputs.shape

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights, bias = flat[:-classes].reshape(classes, size), flat[-classes:]
        chances = _softmax(inputs @ weights.T + bias)
        error = (chances - wanted) / rows
        value = -np.log(np.maximum(chances[np.arange(rows), labels], 1e-300)).mean()
        pull = L2 / rows
        gradient = np.concatenate([(error.T @ inputs + pull * weights).ravel(), error.sum(0) + pull * bias])
        return float(value + pull / 2 * (flat @ flat)), gradient

    found = minimize(loss, np.zeros(classes * (size + 1)), jac=True, method="L-BFGS-B").x
    return found[:-classes].reshape(classes, size) / spread, found[-classes:]


def _temperature(logits: Matrix, labels: NDArray[np.int64], classes: int) -> float:
    n = len(labels)
    hit = (n + 1) / (n + 2)
    wanted = np.full((n, classes), (1 - hit) / max(1, classes - 1))
    wanted[np.arange(n), labels] = hit

    def loss(log_temperature: float) -> float:
        chances = _softmax(logits / np.exp(log_temperature))
        return float(-(wanted * np.log(np.maximum(chances, 1e-300))).sum() / n)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(50.0)), method="bounded").x))


def _whitening(centred: Matrix) -> Matrix:
    """L with Lᵀ L = Σ⁻¹ of the spread within classes, shrunk towards its mean so that it can be inverted."""
    covariance = centred.T @ centred / max(1, len(centred) - 1)
    mean = max(float(np.trace(covariance)) / len(covariance), 1e-6)
    values, vectors = np.linalg.eigh((1 - SHRINK) * covariance + SHRINK * mean * np.eye(len(covariance)))
    whitening: Matrix = (vectors / np.sqrt(values)).T
    return whitening


def _softmax(logits: Matrix) -> Matrix:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Matrix = raised / raised.sum(axis=1, keepdims=True)
    return chances


def _check(
    given: LabelledFeatures, classes: int, labels: Sequence[str], part: str, least: int = LEAST_OF_CLASS
) -> None:
    for place in range(classes):
        count = int((given.labels == place).sum())
        if count < least:
            raise InvalidInputError(
                f"The gate cannot be trained: {labels[place]} has {count} {part} prompts.",
                f"Each choice needs {least} or more.",
                "Give a dataset with more rows for it.",
            )
