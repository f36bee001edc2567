"""FLUX networks in diffusers' layout: their config, read off the weights, and all tensors that they have.

Loading can so be strict before anything is allocated. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import WeightsError, raise_if_in_want
from ..weights import Shapes, depth_of, misfit

_TIME_CHANNELS = 256
_MLP = 4  # a block's inner width over its outer

Expected = dict[str, tuple[int, ...]]
_Linear = Callable[[str, int, int], None]


def read_config(folder: Path) -> dict[str, Any]:
    """A diffusers folder's config.json.

    Raises:
        WeightsError: it is missing or not JSON.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {key: value for key, value in config.items() if not key.startswith("_")}
    except (OSError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise_if_in_want(error, folder)
        raise WeightsError(
            f"Expected a diffusers model folder with config.json at {folder} ({error}). Check the path."
        ) from error


def flux_config(shapes: Shapes, path: object, what: str) -> dict[str, Any]:
    """The config of a FLUX transformer or ControlNet, read off its weights' names (diffusers' layout) and shapes.

    Args:
        shapes: tensors, or what a file's header says of them, by name.
        path: named in the error.
        what: what they should be, for the error.

    Returns:
        Arguments of diffusers' `FluxTransformer2DModel` and `FluxControlNetModel`.

    Raises:
        WeightsError: these are the weights of something else.
    """
    try:
        double, single = (depth_of(shapes, f"{stem}.") for stem in ("transformer_blocks", "single_transformer_blocks"))
        block = "transformer_blocks" if double else "single_transformer_blocks"
        inner, channels = shapes["x_embedder.weight"].shape
        (head,) = shapes[f"{block}.0.attn.norm_q.weight"].shape
        return {
            "in_channels": channels,
            "num_layers": double,
            "num_single_layers": single,
            "num_attention_heads": inner // head,
            "attention_head_dim": head,
            "joint_attention_dim": shapes["context_embedder.weight"].shape[1],
            "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"].shape[1],
            "guidance_embeds": any(key.startswith("time_text_embed.guidance_embedder.") for key in shapes),
            "axes_dims_rope": rope_axes(head),
        }
    except (KeyError, ValueError, IndexError, StopIteration, ZeroDivisionError) as error:
        raise WeightsError(misfit(shapes, path, what, error, f"{what} in diffusers' layout")) from error


def disagreements(config: Mapping[str, Any], shapes: Shapes) -> list[str]:
    """What a FLUX network's config says otherwise than its weights; nothing where these are not whole."""
    try:
        sizes = flux_config(shapes, "", "")
    except WeightsError:  # the check of all names and shapes says what is missing
        return []
    return [
        f"{name} {config[name]!r:.40}, the weights {size}"
        for name, size in sizes.items()
        if name in config and config[name] != size
    ]


def rope_axes(head_dim: int) -> list[int]:
    """How FLUX splits a head's dimensions over (text, row, column): an eighth, and halves of the rest, all even."""
    first = next(n for n in range(2, head_dim, 2) if 8 * n >= head_dim and (head_dim - n) % 4 == 0)
    return [first, (head_dim - first) // 2, (head_dim - first) // 2]


def expected_tensors(config: Mapping[str, Any], *, controlnet: bool) -> Expected:
    """Names and shapes of all tensors that a FLUX network of these sizes has.

    Args:
        config: as `flux_config` gives it.
        controlnet: the ControlNet's own layers instead of the backbone's last ones.

    Returns:
        Shapes by name.
    """
    head, channels = config["attention_head_dim"], config["in_channels"]
    hidden = head * config["num_attention_heads"]
    out: Expected = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        out[f"{name}.weight"] = (outputs, inputs)
        out[f"{name}.bias"] = (outputs,)

    linear("x_embedder", channels, hidden)
    linear("context_embedder", config["joint_attention_dim"], hidden)
    embedders = {"timestep": _TIME_CHANNELS, "text": config["pooled_projection_dim"]}
    if config["guidance_embeds"]:
        embedders["guidance"] = _TIME_CHANNELS
    for name, inputs in embedders.items():
        linear(f"time_text_embed.{name}_embedder.linear_1", inputs, hidden)
        linear(f"time_text_embed.{name}_embedder.linear_2", hidden, hidden)
    for index in range(config["num_layers"]):
        _double_block(f"transformer_blocks.{index}", hidden, head, linear, out)
    for index in range(config["num_single_layers"]):
        _single_block(f"single_transformer_blocks.{index}", hidden, head, linear, out)
    if controlnet:
        linear("controlnet_x_embedder", channels, hidden)
        for index in range(config["num_layers"]):
            linear(f"controlnet_blocks.{index}", hidden, hidden)
        for index in range(config["num_single_layers"]):
            linear(f"controlnet_single_blocks.{index}", hidden, hidden)
    else:
        linear("norm_out.linear", hidden, 2 * hidden)
        linear("proj_out", hidden, config.get("out_channels") or channels)
    return out


def _double_block(name: str, hidden: int, head: int, linear: _Linear, out: Expected) -> None:
    for part in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        linear(f"{name}.attn.{part}", hidden, hidden)
    for part in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
        out[f"{name}.attn.{part}.weight"] = (head,)
    for stream in ("", "_context"):
        linear(f"{name}.norm1{stream}.linear", hidden, 6 * hidden)
        linear(f"{name}.ff{stream}.net.0.proj", hidden, _MLP * hidden)
        linear(f"{name}.ff{stream}.net.2", _MLP * hidden, hidden)


def _single_block(name: str, hidden: int, head: int, linear: _Linear, out: Expected) -> None:
    for part in ("attn.to_q", "attn.to_k", "attn.to_v"):
        linear(f"{name}.{part}", hidden, hidden)
    for part in ("norm_q", "norm_k"):
        out[f"{name}.attn.{part}.weight"] = (head,)
    linear(f"{name}.norm.linear", hidden, 3 * hidden)
    linear(f"{name}.proj_mlp", hidden, _MLP * hidden)
    linear(f"{name}.proj_out", (1 + _MLP) * hidden, hidden)
