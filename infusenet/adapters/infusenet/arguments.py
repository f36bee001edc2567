"""What a pipeline call is given, checked and brought into shape: sizes, batches, control images."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...backbones import BackboneSpec
from ...errors import SettingsError
from ...sampling import PIXELS_PER_TOKEN, floor_size

log = logging.getLogger(__name__)


def picture_size(control_image: Any, width: int | None, height: int | None, spec: BackboneSpec) -> tuple[int, int]:
    """The size to sample at: as asked for, else that of a control image in tensor form, else the backbone's own.

    Args:
        control_image: what the call was given.
        width: pixels, or None.
        height: pixels, or None.
        spec: the backbone.

    Returns:
        (width, height), floored to multiples of 16 with a notice in the log.

    Raises:
        SettingsError: a side is shorter than 16 pixels.
    """
    if width is None and height is None and isinstance(control_image, Tensor) and control_image.is_floating_point():
        height, width = control_image.shape[-2:]
    asked = (spec.width if width is None else width, spec.height if height is None else height)
    size = floor_size(*asked)
    if size != asked:
        log.warning("The size %dx%d was changed to %dx%d because FLUX needs multiples of 16 pixels.", *asked, *size)
    return size


def check_packed(latents: Tensor, width: int, height: int, channels: int, batch: int | None, name: str) -> Tensor:
    """Make sure that ready latents are packed and of this size.

    Args:
        latents: [batch, L, channels] is wanted, L = width/16 * height/16.
        width: pixels, divisible by 16.
        height: likewise.
        channels: the transformer's, 64.
        batch: how many are wanted, or None for any number.
        name: the argument, for the message.

    Returns:
        The same latents.

    Raises:
        SettingsError: another shape.
    """
    tokens = width // PIXELS_PER_TOKEN * (height // PIXELS_PER_TOKEN)
    if latents.ndim != 3 or tuple(latents.shape[1:]) != (tokens, channels) or batch not in (None, latents.shape[0]):
        count = "n" if batch is None else batch
        raise SettingsError(
            f"Expected {name} packed as [{count}, {tokens}, {channels}] for {width}x{height} pixels, got "
            f"{list(latents.shape)}. Pack latents of shape [n, {channels // 4}, H/8, W/8] with "
            "infusenet.sampling.pack_latents."
        )
    return latents


@dataclass(frozen=True)
class Batch:
    """How many prompts a call has, and how many pictures it makes of each."""

    prompts: int
    copies: int

    @property
    def size(self) -> int:
        """Number of pictures."""
        return self.prompts * self.copies

    def spread(self, x: Tensor, what: str) -> Tensor:
        """Give every picture its own: one serves all, one to a prompt is repeated for the prompt's pictures.

        Args:
            x: [1, ...], [prompts, ...] or [size, ...].
            what: what these are, for the message.

        Returns:
            [size, ...].

        Raises:
            SettingsError: another number of them.
        """
        if x.shape[0] == 1:
            return x.expand(self.size, *x.shape[1:])
        if x.shape[0] == self.prompts:
            return x.repeat_interleave(self.copies, dim=0)
        if x.shape[0] == self.size:
            return x
        raise SettingsError(
            f"Expected {what} for {self.prompts} prompts with {self.copies} pictures each: one in all, one per "
            f"prompt, or one per picture. Got {x.shape[0]}."
        )


def batch_of(prompt: str | list[str] | None, prompt_embeds: Tensor | None, copies: int | None) -> Batch:
    """Count prompts and pictures.

    Args:
        prompt: one or several prompts, or None where embeddings are given.
        prompt_embeds: [prompts, T, dim], or None.
        copies: pictures of each prompt; None is 1.

    Returns:
        The counts.

    Raises:
        SettingsError: there is nothing to make.
    """
    given = prompt_embeds if prompt is None else prompt
    prompts = 1 if isinstance(given, str) or given is None else len(given)
    copies = 1 if copies is None else copies
    if prompts < 1 or copies < 1:
        raise SettingsError(f"Expected at least one prompt and one picture per prompt, got {prompts} and {copies}.")
    return Batch(prompts, copies)


def single(value: float | Sequence[float]) -> float:
    """The value for our one ControlNet: a finite number, or as diffusers allows a list of one.

    Raises:
        SettingsError: several values, or not a finite number.
    """
    values: list[float] = list(value) if isinstance(value, (list, tuple)) else [value]  # type: ignore[list-item]
    if len(values) != 1 or not math.isfinite(values[0]):
        raise SettingsError(f"Expected one finite number because there is one InfuseNet, got {value}.")
    return values[0]


def control_pixels(control_image: Any, width: int, height: int, processor: Any) -> Tensor:
    """The control image's pixels.

    Args:
        control_image: None for black; PIL pictures; uint8 [H, W, 3] or [n, H, W, 3]; float arrays [H, W, 3] in 0..1; a
            list of these; or float tensors [n, 3, height, width] in -1..1, which are taken as they are.
        width: pixels, divisible by 16. Pictures and arrays are resized.
        height: likewise.
        processor: diffusers' `VaeImageProcessor` of the pipeline.

    Returns:
        float32 [n, 3, height, width] in -1..1.

    Raises:
        SettingsError: another size, range or kind.
    """
    if control_image is None:
        return torch.full((1, 3, height, width), -1.0)
    if isinstance(control_image, Tensor) and control_image.is_floating_point():
        pixels = control_image[None] if control_image.ndim == 3 else control_image
    else:
        pixels = processor.preprocess(_pictures(control_image), height=height, width=width)
    if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, height, width):
        raise SettingsError(
            f"Expected a control image [n, 3, {height}, {width}], got {list(pixels.shape)}. Pass a picture, which "
            "is resized, or a tensor of the picture's size."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -1.001 and high <= 1.001):
        raise SettingsError(
            "Expected control image pixels from 0 to 1 (array) or from -1 to 1 (tensor), got "
            f"{low:.3g}..{high:.3g}. Pass a PIL picture or a uint8 array, or rescale the values."
        )
    return pixels.contiguous()  # other strides round otherwise in convolutions


def _pictures(control_image: Any) -> Any:
    """PIL pictures in RGB, where the control image is or can be such; else what was given."""
    from PIL import Image

    if isinstance(control_image, (list, tuple)):
        return [picture for item in control_image for picture in _as_list(_pictures(item))]
    if isinstance(control_image, Tensor):
        control_image = control_image.cpu().numpy()
    if isinstance(control_image, np.ndarray) and control_image.dtype == np.uint8 and control_image.ndim in (3, 4):
        items = control_image[None] if control_image.ndim == 3 else control_image
        return [Image.fromarray(item) for item in items]
    if isinstance(control_image, Image.Image):
        return control_image.convert("RGB")
    if isinstance(control_image, np.ndarray) and np.issubdtype(control_image.dtype, np.floating):
        return control_image
    kind = getattr(control_image, "dtype", type(control_image).__name__)
    raise SettingsError(
        f"Expected a control image as a PIL picture, a uint8 array [H, W, 3], a float array or a tensor, got {kind}."
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
