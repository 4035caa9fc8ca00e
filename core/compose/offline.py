"""Methods that change what is summed, on the whole matrix ΔW of a layer, never on A and B apart.

Each takes the weighted parts w_k ΔW_k of one layer as dense (outputs, inputs) matrices and gives one of the same
shape. They are no exact sums: what they drop is dropped on purpose. Their results have full rank, so an adapter
of rank r only comes near them.

- ties: trim each part to its largest values, elect the sign with the larger sum, average the values that agree
  with it (Yadav et al. 2023, arXiv 2306.01708, section 3). Trimmed layer by layer, weights before the election.
- dare: drop each value with probability 1 - density, divide the rest by density (Yu et al. 2024, arXiv 2311.03099).
- magnitude_prune: trim each part to its largest values, then add.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import svds

from core.compose.additive import Factors, Matrix

# Beyond this many rows or columns the leading singular vectors are found by iteration (ARPACK), not all of them.
WHOLE_SVD = 512


def trim(delta: Matrix, density: float) -> Matrix:
    """The share `density` of values that are largest in magnitude, rounded down; all others are 0."""
    kept = int(density * delta.size)
    if kept >= delta.size:
        return delta
    result = np.zeros_like(delta)
    if kept:
        flat = delta.reshape(-1)
        largest = np.argpartition(np.abs(flat), delta.size - kept)[delta.size - kept :]
        result.reshape(-1)[largest] = flat[largest]
    return result


def ties(deltas: Sequence[Matrix], density: float) -> Matrix:
    """Trim, elect sign, disjoint mean. The mean is over the parts that agree, so it does not grow with their number."""
    trimmed = np.stack([trim(delta, density) for delta in deltas])
    elected = np.where(trimmed.sum(axis=0) >= 0, 1.0, -1.0)
    agree = np.sign(trimmed) == elected
    mean: Matrix = np.where(agree, trimmed, 0.0).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)
    return mean


def dare(deltas: Sequence[Matrix], density: float, random: Sequence[np.random.Generator]) -> Matrix:
    """Σ_k of the parts with values dropped at random; `random` has one generator for each part."""
    total = np.zeros_like(deltas[0])
    for delta, source in zip(deltas, random, strict=True):
        total += np.where(source.random(delta.shape) < density, delta, 0.0) / density
    return total


def magnitude_prune(deltas: Sequence[Matrix], density: float) -> Matrix:
    """Σ_k of the trimmed parts."""
    total = np.zeros_like(deltas[0])
    for delta in deltas:
        total += trim(delta, density)
    return total


def generator(seed: int, place: int, path: str) -> np.random.Generator:
    """Random numbers of one part at one layer: they depend on the seed, not on what was drawn before."""
    content = f"{seed}/{place}/{path}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:16], "big"))


def truncate_dense(delta: Matrix, rank: int) -> tuple[Factors, float]:
    """The best pair of at most `rank` for a dense matrix, and ‖ΔW - BA‖ in the Frobenius norm, as measured."""
    smaller = min(delta.shape)
    kept = min(rank, smaller)
    if smaller <= WHOLE_SVD or kept > smaller // 4:
        u, sigma, v = np.linalg.svd(delta, full_matrices=False)
        u, sigma, v = u[:, :kept], sigma[:kept], v[:kept]
    else:
        start = np.ones(smaller) / np.sqrt(smaller)
        u, sigma, v = svds(delta, k=kept, v0=start, solver="arpack")
    root = np.sqrt(sigma)
    small = Factors(root[:, None] * v, u * root)
    return small, float(np.linalg.norm(delta - small.dense))
