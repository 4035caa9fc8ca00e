"""Attention in float32 inside training in bfloat16, for CPUs.

On a CPU the backward pass of attention takes more than twice as long in bfloat16 as in float32 (29 ms against 13 ms for
8 rows of 190 tokens and 8 heads of 32 on one core with AVX512-BF16), while matrix products are faster in bfloat16. So
only attention is done in float32; the numbers get better, too.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_float32"


def attend_in_float32(model: Any) -> None:
    """Make a model that uses torch's scaled dot product attention use it in float32, autocast or not."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    with torch.autocast(query.device.type, enabled=False):
        output, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return output.to(query.dtype), None
