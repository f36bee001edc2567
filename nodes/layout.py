"""The tensors of a FLUX ControlNet or transformer in diffusers' layout, stated in full, so that loading can be strict.

The host converts such files itself, but without noticing what is missing: a part of a joined matrix stays unset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..infusenet.errors import WeightsError
from ..infusenet.layouts import Shapes, count_blocks
from ..infusenet.weights import misfit

_TIME_CHANNELS = 256
_MLP = 4

Expected = dict[str, tuple[int, ...]]


def flux_config(shapes: Shapes, path: object, what: str) -> dict[str, Any]:
    """Sizes of a FLUX network in diffusers' layout, as the host's FluxParams names them.

    Args:
        shapes: tensors, or a file's header, by name.
        path: named in the error.
        what: what was expected, for the error.

    Raises:
        WeightsError: the names and shapes are another model's.
    """
    try:
        hidden, channels = shapes["x_embedder.weight"].shape
        double, single = (count_blocks(shapes, f"{k}transformer_blocks.") for k in ("", "single_"))
        (head,) = shapes[f"{'' if double else 'single_'}transformer_blocks.0.attn.norm_q.weight"].shape
        return {
            "image_model": "flux",
            "in_channels": channels // 4,
            "out_channels": channels // 4,
            "vec_in_dim": shapes["time_text_embed.text_embedder.linear_1.weight"].shape[1],
            "context_in_dim": shapes["context_embedder.weight"].shape[1],
            "hidden_size": hidden,
            "mlp_ratio": float(_MLP),
            "num_heads": hidden // head,
            "depth": double,
            "depth_single_blocks": single,
            "axes_dim": _stated_axes(path) or rope_axes(head),
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "guidance_embed": any(key.startswith("time_text_embed.guidance_embedder.") for key in shapes),
        }
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise WeightsError(misfit(shapes, path, what, error, f"{what} in diffusers' layout")) from error


def _stated_axes(path: object) -> list[int] | None:
    """The axes that a diffusers folder's config.json states, if there is one."""
    file = Path(str(path)) / "config.json"
    if not file.is_file():
        return None
    try:
        axes = json.loads(file.read_text(encoding="utf-8")).get("axes_dims_rope")
        return None if axes is None else [int(axis) for axis in axes]
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{file} cannot be read ({error}). Download the folder again.") from error


def rope_axes(head: int) -> list[int]:
    """How FLUX splits a head's dimensions over (text, row, column): an eighth, and halves of the rest, all even."""
    first = next(n for n in range(2, head, 2) if 8 * n >= head and (head - n) % 4 == 0)
    return [first, (head - first) // 2, (head - first) // 2]


def expected_tensors(config: Mapping[str, Any], *, controlnet: bool) -> Expected:
    """Names and shapes of all tensors that a FLUX network of these sizes has.

    Args:
        config: as `flux_config` gives it.
        controlnet: the ControlNet's own layers instead of the backbone's last ones.
    """
    hidden, channels = config["hidden_size"], config["in_channels"] * 4
    head = hidden // config["num_heads"]
    out: Expected = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        out[f"{name}.weight"] = (outputs, inputs)
        out[f"{name}.bias"] = (outputs,)

    linear("x_embedder", channels, hidden)
    linear("context_embedder", config["context_in_dim"], hidden)
    embedders = {"timestep": _TIME_CHANNELS, "text": config["vec_in_dim"]}
    if config["guidance_embed"]:
        embedders["guidance"] = _TIME_CHANNELS
    for name, inputs in embedders.items():
        linear(f"time_text_embed.{name}_embedder.linear_1", inputs, hidden)
        linear(f"time_text_embed.{name}_embedder.linear_2", hidden, hidden)
    for index in range(config["depth"]):
        _double_block(f"transformer_blocks.{index}", hidden, head, linear, out)
    for index in range(config["depth_single_blocks"]):
        _single_block(f"single_transformer_blocks.{index}", hidden, head, linear, out)
    if controlnet:
        linear("controlnet_x_embedder", channels, hidden)
        for index in range(config["depth"]):
            linear(f"controlnet_blocks.{index}", hidden, hidden)
        for index in range(config["depth_single_blocks"]):
            linear(f"controlnet_single_blocks.{index}", hidden, hidden)
    else:
        linear("norm_out.linear", hidden, 2 * hidden)
        linear("proj_out", hidden, config["out_channels"] * 4)
    return out


def _double_block(name: str, hidden: int, head: int, linear: Any, out: Expected) -> None:
    for part in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        linear(f"{name}.attn.{part}", hidden, hidden)
    for part in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
        out[f"{name}.attn.{part}.weight"] = (head,)
    for stream in ("", "_context"):
        linear(f"{name}.norm1{stream}.linear", hidden, 6 * hidden)
        linear(f"{name}.ff{stream}.net.0.proj", hidden, _MLP * hidden)
        linear(f"{name}.ff{stream}.net.2", _MLP * hidden, hidden)


def _single_block(name: str, hidden: int, head: int, linear: Any, out: Expected) -> None:
    for part in ("attn.to_q", "attn.to_k", "attn.to_v"):
        linear(f"{name}.{part}", hidden, hidden)
    for part in ("norm_q", "norm_k"):
        out[f"{name}.attn.{part}.weight"] = (head,)
    linear(f"{name}.norm.linear", hidden, 3 * hidden)
    linear(f"{name}.proj_mlp", hidden, _MLP * hidden)
    linear(f"{name}.proj_out", (1 + _MLP) * hidden, hidden)
