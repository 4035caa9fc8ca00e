"""Adapters beside the linear layers of a frozen base, with strengths that can be learned or switched.

y = Wx + Σ_k g_k · s_k B_k (A_k x), g per adapter and module (static), per row of requests (by switching), or per token
(Arrow). A forward hook adds the sum; base and adapters are never written to. Where only answers are wanted, adapters
without strength cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softmax

from core.compose.additive import Factors
from core.engine.records import TokenGate
from core.registry.verify import WEIGHTS_FILE, verify_folder
from core.storage.safetensors_file import read_float32


@dataclass(frozen=True, slots=True)
class Site:
    """One module and all adapters that act on it; their ranks lie side by side."""

    index: int
    name: str
    a: Tensor  # [Σ rank, in]; scale included
    b: Tensor  # [out, Σ rank]
    owner: Tensor  # [Σ rank]: place of the adapter that each rank belongs to
    present: Tensor  # [adapters on this module]: their places
    directions: Tensor  # [adapters on this module, in]: first right singular vector of each ΔW


class AdapterMixture:
    """Hooks on a model. Without strengths the model is the base, bit by bit."""

    def __init__(
        self, model: nn.Module, adapters: Sequence[Mapping[str, Factors]], dtype: torch.dtype
    ) -> None:
        named = dict(model.named_modules())
        device = next(model.parameters()).device
        names = [name for name in named if any(name in factors for factors in adapters)]
        self.adapters = len(adapters)
        self.modules = tuple(names)
        self._sites = [
            _site(index, name, [f.get(name) for f in adapters], dtype, device)
            for index, name in enumerate(names)
        ]
        self._strengths: Tensor | None = None
        self._gate: TokenGate | None = None
        self._active: list[tuple[Tensor, Tensor, Tensor] | None] = []
        self.shares: Tensor | None = None  # summed shares of a token gate, while they are measured
        self._handles = [
            named[site.name].register_forward_hook(partial(self._add, site)) for site in self._sites
        ]

    @property
    def shape(self) -> tuple[int, int]:
        """Adapters and modules: the shape of strengths."""
        return self.adapters, len(self._sites)

    def use(self, strengths: Tensor | None, gate: TokenGate | None = None) -> None:
        """Act with these strengths (adapters, modules) from now on; None: the base alone."""
        self._strengths, self._gate, self._active = strengths, gate, []
        if strengths is None or gate is not None or strengths.requires_grad:
            return
        for site in self._sites:
            of_rank = strengths[:, site.index].to(site.a.device, site.a.dtype)[site.owner]
            kept = of_rank != 0
            self._active.append((site.a[kept], site.b[:, kept], of_rank[kept]) if bool(kept.any()) else None)

    def use_one(self, place: int) -> None:
        """Act as this adapter alone, with weight 1."""
        strengths = torch.zeros(self.shape)
        strengths[place] = 1.0
        self.use(strengths)

    def use_uniform(self) -> None:
        """Act as the mean of all adapters."""
        self.use(torch.full(self.shape, 1.0 / self.adapters))

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _add(self, site: Site, _module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if self._strengths is None:
            return None
        x = inputs[0].to(site.a.dtype)
        if self._active:
            active = self._active[site.index]
            if active is None:
                return None
            a, b, strength = active
            return output + linear(linear(x, a) * strength, b).to(output.dtype)
        strength = self._strengths[:, site.index].to(site.a.dtype)[site.owner]
        if self._gate is not None:
            strength = strength * self._token_shares(site, x, self._gate)[..., site.owner]
        return output + linear(linear(x, site.a) * strength, site.b).to(output.dtype)

    def _token_shares(self, site: Site, x: Tensor, gate: TokenGate) -> Tensor:
        """Shares [..., adapters] of each token: 0 for those that are not among its best `top_k`."""
        scores = linear(x, site.directions).abs()
        best, places = scores.topk(min(gate.top_k, scores.shape[-1]), dim=-1)
        chosen = softmax(best / gate.temperature, dim=-1)
        of_present = torch.zeros_like(scores).scatter(-1, places, chosen)
        shares = scores.new_zeros((*scores.shape[:-1], self.adapters))
        shares[..., site.present] = of_present
        if self.shares is not None:
            self.shares += shares.reshape(-1, self.adapters).sum(0).double().cpu()
        return shares


def read_factors(folder: Path) -> dict[str, Factors]:
    """Module → factors of the adapter in `folder`, which is verified first. Raises RefusedFileError."""
    weights = folder / WEIGHTS_FILE
    return {
        path: Factors(
            read_float32(weights, module.a).astype(np.float64) * module.scale,
            read_float32(weights, module.b).astype(np.float64),
        )
        for path, module in verify_folder(folder).modules.items()
    }


def _site(
    index: int, name: str, factors: Sequence[Factors | None], dtype: torch.dtype, device: torch.device
) -> Site:
    there = [(place, each) for place, each in enumerate(factors) if each is not None]

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values)).to(device, dtype)

    owners = [place for place, each in there for _ in range(each.a.shape[0])]
    return Site(
        index=index,
        name=name,
        a=tensor(np.vstack([each.a for _, each in there])),
        b=tensor(np.hstack([each.b for _, each in there])),
        owner=torch.tensor(owners, device=device),
        present=torch.tensor([place for place, _ in there], device=device),
        directions=tensor(np.stack([first_direction(each) for _, each in there])),
    )


def first_direction(factors: Factors) -> Any:
    """The first right singular vector of ΔW = b·a, without making ΔW dense: (inputs,), length 1."""
    q, r = np.linalg.qr(factors.a.T)
    _, _, right = np.linalg.svd(factors.b @ r.T, full_matrices=False)
    return q @ right[0]
