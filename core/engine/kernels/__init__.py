"""Kernels for a GPU, each with the same in plain torch beside it. Importing this imports no Triton: it is optional."""

import importlib.util
import logging
import os

import torch
from torch import Tensor

from core.engine.kernels.grouped_torch import TORCH_LORA
from core.engine.kernels.places import GroupedLora, Places

__all__ = ["GroupedLora", "Places", "available", "choose_kernel", "open_kernel"]

LOG = logging.getLogger(__name__)
# Share of the largest value by which a trial may differ: the sums are taken in another order.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def available(device: torch.device) -> bool:
    """Whether Triton can be tried on this device: on a GPU, or anywhere under its interpreter (TRITON_INTERPRET=1)."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def choose_kernel(wanted: GroupedLora | bool, device: torch.device, dtype: torch.dtype) -> GroupedLora | None:
    """What an engine on `device` uses: the one it was given, or on a GPU the Triton kernels unless told False."""
    if not isinstance(wanted, bool):
        return wanted
    return open_kernel(device, dtype) if wanted and device.type == "cuda" else None


def open_kernel(device: torch.device, dtype: torch.dtype) -> GroupedLora | None:
    """The Triton kernels for adapters of `dtype`, or None where torch has to do it.

    They are compiled and compared with torch on a small batch first: a GPU, driver or compiler that they do not run
    on costs their speed and nothing else.
    """
    if not available(device) or dtype not in TOLERANCE:
        return None
    try:
        from core.engine.kernels.grouped_lora import TRITON_LORA

        worst = max(_trial(TRITON_LORA, device, dtype, *shape) for shape in ((1, 6), (20, 24)))
    except Exception as error:  # noqa: BLE001 - a compiler can fail in any way, and torch is always there
        LOG.warning("The grouped LoRA kernel does not run on %s; torch is used instead: %s", device, error)
        return None
    if not worst <= TOLERANCE[dtype]:
        LOG.warning("The grouped LoRA kernel is off by %.1e on %s; torch is used instead", worst, device)
        return None
    LOG.info("The grouped LoRA kernel runs on %s", device)
    return TRITON_LORA


def _trial(kernel: GroupedLora, device: torch.device, dtype: torch.dtype, length: int, columns: int) -> float:
    """Largest difference from torch, as a share of the largest value, for three rows of which two are mixtures."""
    rows, size, rank, out_size = 3, 136, 4, 144
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(device, dtype)

    x, out, scale = draw(rows, length, size), draw(rows, length, out_size), draw(5, 1, columns)
    slab = draw(4, columns * size + rank * out_size)
    places = Places.of(slab, lines=[0, 1, 1, 3, 3], rows=[2, 0, 2, 0, 2])
    outs = []
    for way in (kernel, TORCH_LORA):
        outs.append(out.clone())
        low = way.shrink(x, places, 0, columns, scale)
        way.expand_add(low, places, columns * size, 1, rank, outs[-1])
    found, right = (value.double() for value in outs)
    return float((found - right).abs().max() / right.abs().max())
