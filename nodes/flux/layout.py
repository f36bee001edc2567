"""FLUX networks in diffusers' layout, as the host names their sizes and tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.model_detection
import torch
from comfy.ldm.flux.model import FluxParams
from torch import Tensor

from ...infusenet.flux.networks import read_config

_PATCH = 4  # latents of one image token


def host_config(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Sizes as this host's FLUX takes them: newer ones ask for a field more.

    Args:
        config: as `flux_config` reads it off the weights.
        path: where they lie; the axes that a diffusers folder states beside them count.

    Raises:
        WeightsError: the folder's config.json cannot be read.
    """
    stated = read_config(path) if (path / "config.json").is_file() else {}
    channels = config["in_channels"] // _PATCH
    known = {field.name for field in dataclasses.fields(FluxParams)}
    newer = {"txt_ids_dims": []}
    return {
        "image_model": "flux",
        "in_channels": channels,
        "out_channels": channels,
        "vec_in_dim": config["pooled_projection_dim"],
        "context_in_dim": config["joint_attention_dim"],
        "hidden_size": config["num_attention_heads"] * config["attention_head_dim"],
        "mlp_ratio": 4.0,
        "num_heads": config["num_attention_heads"],
        "depth": config["num_layers"],
        "depth_single_blocks": config["num_single_layers"],
        "axes_dim": list(stated.get("axes_dims_rope") or config["axes_dims_rope"]),
        "theta": 10000,
        "patch_size": 2,
        "qkv_bias": True,
        "guidance_embed": config["guidance_embeds"],
        **{key: value for key, value in newer.items() if key in known},
    }


def to_host_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in diffusers' layout in the host's, by the host's own map. `state` is used up."""
    converted = comfy.model_detection.convert_diffusers_mmdit(state, "")
    return {**converted, **state}


def fill(network: torch.nn.Module, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Load all of a state dict in diffusers' layout into the host's network. `state` is used up.

    Args:
        network: built for weights of `dtype`.
        state: tensors of any dtype.
        dtype: what they are stored in from now on; said here since hosts that stream weights keep the file's.
    """
    named = to_host_names(state)
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in named.items()}, strict=True)
