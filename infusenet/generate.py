"""One picture from faces and a prompt: what `infusenet generate` and `infusenet demo` call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import catalogue, miniature
from .backbones import BACKBONES, BackboneSpec, get_backbone
from .errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .identity import IdentityEncoder
    from .pipeline import InfuseNetPipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The weight files of one set-up: a backbone and what carries a face into it."""

    backbone: str | Path
    infusenet: Path
    image_proj: Path
    arcface: Path
    face_pack: Path

    def names(self) -> dict[str, str]:
        """File names alone, for a picture's metadata: no folder of the user's is told."""
        return {key: Path(str(path)).name for key, path in vars(self).items()}


@dataclass(frozen=True)
class Settings:
    """What one picture is asked for. None means the backbone's own value."""

    prompt: str
    negative: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    seed: int = 0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        if not self.prompt.strip():
            raise SettingsError(
                'Expected a prompt with words in it. Say what the picture shows, as in --prompt "a portrait".'
            )
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"Expected 1 step or more, got {self.steps}. Try 4 with schnell, 28 with dev.")
        if not 0 <= self.start <= self.end <= 1:
            raise SettingsError(
                f"Expected 0 <= start <= end <= 1, got start {self.start} and end {self.end}. They are shares of the run."
            )
        if self.strength < 0:
            raise SettingsError(
                f"Expected a strength of 0 or more, got {self.strength}. 1 is what InfuseNet was trained at."
            )
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"Expected a seed between 0 and 2^63 - 1, got {self.seed}.")


@dataclass(frozen=True)
class Result:
    """A finished picture and what it was made with, as its metadata tells it."""

    picture: NDArray[np.uint8]
    made_with: dict[str, Any] = field(default_factory=dict)


def files_for(backbone: str | Path, folders: Sequence[Path], **given: Path | None) -> Files:
    """All weight files for a backbone: those given, else the miniature's for a miniature, else the best found.

    Args:
        backbone: a name of BACKBONES, a diffusers folder, or a file.
        folders: where to look, from `catalogue.search_folders`.
        given: `infusenet`, `image_proj`, `arcface`, `face_pack`, each a path or None.

    Raises:
        SettingsError: an unknown name that is no path either.
        WeightsError: a file that is needed was not found.
    """
    small = {
        "infusenet": miniature.INFUSENET,
        "image_proj": miniature.IMAGE_PROJ,
        "arcface": miniature.ARCFACE,
        "face_pack": miniature.FACE_PACK,
    }
    name = str(backbone)
    is_small = name in miniature.BACKBONES
    if name not in BACKBONES and not Path(backbone).exists():
        get_backbone(name)  # says which names are known
    where: str | Path = name
    if name in BACKBONES and not is_small:
        where = catalogue.find(name, folders)
    elif name not in BACKBONES:
        where = Path(backbone)
    chosen = {
        key: path or (small[key] if is_small else catalogue.find(key.replace("_", "-"), folders))
        for key, path in ((key, given.get(key)) for key in small)
    }
    return Files(where, **chosen)


def load_encoder(files: Files, device: str | None = None) -> IdentityEncoder:
    """The identity encoder of a set-up."""
    from .identity import IdentityEncoder

    return IdentityEncoder.from_files(files.image_proj, files.arcface, files.face_pack, device=device or "cpu")


def load_pipeline(
    files: Files, device: str | None = None, dtype: str | None = None, **components: Any
) -> InfuseNetPipeline:
    """The pipeline of a set-up, its own device and dtype where none is given."""
    import torch

    from .loading import load_pipeline as load

    kind = None if dtype is None else getattr(torch, dtype)
    return load(files.backbone, files.infusenet, device=device, dtype=kind, **components)


def fitted_size(settings: Settings, spec: BackboneSpec) -> tuple[int, int]:
    """The size to sample at, floored to multiples of 16 with a notice, as the original does."""
    from .sampling import floor_size

    width, height = settings.size or (spec.width, spec.height)
    fitted = floor_size(width, height)
    if fitted != (width, height):
        log.warning("Size %dx%d is not a multiple of 16: %dx%d is used.", width, height, *fitted)
    return fitted


def generate(
    pipeline: InfuseNetPipeline,
    spec: BackboneSpec,
    identity: Any,
    settings: Settings,
    *,
    pose: NDArray[np.uint8] | None = None,
    on_step: Callable[..., dict[str, Any]] | None = None,
) -> Result:
    """Sample one picture.

    Args:
        pipeline: a loaded pipeline.
        spec: its backbone's spec, for what `settings` leaves open.
        identity: an `Identity`, or None for none.
        settings: what is asked for.
        pose: keypoint control image RGB uint8 [H, W, 3] in the picture's size; black by default.
        on_step: diffusers' `callback_on_step_end`; it is given "latents" and "denoised".

    Returns:
        The picture, RGB uint8 [H, W, 3], with what it was made with.
    """
    import numpy as np
    import torch
    from PIL import Image

    width, height = fitted_size(settings, spec)
    steps = settings.steps or spec.num_inference_steps
    guidance = spec.guidance_scale if settings.guidance is None else settings.guidance
    if settings.guidance and not spec.guidance_embeds:
        log.warning("%s has no guidance: --guidance %g changes nothing.", spec.title, settings.guidance)
    options: dict[str, Any] = {}
    if settings.negative is not None:
        options |= {"negative_prompt": settings.negative, "true_cfg_scale": max(guidance, 1.0)}
    if on_step is not None:
        options |= {"callback_on_step_end": on_step, "callback_on_step_end_tensor_inputs": ["latents", "denoised"]}
    picture = pipeline(
        prompt=settings.prompt,
        identity=identity,
        control_image=None if pose is None else Image.fromarray(pose),
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        controlnet_conditioning_scale=settings.strength,
        control_guidance_start=settings.start,
        control_guidance_end=settings.end,
        max_sequence_length=spec.max_sequence_length,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        **options,
    ).images[0]
    made_with = {
        "prompt": settings.prompt,
        "negative": settings.negative,
        "backbone": spec.name,
        "steps": steps,
        "guidance": guidance,
        "strength": settings.strength,
        "start": settings.start,
        "end": settings.end,
        "seed": settings.seed,
        "size": [width, height],
    }
    return Result(np.asarray(picture.convert("RGB")), made_with)
