"""Forward passes of the real classes without what a CUDA graph cannot capture; tested equal to the classes' own.

Position encodings are computed once; the text encoders' mask code, which makes tensors on the CPU, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Residuals = tuple[Sequence[Tensor], Sequence[Tensor]]
_rotary: dict[tuple[int, int, str], tuple[Tensor, Tensor]] = {}


def image_ids(side: int) -> Tensor:
    """(0, row, column) of each packed token of a square picture: [side * side, 3]."""
    rows = torch.arange(side)
    grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij"), -1).reshape(-1, 2).float()
    return torch.cat([torch.zeros(side * side, 1), grid], 1)


def _positions(model: Any, text: int, image: int, device: torch.device) -> tuple[Tensor, Tensor]:
    key = (text, image, str(device))
    if key not in _rotary:
        ids = torch.cat([torch.zeros(text, 3), image_ids(math.isqrt(image))])
        cos, sin = model.pos_embed(ids)
        _rotary[key] = (cos.float().to(device), sin.float().to(device))
    return _rotary[key]


def _modulation(model: Any, t: Tensor, guidance: Tensor | None, pooled: Tensor) -> Tensor:
    embed = model.time_text_embed
    out = embed.timestep_embedder(embed.time_proj((t * 1000).float()))
    if guidance is not None:
        out = out + embed.guidance_embedder(embed.time_proj((guidance * 1000).float()))
    total: Tensor = out + embed.text_embedder(pooled)
    return total


def flux(
    model: Any,
    x: Tensor,
    text: Tensor,
    pooled: Tensor,
    t: Tensor,
    guidance: Tensor | None = None,
    residuals: Residuals | None = None,
) -> Tensor:
    """FluxTransformer2DModel: packed latents [N,L,64] at times t [N] in 0..1 -> velocity [N,L,64]."""
    h, e = model.x_embedder(x), model.context_embedder(text)
    temb = _modulation(model, t, guidance, pooled)
    rotary = _positions(model, text.shape[1], x.shape[1], x.device)
    for blocks, extra in (
        (model.transformer_blocks, residuals[0] if residuals else None),
        (model.single_transformer_blocks, residuals[1] if residuals else None),
    ):
        for i, block in enumerate(blocks):
            e, h = block(hidden_states=h, encoder_hidden_states=e, temb=temb, image_rotary_emb=rotary)
            if extra is not None:
                h = h + extra[i // math.ceil(len(blocks) / len(extra))]
    out: Tensor = model.proj_out(model.norm_out(h, temb))
    return out.float()


def infusenet(model: Any, x: Tensor, condition: Tensor, tokens: Tensor, pooled: Tensor, t: Tensor) -> Residuals:
    """FluxControlNetModel with identity tokens [N,8,dim] as its text and guidance 1: residuals of its blocks."""
    h = model.x_embedder(x) + model.controlnet_x_embedder(condition)
    e = model.context_embedder(tokens)
    temb = _modulation(model, t, torch.ones_like(t), pooled)
    rotary = _positions(model, tokens.shape[1], x.shape[1], x.device)
    double: list[Tensor] = []
    single: list[Tensor] = []
    for blocks, outputs, kept in (
        (model.transformer_blocks, model.controlnet_blocks, double),
        (model.single_transformer_blocks, model.controlnet_single_blocks, single),
    ):
        for block, output in zip(blocks, outputs, strict=True):
            e, h = block(hidden_states=h, encoder_hidden_states=e, temb=temb, image_rotary_emb=rotary)
            kept.append(output(h))
    return double, single


_buckets: dict[tuple[int, str], Tensor] = {}


def t5(model: Any, ids: Tensor) -> Tensor:
    """T5EncoderModel without a mask: token ids [N,T] -> [N,T,width]."""
    count, length = ids.shape
    first = model.encoder.block[0].layer[0].SelfAttention
    key = (length, str(ids.device))
    if key not in _buckets:
        at = torch.arange(length)
        _buckets[key] = first._relative_position_bucket(
            at[None, :] - at[:, None],
            bidirectional=True,
            num_buckets=first.relative_attention_num_buckets,
            max_distance=first.relative_attention_max_distance,
        ).to(ids.device)
    bias = first.relative_attention_bias(_buckets[key]).permute(2, 0, 1)[None]
    h = model.shared(ids)
    for block in model.encoder.block:
        attention, forward = block.layer
        x = attention.layer_norm(h)
        a = attention.SelfAttention
        q, k, v = (f(x).view(count, length, a.n_heads, -1).transpose(1, 2) for f in (a.q, a.k, a.v))
        weights = torch.softmax((q @ k.transpose(-1, -2)).float() + bias, -1).to(v.dtype)
        h = h + a.o((weights @ v).transpose(1, 2).reshape(count, length, -1))
        h = h + forward.DenseReluDense(forward.layer_norm(h))
    out: Tensor = model.encoder.final_layer_norm(h)
    return out


def clip(model: Any, ids: Tensor, end: int) -> Tensor:
    """CLIPTextModel's pooled output: token ids [N,T] -> [N,width], read at the first `end` token."""
    return clip_states(model, ids, end)[1]


def clip_states(model: Any, ids: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """What enters CLIP's last layer [N,T,width], as SDXL reads its texts, and the pooled output [N,width]."""
    model = getattr(model, "text_model", model)
    count, length = ids.shape
    h = model.embeddings.token_embedding(ids) + model.embeddings.position_embedding.weight[:length]
    for layer in model.encoder.layers:
        before = h
        a = layer.self_attn
        x = layer.layer_norm1(h)
        q, k, v = (f(x).view(count, length, a.num_heads, -1).transpose(1, 2) for f in (a.q_proj, a.k_proj, a.v_proj))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + a.out_proj(mixed.transpose(1, 2).reshape(count, length, -1))
        h = h + layer.mlp(layer.layer_norm2(h))
    h = model.final_layer_norm(h)
    return before, h[torch.arange(count, device=h.device), (ids == end).int().argmax(-1)]


def compile_blocks(*models: Any) -> None:
    """Compile each transformer block on its own (fused element-wise work); the graph capture comes afterwards."""
    for model in models:
        for block in (*model.transformer_blocks, *model.single_transformer_blocks):
            block.compile(dynamic=False)
