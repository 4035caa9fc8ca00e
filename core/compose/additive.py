"""Additive composition in numbers: W' = W + Σ w_k ΔW_k, ΔW_k = s_k B_k A_k, without torch and layer by layer.

Exact: the dense sum (the oracle) and the concatenation, A = [w_k s_k A_k], B = [B_k], whose rank is Σ r_k.
Under a rank cap: the best approximation of rank r, from the SVD of the small core R_B R_Aᵀ where B = Q_B R_B
and Aᵀ = Q_A R_A; what is lost is √Σ_{i>r} σ_i² in the Frobenius norm (Eckart and Young, 1936).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.engine.records import WeightedAdapter
from core.errors import IntegrityError, InvalidInputError, RefusedFileError
from core.registry.bases import BaseFacts
from core.registry.verify import WEIGHTS_FILE, ModuleFacts, verify_folder
from core.storage.safetensors_file import read_float32, read_json

Matrix = NDArray[np.float64]
MANIFEST_FILE = "manifest.json"
BLOCK = re.compile(r"\.(\d+)\.")  # as core.engine.sites.block_of, which needs torch


@dataclass(frozen=True, slots=True)
class Factors:
    """One layer's ΔW = b·a, scale and weight already in `a`: a (rank, inputs), b (outputs, rank), float64."""

    a: Matrix
    b: Matrix

    @property
    def dense(self) -> Matrix:
        """ΔW itself, (outputs, inputs)."""
        product: Matrix = self.b @ self.a
        return product


@dataclass(frozen=True, slots=True)
class _Verified:
    """An adapter whose files were checked, with every term that names it."""

    folder: Path
    modules: Mapping[str, ModuleFacts]
    terms: tuple[WeightedAdapter, ...]

    def weight(self, path: str) -> float:
        if path not in self.modules:
            return 0.0
        return math.fsum(weight_at(term, path) for term in self.terms)


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Σ w_k ΔW_k over verified adapters. Only what is asked for is read, one layer at a time."""

    adapters: tuple[_Verified, ...]
    paths: tuple[str, ...]

    def parts(self, path: str) -> tuple[Factors, ...]:
        """w_k ΔW_k of each adapter that acts on this layer, in the order of their digests."""
        return tuple(
            Factors(
                read_float32(one.folder / WEIGHTS_FILE, one.modules[path].a).astype(np.float64)
                * (one.modules[path].scale * one.weight(path)),
                read_float32(one.folder / WEIGHTS_FILE, one.modules[path].b).astype(np.float64),
            )
            for one in self._acting(path)
        )

    def shape(self, path: str) -> tuple[int, int]:
        """(outputs, inputs) of the layer."""
        module = self._acting(path)[0].modules[path]
        return module.outputs, module.inputs

    def rank(self, path: str) -> int:
        """Rank of the concatenation: Σ r_k over the adapters that act on this layer."""
        return sum(one.modules[path].rank for one in self._acting(path))

    def _acting(self, path: str) -> list[_Verified]:
        return [one for one in self.adapters if one.weight(path) != 0.0]


def weight_at(term: WeightedAdapter, path: str) -> float:
    """What `term` weighs at one layer: its weight, its gain there, 0 outside of its depth segment.

    A layer that lies in no block is outside of every segment.
    """
    if term.layers is not None:
        block = BLOCK.search(path)
        if block is None or not term.layers[0] <= int(block[1]) <= term.layers[1]:
            return 0.0
    return term.weight * math.prod(gain for name, gain in term.gains if name == path)


def open_sum(
    terms: Iterable[WeightedAdapter], *, base_digest: str = "", base: BaseFacts | None = None
) -> WeightedSum:
    """The sum that `terms` mean. Terms of the same adapter are added up; what weighs 0 takes no rank.

    Raises InvalidInputError (weights, sizes), RefusedFileError (not plain LoRA, another base), IntegrityError.
    """
    grouped: dict[str, list[WeightedAdapter]] = {}
    for term in terms:
        for number in (term.weight, *(gain for _, gain in term.gains)):
            if not math.isfinite(number):
                raise InvalidInputError(
                    "A weight is not a number.", f"It is {number}.", "Give a finite weight."
                )
        grouped.setdefault(term.adapter.digest, []).append(term)
    adapters = tuple(_verify(grouped[digest], base_digest, base) for digest in sorted(grouped))
    known = sorted({path for one in adapters for path in one.modules})
    paths = tuple(path for path in known if any(one.weight(path) != 0.0 for one in adapters))
    _check_sizes(adapters, paths)
    return WeightedSum(adapters, paths)


def concatenate(parts: Sequence[Factors]) -> Factors:
    """The exact sum of one layer's parts as one pair of rank Σ r_k."""
    return Factors(np.vstack([part.a for part in parts]), np.hstack([part.b for part in parts]))


def dense_delta(terms: Iterable[WeightedAdapter]) -> dict[str, Matrix]:
    """Layer path → Σ w_k s_k B_k A_k as a dense (outputs, inputs) matrix, all in float64. The oracle."""
    total = open_sum(terms)
    return {path: concatenate(total.parts(path)).dense for path in total.paths}


def truncate(factors: Factors, rank: int) -> tuple[Factors, float]:
    """The best approximation of at most `rank`, and what it loses in the Frobenius norm.

    The residual is that of the approximation itself; rounding to float32 adds about 1e-7 of the norm.
    """
    q_b, r_b = np.linalg.qr(factors.b)
    q_a, r_a = np.linalg.qr(factors.a.T)
    u, sigma, v = np.linalg.svd(r_b @ r_a.T)
    kept = min(rank, len(sigma))
    root = np.sqrt(sigma[:kept])
    small = Factors(root[:, None] * (v[:kept] @ q_a.T), (q_b @ u[:, :kept]) * root)
    return small, float(np.sqrt(np.sum(sigma[kept:] ** 2)))


def squared_norm(factors: Factors) -> float:
    """‖BA‖² without making the product: Σ (BᵀB ∘ AAᵀ)."""
    return max(0.0, float(np.sum((factors.b.T @ factors.b) * (factors.a @ factors.a.T))))


def _verify(terms: list[WeightedAdapter], base_digest: str, base: BaseFacts | None) -> _Verified:
    reference = terms[0].adapter
    facts = verify_folder(reference.path, base=base)
    if facts.digest != reference.digest:
        raise IntegrityError(
            f"The adapter in {reference.path.name} is not the one that was registered.",
            f"Its content digest is {facts.digest[:12]}…, expected {reference.digest[:12]}….",
            "Import it again, or restore its files from a backup.",
        )
    manifest = reference.path / MANIFEST_FILE
    made_for = read_json(manifest).get("base_digest") if manifest.is_file() else None
    if base_digest and made_for not in (None, base_digest):
        raise RefusedFileError(
            "An adapter was made for another base model.",
            f"It names base {str(made_for)[:12]}…, the composition {base_digest[:12]}….",
            "Compose adapters of one base.",
        )
    return _Verified(reference.path, facts.modules, tuple(terms))


def _check_sizes(adapters: Sequence[_Verified], paths: Sequence[str]) -> None:
    for path in paths:
        modules = [one.modules[path] for one in adapters if path in one.modules]
        if len({(module.inputs, module.outputs) for module in modules}) > 1:
            raise InvalidInputError(
                "These adapters were made for different bases.",
                f"Layer {path} has two sizes.",
                "Choose others.",
            )
