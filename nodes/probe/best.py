"""The picture of a batch that came out most like the person: as picture, latent, index and number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.probe import Trace, batch
from ..convert import with_samples
from .decoders import flat, full_decoder, is_tiny
from .run import Run
from .watch import Watch

OUTPUT = 8  # of Identity Drift Report: the picture


def best_of_batch(
    watch: Watch,
    run: Run,
    trace: Trace,
    samples: dict[str, Any] | None,
    image: Tensor | None,
    vae: Any,
    wanted: bool | None,
) -> tuple[Tensor, dict[str, Any], int, float]:
    """The best picture.

    Args:
        watch: the probe's.
        run: the run that is reported.
        trace: its record.
        samples: the LATENT given to the report.
        image: the IMAGE [B, H, W, 3] given to it; the picture is taken from it where it holds the whole batch.
        vae: decodes the picture otherwise; without one the probe's.
        wanted: whether the picture is asked for; where it is not, a black one comes out. None: where it can be had.

    Returns:
        IMAGE [1, H, W, 3], LATENT, place in the batch from 0 (-1 = nothing could be measured), likeness (cosine, of the
        finished picture, else its peak; NaN = undefined).

    Raises:
        SettingsError: the picture is wanted, and there is nothing to decode it with.
    """
    best = batch.best_of(batch.figures_of(trace))
    index = -1 if best is None else best.picture - 1
    place = max(index, 0)
    value = None if best is None else best.peak if best.final is None else best.final
    latents = torch.zeros(1, 4, 8, 8) if run.final is None else run.final[place : place + 1]
    latent = with_samples({} if samples is None else samples, latents)
    likeness = math.nan if value is None else value
    if isinstance(image, Tensor) and image.shape[0] == trace.batch:
        return image[place : place + 1], latent, index, likeness
    if run.final is None or not (wanted or (wanted is None and (vae or watch.vae))):
        return torch.zeros(1, 64, 64, 3), latent, index, likeness
    return pictures_of(watch, run, vae)[place : place + 1], latent, index, likeness


def pictures_of(watch: Watch, run: Run, vae: Any) -> Tensor:
    """What a run ended with, decoded: IMAGE [B, H, W, 3].

    Raises:
        SettingsError: there is no VAE, neither here nor at the probe.
    """
    known = next((one for one in (vae, watch.vae) if one is not None and not is_tiny(one)), vae or watch.vae)
    if known is None or run.final is None:
        raise SettingsError("Connect a VAE to decode the finished picture, or the picture itself to image.")
    return full_decoder(known).decode(flat(run.final)).movedim(1, -1).float().cpu().clamp(0, 1)
