"""A sweep in the host: what is sampled for each value, settled before the first is; then sampled and looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...infusenet.axes import Axis, Tried, Value, as_text
from ...infusenet.backbones import published
from ...infusenet.errors import NotFiniteError, SettingsError
from ...infusenet.metrics import of_every_picture
from ..convert import Picture, image_to_pictures
from ..flux.sigmas import sigmas_for
from ..flux.sizes import latent_tokens, variant_of_model
from ..infusenet.adapter import InfuseNetControl, chain
from ..infusenet.apply import Conditioning
from ..probe.decoders import Decoder

KEPT = 256 * 2**20  # bytes of latents that wait for the VAE


@dataclass(frozen=True)
class RunSettings:
    """What the axes may change of one run; None = as it is connected.

    Attributes:
        steps: 0 = the variant's own number.
        seed: of the noise.
        true_cfg: the sampler's cfg.
        guidance: as FluxGuidance sets it.
        strength: of every InfuseNet.
        start, end: shares of the run between which every InfuseNet acts.
    """

    steps: int
    seed: int
    true_cfg: float
    guidance: float | None = None
    strength: float | None = None
    start: float | None = None
    end: float | None = None

    @property
    def of_infusenet(self) -> bool:
        """Whether it changes InfuseNet."""
        return (self.strength, self.start, self.end) != (None, None, None)


@dataclass(frozen=True)
class Trial:
    """One run of the sampler. Nothing in it is shared with what the user has connected, where it was changed."""

    value: Value
    sigmas: Tensor
    seed: int
    cfg: float
    positive: Conditioning
    negative: Conditioning

    @property
    def steps(self) -> int:
        """Steps of its schedule."""
        return len(self.sigmas) - 1


def make_trials(
    axis: Axis,
    values: Sequence[Value],
    model: Any,
    positive: Conditioning,
    negative: Conditioning,
    samples: Tensor,
    settings: RunSettings,
) -> list[Trial]:
    """What is sampled for each value.

    Args:
        axis: what is swept.
        values: of the axis.
        model: the MODEL, whose schedule is meant.
        positive, negative: left as they are; copies carry what the axis changes.
        samples: the latents to be sampled, as `fitted` gives them.
        settings: of all runs, but for the axis.

    Raises:
        SettingsError: an axis of InfuseNet's without one in `positive`, latents that are not FLUX's, or no step count.
    """
    schedule = schedule_of(model, samples)
    known = replace(settings, steps=len(schedule(settings.steps)) - 1) if settings.steps or is_flux(model) else settings
    trials = []
    for value in values:
        changed = axis.applied(known, value)
        if changed.of_infusenet and not any(isinstance(control, InfuseNetControl) for control in controls(positive)):
            raise SettingsError(
                f"The axis {axis.name} needs an InfuseNet in positive, and there is none. Connect the positive "
                "output of Apply InfuseNet Identity and set its strength above 0 (at 0 it adds nothing), or choose "
                "another axis."
            )
        conditionings = [positive, negative]
        if changed.of_infusenet:
            conditionings = with_settings(conditionings, changed)
        if changed.guidance is not None:
            conditionings = [with_guidance(conditioning, changed.guidance) for conditioning in conditionings]
        trials.append(Trial(value, schedule(changed.steps), changed.seed, changed.true_cfg, *conditionings))
    return trials


def schedule_of(model: Any, samples: Tensor) -> Callable[[int], Tensor]:
    """Noise levels [steps + 1] by the number of steps: FLUX's exact ones, or the host's "simple" for other models.

    Raises:
        SettingsError: FLUX with latents of another model; when called, 0 steps for a model without a number of its own.
    """
    if is_flux(model):
        spec, tokens = published(variant_of_model(model.model)), latent_tokens(samples)
        return lambda steps: sigmas_for(spec, tokens, steps, 1.0)[0]

    def simple(steps: int) -> Tensor:
        if steps < 1:
            raise SettingsError(
                "steps = 0 means FLUX's own step count, but this MODEL is not FLUX.1. Set steps to 1 or more."
            )
        return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)

    return simple


def is_flux(model: Any) -> bool:
    """Whether a MODEL is FLUX.1."""
    try:
        variant_of_model(model.model)
    except SettingsError:
        return False
    return True


def note_on(axis: Axis, model: Any, positive: Conditioning) -> str | None:
    """What a reader of the result must know."""
    if not is_flux(model):
        return "This MODEL is not FLUX.1, so the scheduler 'simple' is used."
    ours = all(isinstance(control, InfuseNetControl) for control in controls(positive))  # others may read the guidance
    if axis.name == "guidance" and variant_of_model(model.model) == "schnell" and ours:
        return "This MODEL (schnell) ignores guidance, so every value gives the same picture."
    return None


def controls(conditioning: Conditioning) -> Iterator[Any]:
    """All ControlNets of a conditioning, those before another in a chain too."""
    for _, options in conditioning:
        yield from chain(options.get("control"))


def with_settings(conditionings: Sequence[Conditioning], settings: RunSettings) -> list[Conditioning]:
    """Conditionings with this strength and window in copies of our own controls; at strength 0 they are left out.

    Other ControlNets keep theirs; those behind one of ours in a chain are copied, to be linked anew. What shared a
    control shares its copy, so that the host still samples it as one batch.
    """
    copies: dict[Any, Any] = {None: None}

    def copied(control: Any) -> Any:
        if control not in copies:
            before = copied(control.previous_controlnet)
            ours = isinstance(control, InfuseNetControl)
            if ours and settings.strength == 0:
                copies[control] = before
            elif ours or before is not control.previous_controlnet:
                copies[control] = control.copy()
                copies[control].set_previous_controlnet(before)
                if ours:
                    change(copies[control], settings)
            else:
                copies[control] = control
        return copies[control]

    def changed(options: dict[str, Any]) -> dict[str, Any]:
        control = copied(options.get("control"))
        if control is not None:
            return {**options, "control": control}
        return {key: value for key, value in options.items() if not key.startswith("control")}

    return [[[embedding, changed(options)] for embedding, options in conditioning] for conditioning in conditionings]


def change(control: InfuseNetControl, settings: RunSettings) -> None:
    """Give a copy of an InfuseNet the strength and the window that are set."""
    if settings.strength is not None:
        control.strength = settings.strength
    start, end = control.window
    start, end = (old if new is None else new for old, new in ((start, settings.start), (end, settings.end)))
    if (start, end) != control.window:
        control.set_window((start, end))


def with_guidance(conditioning: Conditioning, guidance: float) -> Conditioning:
    """A conditioning with this guidance in every entry, as FluxGuidance sets it."""
    return [[embedding, {**options, "guidance": guidance}] for embedding, options in conditioning]


@dataclass(frozen=True)
class Looked:
    """What was seen of one trial: measured, its pictures, and its latents."""

    tried: Tried
    pictures: list[Picture]
    latents: Tensor


def run_trials(
    trials: Sequence[Trial],
    model: Any,
    samples: Tensor,
    latent: dict[str, Any],
    decoder: Decoder,
    measure: Callable[[list[Picture]], list[float | None]],
    *,
    sampler_name: str,
) -> Iterator[Looked]:
    """Sample all trials and look at what they made, in order; the model stays loaded for as many as memory allows.

    Args:
        trials: as `make_trials` gives them.
        model: the MODEL.
        samples: the latents to be sampled, as `fitted` gives them.
        latent: the LATENT they belong to, whose mask and batch indices count.
        decoder: the VAE.
        measure: similarities of pictures, None without a face.
        sampler_name: one of the host's.

    Raises:
        InterruptProcessingException: the user has cancelled, between or within trials.
    """
    progress = Progress(model, sum(trial.steps for trial in trials))
    group = max(1, KEPT // max(1, samples.numel() * samples.element_size()))
    for start in range(0, len(trials), group):
        made = []
        for trial in trials[start : start + group]:
            began = time.perf_counter()
            latents = sample(model, trial, samples, latent, sampler_name, progress)
            check_finite(latents, f"The latent sampled for the value {as_text(trial.value)}")
            made.append((trial, latents, time.perf_counter() - began))
        for trial, latents, seconds in made:
            comfy.model_management.throw_exception_if_processing_interrupted()
            pictures = image_to_pictures(decoder.decode(latents).movedim(1, -1))
            metrics = tuple(of_every_picture(np.ascontiguousarray(picture)) for picture in pictures)
            similarities = tuple(measure(pictures))
            tried = Tried(trial.value, similarities, trial.steps, trial.seed, seconds, trial.cfg, metrics)
            yield Looked(tried, pictures, latents)


class Progress:
    """The host's own previews and progress bar, over all trials together."""

    def __init__(self, model: Any, total: int) -> None:
        import latent_preview

        self._tell, self._total, self._done = latent_preview.prepare_callback(model, total), total, 0

    def of(self, steps: int) -> Callable[..., None]:
        """The sampler's callback for the next trial."""
        before, self._done = self._done, self._done + steps

        def callback(step: int, x0: Tensor, x: Tensor, _: int) -> None:
            self._tell(before + min(step, steps - 1), x0, x, self._total)
            comfy.model_management.throw_exception_if_processing_interrupted()  # newer hosts look now and then alone

        return callback


def fitted(model: Any, latent: dict[str, Any]) -> Tensor:
    """The latents in the model's shape, by the host's rule: an empty one of other channels or scale is converted.

    Raises:
        NotFiniteError: they hold NaN or infinity.
    """
    check_finite(latent["samples"], "latent_image")
    ratios = {key: latent[key] for key in latent if key.startswith("downscale_ratio")}
    return comfy.sample.fix_empty_latent_channels(model, latent["samples"], **ratios)


def check_finite(latents: Tensor, what: str) -> None:
    """Raise NotFiniteError if latents hold NaN or infinity: their picture would be black."""
    if not bool(torch.isfinite(latents).all()):
        raise NotFiniteError(
            f"{what} contains NaN or infinity, so the picture would be black. Check the node that "
            "made it, or try a smaller strength or cfg."
        )


def sample(
    model: Any, trial: Trial, samples: Tensor, latent: dict[str, Any], sampler_name: str, progress: Progress
) -> Tensor:
    """One run of the host's sampler, as its SamplerCustom does it."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    return comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(samples, trial.seed, latent.get("batch_index")),
        trial.cfg,
        comfy.samplers.sampler_object(sampler_name),
        trial.sigmas,
        trial.positive,
        trial.negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=progress.of(trial.steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=trial.seed,
    )


def reduced(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture at another size."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))
