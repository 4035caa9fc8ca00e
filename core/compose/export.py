"""A composition as files for other servers: one PEFT adapter, or a whole model with the composition merged into it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.compose import offline
from core.compose.additive import Factors, Matrix, WeightedSum, concatenate, open_sum, squared_norm, truncate
from core.compose.merge import merge_base
from core.compose.peft_folder import write_adapter
from core.engine.records import Composition
from core.errors import ConflictError, InvalidInputError, RefusedFileError
from core.registry.bases import BaseFacts, read_base_facts
from core.registry.verify import MAX_RANK
from core.storage.digests import digest_adapter_folder, digest_base_folder
from core.storage.files import staged_directory
from core.storage.safetensors_file import read_json

REPORT_FILE = "export.json"


class ExportMethod(StrEnum):
    """How a composition becomes files."""

    CAT = "cat"
    COMPRESS = "compress"
    TIES = "ties"
    DARE = "dare"
    MAGNITUDE_PRUNE = "magnitude_prune"
    MERGED = "merged"


# What is kept when nobody says: TIES as in its paper; half, where the papers name no number for LoRA.
DENSITIES = {ExportMethod.TIES: 0.2, ExportMethod.DARE: 0.5, ExportMethod.MAGNITUDE_PRUNE: 0.5}


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that stands for a whole composition. Residuals are Frobenius norms, 0 when nothing is lost.

    `key` names what was asked for, `digest` the content. `rank` is the largest of any layer, 0 for a whole model.
    `norm` is that of the change that the method means, over all layers: residual / norm is the share that is lost.
    """

    folder: Path
    kind: Literal["adapter", "model"]
    key: str
    digest: str
    method: ExportMethod
    rank: int
    density: float | None
    seed: int | None
    residual: float
    norm: float
    residual_by_layer: Mapping[str, float]
    size_bytes: int

    @property
    def lost_share(self) -> float:
        """Residual as a share of the norm, 0 to 1."""
        return self.residual / self.norm if self.norm else 0.0


@dataclass(frozen=True, slots=True)
class _Order:
    """What is asked for, checked."""

    method: ExportMethod
    rank: int | None
    density: float | None
    seed: int | None
    whole: bool


def export_composition(
    composition: Composition,
    *,
    method: str,
    out: Path,
    rank: int | None = None,
    density: float | None = None,
    seed: int = 0,
    base_folder: Path | None = None,
) -> Exported:
    """Write `composition` into the new folder `out`; all of it or nothing.

    cat: exact, rank Σ r_k. compress: the best approximation of `rank`. ties, dare, magnitude_prune: see
    core.compose.offline; an adapter of `rank` (Σ r_k if left out), or a whole model where `base_folder` is given.
    merged: a whole model in float32, `base_folder` is needed. The same export that is there already is answered as
    it is. Raises InvalidInputError (gates, settings, nothing to export), RefusedFileError (DoRA, biases, another
    base), IntegrityError, ConflictError (`out` holds something else).
    """
    order = _check_order(method, rank, density, seed, base_folder)
    _check_composition(composition)
    key = export_key(composition, order)
    if out.exists():
        return _existing(out, key)
    base = _check_base(composition, base_folder)
    total = open_sum(composition.terms, base_digest=composition.base_digest, base=base)
    if not total.paths:
        raise InvalidInputError(
            "There is nothing to export.",
            "Without adapters, or with weights of zero only, the composition is the base itself.",
            "Give at least one adapter a weight other than zero.",
        )
    with staged_directory(out) as staging:
        if order.whole and base_folder is not None:
            report = _write_model(total, order, base_folder, staging)
        else:
            report = _write_adapter(total, order, staging)
        content = {"key": key, **report, "composition": _described(composition)}
        (staging / REPORT_FILE).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return _existing(out, key)


def export_for_server(composition: Composition, out: Path, *, max_rank: int = 0) -> Path:
    """One adapter for a server that takes one with each request: cat, or compress where cat is beyond `max_rank`.

    `max_rank` 0: always cat. Raises as `export_composition`.
    """
    if max_rank:
        total = open_sum(composition.terms, base_digest=composition.base_digest)
        if max(map(total.rank, total.paths), default=0) > max_rank:
            return export_composition(composition, method="compress", rank=max_rank, out=out).folder
    return export_composition(composition, method="cat", out=out).folder


def export_key(composition: Composition, order: _Order) -> str:
    """Hex SHA-256 over the composition's key, the method and its settings, never over names."""
    content = [composition.key, order.method, order.rank, order.density, order.seed, order.whole]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _check_order(
    method: str, rank: int | None, density: float | None, seed: int, base_folder: Path | None
) -> _Order:
    if method not in list(ExportMethod):
        raise InvalidInputError(
            f"There is no export method «{method[:40]}».",
            "A and B are not averaged either: the products of different adapters would mix.",
            f"Use {', '.join(ExportMethod)}.",
        )
    chosen = ExportMethod(method)
    ranked = chosen is ExportMethod.COMPRESS or (chosen in DENSITIES and base_folder is None)
    if rank is not None and not (ranked and 1 <= rank <= MAX_RANK):
        why = f"It is a whole number from 1 to {MAX_RANK}." if ranked else f"{chosen} has no rank to choose."
        raise InvalidInputError(f"The rank cannot be {rank}.", why, "Correct it, or leave it out.")
    if chosen is ExportMethod.COMPRESS and rank is None:
        raise InvalidInputError("compress needs a rank.", "", "Say how large the adapter may be.")
    if density is not None and not (chosen in DENSITIES and 0.0 < density <= 1.0):
        why = "It is above 0 and up to 1." if chosen in DENSITIES else f"{chosen} drops no values."
        raise InvalidInputError(f"The density cannot be {density}.", why, "Correct it, or leave it out.")
    if chosen is ExportMethod.MERGED and base_folder is None:
        raise InvalidInputError("merged needs the base.", "It writes a whole model.", "Name the base folder.")
    kept = DENSITIES.get(chosen) if density is None else density
    whole = chosen is ExportMethod.MERGED or (chosen in DENSITIES and base_folder is not None)
    return _Order(chosen, rank, kept, seed if chosen is ExportMethod.DARE else None, whole)


def _check_composition(composition: Composition) -> None:
    if composition.gate is not None:
        raise InvalidInputError(
            "A token gate cannot be exported.",
            "It weighs the adapters anew at every token; an export has one weight for each layer.",
            "Serve it here, or export an additive composition of the same adapters.",
        )


def _check_base(composition: Composition, base_folder: Path | None) -> BaseFacts | None:
    if base_folder is None:
        return None
    found = digest_base_folder(base_folder)
    if found != composition.base_digest:
        raise RefusedFileError(
            "The composition was made for another base model.",
            f"It names base {composition.base_digest[:12]}…, the folder holds {found[:12]}….",
            "Give the folder of that base.",
        )
    return read_base_facts(base_folder, digest=found)


def _existing(out: Path, key: str) -> Exported:
    """The export in `out`, if it is the one that was asked for and its files are those that were written."""
    report = read_json(out / REPORT_FILE, limit_bytes=16 << 20) if (out / REPORT_FILE).is_file() else {}
    if report.get("key") != key or _content_digest(out, report["kind"]) != report["digest"]:
        raise ConflictError(
            f"{out.name} is there already.",
            "It holds something else, and nothing is replaced unasked.",
            "Choose another folder, or remove this one.",
        )
    return Exported(
        folder=out,
        kind=report["kind"],
        key=key,
        digest=report["digest"],
        method=ExportMethod(report["method"]),
        rank=report["rank"],
        density=report["density"],
        seed=report["seed"],
        residual=report["residual"],
        norm=report["norm"],
        residual_by_layer=report["residual_by_layer"],
        size_bytes=sum(file.stat().st_size for file in out.iterdir()),
    )


def _content_digest(folder: Path, kind: str) -> str:
    return digest_base_folder(folder) if kind == "model" else digest_adapter_folder(folder)


def _write_adapter(total: WeightedSum, order: _Order, folder: Path) -> dict[str, Any]:
    """Layer by layer: only the finished factors, in float32, stay in memory."""
    layers: dict[str, Factors] = {}
    residuals: dict[str, float] = {}
    squares = []
    for path in total.paths:
        layers[path], residuals[path], square = _factors(total, path, order)
        squares.append(square)
    write_adapter(folder, layers)
    return _report("adapter", folder, order, residuals, squares, max(len(f.a) for f in layers.values()))


def _factors(total: WeightedSum, path: str, order: _Order) -> tuple[Factors, float, float]:
    """The layer's factors, rounded to float32; what they lose; the square of what the method means."""
    if order.method in DENSITIES:
        delta = _change(total, path, order)
        small, residual = offline.truncate_dense(delta, order.rank or min(MAX_RANK, total.rank(path)))
        square = float(np.sum(delta**2))
    else:
        exact = concatenate(total.parts(path))
        square, residual, small = squared_norm(exact), 0.0, exact
        if order.rank is not None:
            small, residual = truncate(exact, order.rank)
    return Factors(small.a.astype(np.float32), small.b.astype(np.float32)), residual, square


def _change(total: WeightedSum, path: str, order: _Order) -> Matrix:
    """The dense ΔW of one layer by the method."""
    parts = total.parts(path)
    if order.density is None:
        return concatenate(parts).dense
    deltas = [part.dense for part in parts]
    if order.method is ExportMethod.TIES:
        return offline.ties(deltas, order.density)
    if order.method is ExportMethod.MAGNITUDE_PRUNE:
        return offline.magnitude_prune(deltas, order.density)
    random = [offline.generator(order.seed or 0, place, path) for place in range(len(deltas))]
    return offline.dare(deltas, order.density, random)


def _write_model(total: WeightedSum, order: _Order, base_folder: Path, folder: Path) -> dict[str, Any]:
    squares = []

    def change(path: str) -> Matrix:
        delta = _change(total, path, order)
        squares.append(float(np.sum(delta**2)))
        return delta

    merge_base(base_folder, total.paths, change, folder)
    return _report("model", folder, order, dict.fromkeys(total.paths, 0.0), squares, 0)


def _report(
    kind: str, folder: Path, order: _Order, residuals: dict[str, float], squares: list[float], rank: int
) -> dict[str, Any]:
    return {
        "kind": kind,
        "digest": _content_digest(folder, kind),
        "method": order.method,
        "rank": rank,
        "density": order.density,
        "seed": order.seed,
        "residual": math.sqrt(math.fsum(value**2 for value in residuals.values())),
        "norm": math.sqrt(math.fsum(squares)),
        "residual_by_layer": residuals,
    }


def _described(composition: Composition) -> dict[str, Any]:
    """What was composed, by content; where the files lay is nobody's business."""
    return {
        "key": composition.key,
        "base_digest": composition.base_digest,
        "terms": [
            {"adapter": t.adapter.digest, "weight": t.weight, "layers": t.layers, "gains": dict(t.gains)}
            for t in composition.terms
        ],
    }
