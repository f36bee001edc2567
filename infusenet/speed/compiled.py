"""FLUX's and InfuseNet's blocks and the VAE's decoder, compiled by torch, in 16 or 8 bits.

The blocks of a network are alike, so that each kind is compiled once and serves all of them. torch keeps what it has
compiled by code object, and InfuseNet's blocks are of the backbone's classes: one code for both would mix their entries
and soon reach the limit beyond which torch compiles no more. So each network's blocks get code of their own.
"""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import nn

from ..errors import PackageError, SettingsError, pip_command
from .fp8 import check_card, to_fp8

log = logging.getLogger(__name__)

Speed = Literal["compile", "fp8"]
SPEEDS: tuple[Speed, ...] = get_args(Speed)
BACKEND = "inductor"


def speed_up(pipeline: Any, speed: Speed, device: torch.device) -> None:
    """Compile a FLUX pipeline's networks, with the blocks in 8 bits if asked for. Once: it cannot be taken back.

    Args:
        pipeline: with `transformer`, and `vae` and `controlnet` or None, on their device.
        speed: "compile", or "fp8": compiled too, with the blocks' weights and products in 8 bits.
        device: where the pipeline computes.

    Raises:
        SettingsError: another word, networks that are no FLUX, or a card that cannot multiply in 8 bits.
        PackageError: torch has nothing to compile with here.
    """
    check_speed(speed, device)
    found = [getattr(pipeline, name, None) for name in ("transformer", "controlnet")]
    networks = [network for network in found if network is not None] or [pipeline.unet]  # which is refused in words
    for network in networks:
        blocks = blocks_of(network)
        if speed == "fp8":
            for block in blocks:
                to_fp8(block)
        compile_alike(blocks)
    if pipeline.vae is not None:
        compile_alike([pipeline.vae.decoder])
    log.info("Compiled for speed: the first picture of each size and text length takes up to a few minutes longer.")


def check_speed(speed: str, device: torch.device) -> None:
    """Raise SettingsError unless this way is known and the device can go it."""
    if speed not in SPEEDS:
        raise SettingsError(f"Expected speed from {', '.join(SPEEDS)}, or None, got {speed!r}.")
    check_compiler(device)
    if speed == "fp8":
        check_card(device)


def check_compiler(device: torch.device) -> None:
    """Raise PackageError if a card's programs cannot be compiled here: torch writes them for Triton."""
    if device.type == "cuda" and find_spec("triton") is None:
        package = "triton-windows" if sys.platform == "win32" else "triton"
        raise PackageError(
            f"Compiling needs the package {package}. Run: {pip_command('install', package)}, or turn compiling off."
        )


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a FLUX transformer or ControlNet.

    Raises:
        SettingsError: it has none by their names.
    """
    names = ("transformer_blocks", "single_transformer_blocks")
    blocks = [block for name in names for block in getattr(network, name, ())]
    if not blocks:
        raise SettingsError(f"speed= is for FLUX and InfuseNet, not for {type(network).__name__}. Leave it out.")
    return blocks


def compile_alike(modules: Iterable[nn.Module]) -> None:
    """Compile the forward of modules; those of one class share one code, which nobody else has."""
    compiled: dict[type, Any] = {}
    for module in modules:
        kind = type(module)
        if kind not in compiled:
            compiled[kind] = torch.compile(_own_code(kind.forward), backend=BACKEND)
        # hooks on the module stay outside; a method, so that a deep copy of the module is its own
        module.forward = types.MethodType(compiled[kind], module)


def _own_code(function: Any) -> types.FunctionType:
    """The same function with a code object of its own."""
    code = function.__code__.replace(co_name=f"{function.__code__.co_name}_alike")
    own = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    own.__kwdefaults__, own.__wrapped__ = function.__kwdefaults__, function  # type: ignore[attr-defined]
    return own
