"""The picture of a batch that came out most like the person: as picture, latent, index and number."""

from __future__ import annotations

import logging
import math
from typing import Any

import comfy.model_management
import torch
from comfy_execution.graph import ExecutionBlocker
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.probe import Trace, batch
from ..convert import with_samples
from .decoders import flat, full_decoder, is_tiny
from .run import Run
from .watch import Watch

log = logging.getLogger(__name__)

_NO_VAE = (
    "Identity Drift Report has no VAE to decode the best picture with. Connect a VAE to vae, or the pictures to image."
)


def best_of_batch(
    watch: Watch, run: Run, trace: Trace, samples: dict[str, Any] | None, image: Tensor | None, vae: Any
) -> tuple[Any, dict[str, Any], int, float]:
    """The best picture.

    Args:
        watch: the probe's.
        run: the run that is reported.
        trace: its record.
        samples: the LATENT given to the report.
        image: the IMAGE [B, H, W, 3] given to it; the picture is taken from it where it holds the whole batch.
        vae: decodes the picture otherwise; without one the probe's.

    Returns:
        IMAGE [1, H, W, 3] (what stops the nodes behind it with a word, where there is nothing to decode it with),
        LATENT, place in the batch from 0 (-1 = nothing could be measured), likeness (cosine, of the finished picture,
        else its peak; NaN = undefined).
    """
    best = batch.best_of(batch.figures_of(trace))
    index = -1 if best is None else best.picture - 1
    place = max(index, 0)
    value = None if best is None else best.peak if best.final is None else best.final
    if isinstance(image, Tensor) and image.shape[0] == trace.batch:
        picture: Any = image[place : place + 1]
    else:
        picture = _decoded(watch, run, vae, place)
    return picture, _latent(run, samples, place), index, math.nan if value is None else value


def picked(
    watch: Watch, run: Run, trace: Trace, samples: dict[str, Any] | None, vae: Any, step: int
) -> tuple[Any, dict[str, Any], int, float]:
    """The picture most like the person in one step; arguments and results as `best_of_batch`.

    Raises:
        SettingsError: nothing is kept of this step.
    """
    latents = _kept(run, step)
    record = next((one for one in trace.records if one.step == step), None)
    values = {} if record is None else {i: value for i, value in enumerate(record.similarity) if value is not None}
    index = max(values, key=values.__getitem__, default=-1)
    place = max(index, 0)
    latent = _latent(run, samples, place) | {"samples": run.latents(latents[place : place + 1])}
    return _decoded(watch, run, vae, place, latents), latent, index, values.get(index, math.nan)


def latents_of(run: Run, step: int, samples: dict[str, Any] | None) -> dict[str, Any]:
    """A step's predictions of the whole batch, as a LATENT.

    Raises:
        SettingsError: nothing is kept of this step.
    """
    return with_samples(samples or {}, run.latents(_kept(run, step)))


def _kept(run: Run, step: int) -> Tensor:
    kept = run.recorder.kept
    if step in kept:
        return kept[step]
    if not kept:
        raise SettingsError("The steps of this run are not kept any more. Queue it again, or set step to 0.")
    known = ", ".join(map(str, sorted(kept)[:12])) + (", ..." if len(kept) > 12 else "")
    raise SettingsError(f"Step {step} of this run is not kept. Set step to one of {known}; 0 is the best step.")


def _decoded(watch: Watch, run: Run, vae: Any, place: int, latents: Tensor | None = None) -> Any:
    """One picture; where it cannot be decoded, a word for the nodes behind it: the report itself is not lost."""
    try:
        picture = pictures_of(watch, run, vae, place, latents)
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:
        log.warning("The best picture could not be decoded: %s", error, exc_info=True)
        return ExecutionBlocker(f"The VAE could not decode the best picture: {error}")
    return ExecutionBlocker(_NO_VAE) if picture is None else picture


def pictures_of(
    watch: Watch, run: Run, vae: Any, place: int | None = None, latents: Tensor | None = None
) -> Tensor | None:
    """What a run ended with, decoded: IMAGE [B, H, W, 3], or one picture of it; None without a VAE or a result.

    Args:
        latents: of the whole batch, instead of what the run ended with.
    """
    latents = run.final if latents is None else latents
    known = next((one for one in (vae, watch.vae) if one is not None and not is_tiny(one)), vae or watch.vae)
    if known is None or latents is None:
        return None
    latents = latents if place is None else latents[place : place + 1]
    return full_decoder(known).decode(flat(latents)).movedim(1, -1).float().cpu().clamp(0, 1)


def _latent(run: Run, samples: dict[str, Any] | None, place: int) -> dict[str, Any]:
    """One picture of the run's result as a LATENT, with its own part of what belongs to each picture of `samples`."""
    if run.final is None:
        return {"samples": torch.zeros(1, 4, 8, 8)}
    given = {} if samples is None else samples
    count = run.final.shape[0]
    kept = {key: value for key, value in given.items() if key not in ("noise_mask", "batch_index")}
    mask, index = given.get("noise_mask"), given.get("batch_index")
    if isinstance(mask, Tensor) and mask.shape[0] in (1, count):
        kept["noise_mask"] = mask if mask.shape[0] == 1 else mask[place : place + 1]
    if isinstance(index, list) and len(index) == count:
        kept["batch_index"] = index[place : place + 1]
    return with_samples(kept, run.final[place : place + 1])
