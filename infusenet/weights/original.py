"""FLUX transformers in the original layout (flux1-dev.safetensors and its like), renamed to diffusers' layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .layouts import PREFIXES

_MLP_RATIO = 4

_OUTER = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_SINGLE = {
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
    "linear2": "proj_out",
}
_FUSED = {  # one matrix there, several here
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
_BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


def is_original(keys: Mapping[str, object]) -> bool:
    """Whether these are the names of a FLUX transformer in the original layout, with or without a prefix."""
    return any("double_blocks." in key or re.search(r"(^|\.)single_blocks\.", key) for key in keys)


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a FLUX transformer's tensors from the original to diffusers' layout.

    Args:
        state: tensors by original name. Of a checkpoint that holds more (names with `model.diffusion_model.` and
            others) the transformer alone is taken. Unknown names are kept, for a check to list.

    Returns:
        Tensors by diffusers' name; mostly views.
    """
    prefix = next((p for p in PREFIXES if any(key.startswith(f"{p}double_blocks.") for key in state)), "")
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith(prefix):
            renamed.update(_rename(key[len(prefix) :], tensor))
    return renamed


def _rename(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    stem, _, kind = key.rpartition(".")
    kind = "weight" if kind == "scale" else kind  # norms
    block = _BLOCK.fullmatch(stem)
    if block is None:
        if stem == "final_layer.adaLN_modulation.1":  # (shift, scale) there, (scale, shift) here
            tensor = torch.cat(tensor.chunk(2)[::-1])
        yield (f"{_OUTER[stem]}.{kind}" if stem in _OUTER else key), tensor
        return
    side, number, inner = block.groups()
    head = f"transformer_blocks.{number}" if side == "double" else f"single_transformer_blocks.{number}"
    if inner in _FUSED:
        parts = _FUSED[inner]
        width = tensor.shape[0] // (3 if len(parts) == 3 else 3 + _MLP_RATIO)
        yield from zip((f"{head}.{part}.{kind}" for part in parts), _split(tensor, width), strict=True)
    else:
        table = _DOUBLE if side == "double" else _SINGLE
        yield (f"{head}.{table[inner]}.{kind}" if inner in table else key), tensor


def _split(tensor: Tensor, width: int) -> tuple[Tensor, ...]:
    rest = tensor.shape[0] - 3 * width
    return tensor.split([width] * 3 + ([rest] if rest else []))
