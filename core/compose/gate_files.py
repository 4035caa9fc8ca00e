"""The weights of a gate on disk: one safetensors file named by its digest, read strictly and never trusted.

The file's header names the kind, the base, the adapters in order and the modules, so all of that is part of the
digest: the same numbers for other adapters are another gate.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.compose.gate_records import Gate
from core.compose.records import GateKind
from core.errors import IntegrityError, RefusedFileError
from core.storage.files import write_atomically
from core.storage.safetensors_file import check_finite, float32_values, read_header_of

Values = NDArray[np.float32]
MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class GateFile:
    """What a gate's file holds. `modules` is empty but for static gates."""

    kind: GateKind
    base_digest: str
    adapters: tuple[str, ...]
    modules: tuple[str, ...]
    tensors: Mapping[str, Values]


def write_gate_file(folder: Path, file: GateFile) -> tuple[Path, str]:
    """Write the file as `folder`/<digest>.safetensors. Gives its place and its digest (SHA-256 of the bytes)."""
    from safetensors.numpy import save

    about = {
        "kind": file.kind.value,
        "base": file.base_digest,
        "adapters": json.dumps(list(file.adapters)),
        "modules": json.dumps(list(file.modules)),
    }
    arrays = {name: np.ascontiguousarray(values, np.float32) for name, values in file.tensors.items()}
    data = save(arrays, metadata={"gate": json.dumps(about, sort_keys=True)})
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        write_atomically(path, data)
    return path, digest


def read_gate_file(gate: Gate) -> GateFile:
    """The file of a gate, byte for byte as it was written and about what the row says.

    Raises IntegrityError (missing, changed, about something else) or RefusedFileError (not sound).
    """
    path = Path(gate.path)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise _damaged(gate, "It is not there.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != gate.digest:
        raise _damaged(gate, "Its bytes are not those that were written.")
    header = read_header_of(data, path.name, {"F32": 4})
    check_finite(path, header)
    about = _about(data)
    file = GateFile(
        kind=GateKind(about["kind"]),
        base_digest=about["base"],
        adapters=tuple(json.loads(about["adapters"])),
        modules=tuple(json.loads(about["modules"])),
        tensors={
            name: float32_values(data[info.start : info.start + info.size], info)
            for name, info in header.items()
        },
    )
    told = (file.kind, file.base_digest, file.adapters)
    if told != (gate.kind, gate.base_digest, gate.adapter_digests):
        raise _damaged(gate, "It was written for another base or other adapters.")
    return file


def shaped(file: GateFile, name: str, shape: Sequence[int | None]) -> Values:
    """One tensor of the file, of the given shape (None: any size). Raises RefusedFileError."""
    values = file.tensors.get(name)
    if values is None or values.ndim != len(shape):
        raise _refused(f"Its tensor «{name}» is missing or has another number of dimensions.")
    if any(want is not None and want != got for want, got in zip(shape, values.shape, strict=True)):
        raise _refused(f"Its tensor «{name}» has the shape {values.shape}.")
    return values


def _about(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    try:
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["gate"])
        return {key: str(about[key]) for key in ("kind", "base", "adapters", "modules")}
    except (ValueError, KeyError, TypeError):
        raise _refused("Its header does not say what it is for.") from None


def _damaged(gate: Gate, why: str) -> IntegrityError:
    return IntegrityError(
        f"The file of the gate {gate.label} cannot be used.", why, "Restore it, or train the gate again."
    )


def _refused(why: str) -> RefusedFileError:
    return RefusedFileError("The file of a gate was refused.", why, "Train the gate again.")
