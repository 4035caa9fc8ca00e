"""Muon in float32, for processors on which torch's own, in bfloat16, is many times slower than the model itself."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Coefficients of the quintic iteration, and its length: Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Float32Muon(torch.optim.Optimizer):
    """The same step as torch.optim.Muon (Nesterov momentum, orthogonalized, decoupled weight decay) in float32.

    Parameters are matrices. States have the same names, so that a checkpoint of either goes on with the other.
    """

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, momentum = self.state[parameter], group["momentum"]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                update = orthogonalize(parameter.grad.lerp(buffer, momentum))
                rows, columns = parameter.shape
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Nearly U·Vᵀ of the matrix's singular value decomposition: its singular values go to 0.7 to 1.2."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=B, alpha=C), wide, beta=A)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
