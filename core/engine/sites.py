"""Where adapters can act: the linear layers of a base model, by name and in the order of the forward pass."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

# Projections of one block that read the same input: their A matrices are multiplied in one go.
_SHARED_INPUTS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# Rows are routed away from their batch position inside experts, so an adapter cannot follow its row there.
_ROUTED = re.compile(r"\.(experts|shared_expert|shared_experts|router)\.")
_BLOCK = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Site:
    """One linear layer. Sites with the same `group` read the same input."""

    index: int
    name: str
    in_features: int
    out_features: int
    group: int


def find_linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer an adapter may name, quantized ones included, in the order of the modules."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not _ROUTED.search(f".{name}."):
            yield name, module


def block_of(name: str) -> int | None:
    """The block that a layer belongs to: the index in its path (model.layers.3.mlp.up_proj → 3). None outside."""
    match = _BLOCK.search(name)
    return int(match[1]) if match else None


def number_sites(linears: list[tuple[str, nn.Linear]]) -> tuple[Site, ...]:
    """Sites with their shared-input groups."""
    groups: dict[tuple[str, object], int] = {}
    sites = []
    for index, (name, linear) in enumerate(linears):
        parent, _, leaf = name.rpartition(".")
        shared = next((names for names in _SHARED_INPUTS if leaf in names), leaf)
        group = groups.setdefault((parent, shared), len(groups))
        sites.append(Site(index, name, linear.in_features, linear.out_features, group))
    return tuple(sites)
