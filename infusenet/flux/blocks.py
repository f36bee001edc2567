"""Where FLUX's blocks lie in a network: in diffusers' layout, or in the original one, which ComfyUI keeps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import SettingsError

Residuals = Sequence[Tensor | None] | None
"""What is added after each block, None where nothing is; None for all of it where there are none at all."""


def residual_index(block: int, n_blocks: int, n_residuals: int) -> int:
    """Which residual a block of the backbone receives: block // ceil(n_blocks / n_residuals).

    With 19 double blocks and 4 residuals: 5, 5, 5 and 4 blocks share one. Trailing residuals may stay unused.

    Args:
        block: index of the backbone's block, 0..n_blocks-1, counted apart for double and single blocks.
        n_blocks: how many such blocks the backbone has.
        n_residuals: how many residuals InfuseNet gives for them, at least 1.

    Returns:
        An index in 0..n_residuals-1.

    Raises:
        SettingsError: a count is below 1, or the block is not one of the backbone's.
    """
    if n_residuals < 1 or not 0 <= block < n_blocks:
        raise SettingsError(
            f"Expected a block from 0 to {n_blocks - 1} and at least one residual, got block {block} and "
            f"{n_residuals} residuals."
        )
    return block // math.ceil(n_blocks / n_residuals)


@dataclass(frozen=True)
class Double:
    """A double block, and the projections that the attention output of either stream goes into."""

    block: Any
    image: Any
    text: Any


@dataclass(frozen=True)
class Single:
    """A single block, and the projection that the joint attention output goes into, before the MLP's `width` on."""

    block: Any
    joint: Any
    width: int


@dataclass(frozen=True)
class Blocks:
    """A FLUX network's blocks, in order.

    Attributes:
        doubles: double blocks.
        singles: single blocks.
        image_after_double: the image stream in what a double block returns.
        image_after_single: likewise of a single block, whose first tokens may be the text's: (returned, text tokens).
        residuals: from a call's arguments by name, what is added after double and after single blocks.
    """

    doubles: tuple[Double, ...]
    singles: tuple[Single, ...]
    image_after_double: Callable[[Any], Tensor]
    image_after_single: Callable[[Any, int], Tensor]
    residuals: Callable[[dict[str, Any]], tuple[Residuals, Residuals]]


def blocks_of(network: Any) -> Blocks:
    """The blocks of a FLUX transformer or of a FLUX ControlNet, whose calls have no residuals.

    Args:
        network: diffusers' FluxTransformer2DModel or FluxControlNetModel, or ComfyUI's Flux or ControlNetFlux.

    Raises:
        TypeError: another network.
    """
    if hasattr(network, "transformer_blocks") and hasattr(network, "single_transformer_blocks"):
        return _diffusers(network)
    if hasattr(network, "double_blocks") and hasattr(network, "single_blocks"):
        return _original(network)
    raise TypeError(
        f"Expected a FLUX transformer or ControlNet from diffusers or ComfyUI, got {type(network).__name__}. Pass "
        "pipeline.transformer, or model.model.diffusion_model in ComfyUI."
    )


def arguments_of(network: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """What names the arguments of a network's calls, given by place or by name."""
    signature = inspect.signature(network.forward)
    return lambda given, named: dict(signature.bind_partial(*given, **named).arguments)


def _diffusers(network: Any) -> Blocks:
    doubles = tuple(Double(block, block.attn.to_out[0], block.attn.to_add_out) for block in network.transformer_blocks)
    singles = tuple(
        Single(block, block.proj_out, block.proj_out.out_features) for block in network.single_transformer_blocks
    )

    def residuals(arguments: dict[str, Any]) -> tuple[Residuals, Residuals]:
        double, single = (arguments.get(f"controlnet_{kind}_samples") for kind in ("block", "single_block"))
        return _shared(double, len(doubles)), _shared(single, len(singles))

    return Blocks(doubles, singles, lambda returned: returned[1], lambda returned, _: returned[1], residuals)


def _shared(residuals: Sequence[Tensor] | None, blocks: int) -> Residuals:
    """One residual a block: diffusers lets ceil(blocks / residuals) neighbours share one."""
    if not residuals:
        return None
    return [residuals[residual_index(block, blocks, len(residuals))] for block in range(blocks)]


def _original(network: Any) -> Blocks:
    doubles = tuple(Double(block, block.img_attn.proj, block.txt_attn.proj) for block in network.double_blocks)
    singles = tuple(Single(block, block.linear2, block.linear2.out_features) for block in network.single_blocks)

    def residuals(arguments: dict[str, Any]) -> tuple[Residuals, Residuals]:
        control = arguments.get("control") or {}
        return control.get("input") or None, control.get("output") or None

    return Blocks(doubles, singles, lambda returned: returned[0], lambda returned, text: returned[:, text:], residuals)
