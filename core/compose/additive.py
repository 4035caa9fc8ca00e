"""Additive composition in numbers: W' = W + Σ w_k ΔW_k, ΔW_k = s_k B_k A_k, without torch.

Exact: the dense sum (the oracle) and the concatenation, A = [w_k s_k A_k], B = [B_k], whose rank is Σ r_k.
Under a rank cap: the best approximation of rank r, from the SVD of the small core R_B R_Aᵀ where B = Q_B R_B
and Aᵀ = Q_A R_A; what is lost is √Σ_{i>r} σ_i² in the Frobenius norm (Eckart and Young, 1936).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInputError
from core.registry.verify import CONFIG_FILE, WEIGHTS_FILE, verify_folder
from core.storage.digests import digest_adapter_folder
from core.storage.files import write_atomically
from core.storage.safetensors_file import read_float32

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factors:
    """One layer's ΔW = b·a, scale and weight already in `a`: a (rank, inputs), b (outputs, rank), float64."""

    a: Matrix
    b: Matrix


@dataclass(frozen=True, slots=True)
class Exported:
    """A PEFT adapter folder that stands for a whole composition. Residuals are Frobenius norms, 0 when exact.

    `norm` is that of the exact sum over all layers, so residual / norm is the share that is lost.
    """

    folder: Path
    digest: str
    rank: int
    residual: float
    norm: float
    residual_by_layer: Mapping[str, float]


def load_factors(folder: Path) -> dict[str, Factors]:
    """Layer path → factors of the verified adapter in `folder`, with weight 1. Raises RefusedFileError."""
    facts = verify_folder(folder)
    weights = folder / WEIGHTS_FILE
    return {
        path: Factors(
            read_float32(weights, module.a).astype(np.float64) * module.scale,
            read_float32(weights, module.b).astype(np.float64),
        )
        for path, module in facts.modules.items()
    }


def concatenate(terms: Iterable[tuple[Path, float]]) -> dict[str, Factors]:
    """Layer path → factors of the exact weighted sum. Terms of weight 0 take no rank."""
    stacks: dict[str, list[Factors]] = {}
    for folder, weight in terms:
        if not math.isfinite(weight):
            raise InvalidInputError("A weight is not a number.", f"It is {weight}.", "Give a finite weight.")
        if weight != 0:
            for path, factors in load_factors(folder).items():
                stacks.setdefault(path, []).append(Factors(factors.a * weight, factors.b))
    for path, stack in stacks.items():
        if len({(factors.a.shape[1], factors.b.shape[0]) for factors in stack}) > 1:
            raise InvalidInputError(
                "These adapters were made for different bases.",
                f"Layer {path} has two sizes.",
                "Choose others.",
            )
    return {
        path: Factors(np.vstack([f.a for f in stack]), np.hstack([f.b for f in stack]))
        for path, stack in sorted(stacks.items())
    }


def dense_delta(terms: Iterable[tuple[Path, float]]) -> dict[str, Matrix]:
    """Layer path → Σ w_k s_k B_k A_k as a dense (outputs, inputs) matrix, all in float64. The oracle."""
    total: dict[str, Matrix] = {}
    for folder, weight in terms:
        for path, factors in load_factors(folder).items():
            delta = weight * (factors.b @ factors.a)
            total[path] = total[path] + delta if path in total else delta
    return total


def cat_export(terms: Sequence[tuple[Path, float]], out_folder: Path) -> Exported:
    """Write the exact weighted sum as one PEFT adapter, for servers with one adapter a request.

    Raises InvalidInputError when nothing is left to export, RefusedFileError for an adapter that is not sound.
    """
    factors = concatenate(terms)
    return _write(factors, out_folder, dict.fromkeys(factors, 0.0), _norm(factors))


def compress(terms: Sequence[tuple[Path, float]], rank: int, out_folder: Path) -> Exported:
    """Write the best approximation of the weighted sum whose layers have at most `rank`.

    The residual is that of the approximation itself; rounding to float32 adds about 1e-7 of the norm.
    """
    if rank < 1:
        raise InvalidInputError("The rank must be at least 1.", f"It is {rank}.", "Choose a larger rank.")
    exact = concatenate(terms)
    small, residuals = {}, {}
    for path, factors in exact.items():
        small[path], residuals[path] = _truncate(factors, rank)
    return _write(small, out_folder, residuals, _norm(exact))


def _core(factors: Factors) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    q_b, r_b = np.linalg.qr(factors.b)
    q_a, r_a = np.linalg.qr(factors.a.T)
    u, sigma, v = np.linalg.svd(r_b @ r_a.T)
    return q_b, u, sigma, v, q_a


def _truncate(factors: Factors, rank: int) -> tuple[Factors, float]:
    q_b, u, sigma, v, q_a = _core(factors)
    kept = min(rank, len(sigma))
    root = np.sqrt(sigma[:kept])
    a = root[:, None] * (v[:kept] @ q_a.T)
    b = (q_b @ u[:, :kept]) * root
    return Factors(a, b), float(np.sqrt(np.sum(sigma[kept:] ** 2)))


def _norm(factors: Mapping[str, Factors]) -> float:
    """‖ΔW‖ over all layers without making any dense: ‖BA‖² = Σ (BᵀB ∘ AAᵀ)."""
    squares = (float(np.sum((f.b.T @ f.b) * (f.a @ f.a.T))) for f in factors.values())
    return math.sqrt(max(0.0, math.fsum(squares)))


def _write(
    factors: Mapping[str, Factors], folder: Path, residuals: Mapping[str, float], norm: float
) -> Exported:
    """alpha = rank in every layer, so PEFT's scale is 1."""
    from safetensors.numpy import save

    if not factors:
        raise InvalidInputError(
            "There is nothing to export.",
            "Without adapters, or with weights of zero only, the composition is the base itself.",
            "Give at least one adapter a weight other than zero.",
        )
    tensors = {}
    for path, layer in factors.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = np.ascontiguousarray(layer.a, np.float32)
        tensors[f"base_model.model.{path}.lora_B.weight"] = np.ascontiguousarray(layer.b, np.float32)
    ranks = {path: layer.a.shape[0] for path, layer in factors.items()}
    rank = max(ranks.values())
    others = {path: layer_rank for path, layer_rank in ranks.items() if layer_rank != rank}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": list(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }
    write_atomically(folder / WEIGHTS_FILE, save(tensors))
    write_atomically(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    total = math.sqrt(math.fsum(value**2 for value in residuals.values()))
    return Exported(folder, digest_adapter_folder(folder), rank, total, norm, dict(residuals))
