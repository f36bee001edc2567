"""Attention manipulation in diffusers: attention processors of ours on InfuseNet's blocks, for one call at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import _get_qkv_projections
from torch import Tensor

from ...guidance.joint import manipulated_attention
from ...guidance.manipulation import Manipulation


class ManipulatedAttnProcessor:
    """diffusers' `FluxAttnProcessor`, but what image tokens pay to the first `tokens` ones is changed.

    Args:
        manipulation: what it is changed to.
        step: of the run, from 0.
        tokens: how many identity tokens there are.
    """

    def __init__(self, manipulation: Manipulation, step: int, tokens: int) -> None:
        self.manipulation, self.step, self.tokens = manipulation, step, tokens

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Any:
        """As `FluxAttnProcessor`'s: [B, tokens, dim] in a single block; image and identity apart in a double one."""
        assert attention_mask is None, "FLUX's ControlNet gives none"
        query, key, value, *of_identity = _get_qkv_projections(attn, hidden_states, encoder_hidden_states)
        query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in (query, key, value))
        query, key = attn.norm_q(query), attn.norm_k(key)
        if encoder_hidden_states is not None:
            first = [x.unflatten(-1, (-1, attn.head_dim)) for x in of_identity]
            first[:2] = attn.norm_added_q(first[0]), attn.norm_added_k(first[1])
            query, key, value = (torch.cat(pair, dim=1) for pair in zip(first, (query, key, value), strict=True))
        if image_rotary_emb is not None:
            query, key = (apply_rotary_emb(x, image_rotary_emb, sequence_dim=1) for x in (query, key))
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        out = manipulated_attention(query, key, value, self.tokens, self.manipulation, self.step)
        out = out.transpose(1, 2).flatten(2, 3).to(query.dtype)
        if encoder_hidden_states is None:
            return out
        identity, image = out[:, : self.tokens], out[:, self.tokens :]
        image = attn.to_out[1](attn.to_out[0](image.contiguous()))
        return image, attn.to_add_out(identity.contiguous())


@contextmanager
def manipulating(controlnet: Any, manipulation: Manipulation | None, step: int, tokens: int) -> Iterator[None]:
    """While it lasts, InfuseNet's blocks attend by a manipulation; its own attention processors come back after it.

    Args:
        controlnet: an `InfuseNetModel`.
        manipulation: with None, a neutral one, or one that rests at the step, nothing is changed.
        step: of the run, from 0.
        tokens: how many identity tokens go in.
    """
    if manipulation is None or manipulation.neutral or not manipulation.acts(step):
        yield
        return
    before = controlnet.attn_processors
    controlnet.set_attn_processor(ManipulatedAttnProcessor(manipulation, step, tokens))
    try:
        yield
    finally:
        controlnet.set_attn_processor(before)
