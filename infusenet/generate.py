"""One picture from faces and a prompt: what `infusenet generate` and `infusenet demo` call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import miniature
from .backbones import BACKBONES, BackboneSpec, get_backbone
from .errors import SettingsError
from .weights import catalogue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .adapters.infusenet.encoder import IdentityEncoder
    from .adapters.infusenet.pipeline import InfuseNetPipeline
    from .probe import ProbeRecorder, RunInfo, Trace

    Picture = NDArray[np.uint8]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The weight files of one set-up: a backbone and what carries a face into it.

    Attributes:
        backbone: what `load_pipeline` takes.
        expected: a name of BACKBONES that the weights must match, if one was asked for.
    """

    backbone: str | Path
    expected: str | None
    infusenet: Path
    image_proj: Path
    arcface: Path
    face_pack: Path

    def names(self) -> dict[str, str]:
        """File names for a picture's metadata: no folder of the user's is told."""
        parts = ("infusenet", "image_proj", "arcface", "face_pack")
        return {"backbone": Path(str(self.backbone)).name, **{part: getattr(self, part).name for part in parts}}


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
    true_cfg: float = 2.0

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        if not self.prompt.strip():
            raise SettingsError(
                'Expected a prompt with words in it. Say what the picture shows, as in --prompt "a portrait".'
            )
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"Expected 1 step or more, got {self.steps}. Try 4 with schnell, 28 with dev.")
        if self.size is not None and min(self.size) < 16:
            raise SettingsError("Expected a size of at least 16x16, got {}x{}.".format(*self.size))
        if not 0 <= self.start <= self.end <= 1:  # NaN fails too
            raise SettingsError(
                f"Expected 0 <= start <= end <= 1, got start {self.start} and end {self.end}: shares of the run."
            )
        if not self.strength >= 0:
            raise SettingsError(
                f"Expected a strength of 0 or more, got {self.strength}. 1 is what InfuseNet was trained at."
            )
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"Expected a seed between 0 and 2^63 - 1, got {self.seed}.")


@dataclass(frozen=True)
class Result:
    """A finished picture RGB uint8 [H, W, 3], what it was made with, and the trace where a probe listened."""

    picture: Picture
    made_with: dict[str, Any]
    trace: Trace | None = None


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
    name = str(backbone)
    small = {
        "infusenet": miniature.INFUSENET,
        "image_proj": miniature.IMAGE_PROJ,
        "arcface": miniature.ARCFACE,
        "face_pack": miniature.FACE_PACK,
    }
    if name not in BACKBONES and not Path(backbone).exists():
        get_backbone(name)  # says which names are known
    is_small = name in miniature.BACKBONES or Path(backbone).resolve() in miniature.BACKBONES.values()
    chosen = {
        key: given.get(key) or (path if is_small else catalogue.find(key.replace("_", "-"), folders))
        for key, path in small.items()
    }
    where = catalogue.find(name, folders) if name in BACKBONES and not is_small else backbone
    return Files(where, name if name in BACKBONES else None, **chosen)


def load_encoder(files: Files, device: str = "auto", dtype: str | None = None) -> IdentityEncoder:
    """The identity encoder of a set-up."""
    from .adapters.infusenet.encoder import IdentityEncoder

    parts = (files.image_proj, files.arcface, files.face_pack)
    return IdentityEncoder.from_files(*parts, device=device, dtype=_torch_dtype(dtype))


def load_pipeline(files: Files, device: str = "auto", dtype: str | None = None, **options: Any) -> InfuseNetPipeline:
    """The pipeline of a set-up, quiet; options are `loading.load_pipeline`'s."""
    from .adapters.infusenet.encoder import torch_device
    from .loading import load_pipeline as load

    options |= {"expected": files.expected, "device": torch_device(device), "dtype": _torch_dtype(dtype)}
    pipeline = load(files.backbone, files.infusenet, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _torch_dtype(name: str | None) -> Any:
    """torch's own, from its name; None stays None."""
    import torch

    return None if name is None else getattr(torch, name)


def fitted_size(settings: Settings, spec: BackboneSpec) -> tuple[int, int]:
    """The size to sample at, floored to multiples of 16 with a notice, as the original does."""
    from .sampling import floor_size

    width, height = settings.size or (spec.width, spec.height)
    fitted = floor_size(width, height)
    if fitted != (width, height):
        log.warning("A size of %dx%d is not made of multiples of 16: the picture has %dx%d.", width, height, *fitted)
    return fitted


def generate(
    pipeline: InfuseNetPipeline,
    identity: Any,
    settings: Settings,
    *,
    pose: Picture | None = None,
    recorder: ProbeRecorder | None = None,
) -> Result:
    """Sample one picture.

    Args:
        pipeline: a loaded pipeline; its `spec` fills in what `settings` leaves open.
        identity: an `Identity`.
        settings: what is asked for.
        pose: keypoint control image RGB uint8 [H, W, 3] in the picture's size; black by default.
        recorder: listens to the steps; the picture is the same with and without.

    Returns:
        The picture, with what it was made with, and the trace of a recorder.
    """
    import numpy as np
    import torch
    from PIL import Image

    spec = pipeline.spec
    width, height = fitted_size(settings, spec)
    steps = settings.steps or spec.num_inference_steps
    guidance = spec.guidance_scale if settings.guidance is None else settings.guidance
    if settings.guidance and not spec.guidance_embeds and settings.negative is None:
        log.warning("%s has no guidance: --guidance %g changes nothing.", spec.title, settings.guidance)
    made_with = {
        "prompt": settings.prompt,
        "negative": settings.negative,
        "true_cfg": None if settings.negative is None else settings.true_cfg,
        "pose": pose is not None,
        "backbone": spec.name,
        "steps": steps,
        "guidance": guidance,
        "strength": settings.strength,
        "start": settings.start,
        "end": settings.end,
        "seed": settings.seed,
        "size": [width, height],
    }
    options: dict[str, Any] = {}
    if settings.negative is not None:
        options |= {"negative_prompt": settings.negative, "true_cfg_scale": settings.true_cfg}
    if recorder is not None:
        recorder.start(height=height, width=width, run=_run_info(made_with, identity))
        options |= {
            "callback_on_step_end": recorder.pipeline_callback,
            "callback_on_step_end_tensor_inputs": recorder.tensor_inputs,
        }
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
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        **options,
    ).images[0]
    pixels = np.array(picture.convert("RGB"))
    return Result(pixels, made_with, recorder.finish(pixels[None]) if recorder is not None else None)


def _run_info(made_with: dict[str, Any], identity: Any) -> RunInfo:
    """What a trace tells of a run."""
    from .probe import RunInfo
    from .probe.versions import library_versions

    told = {
        key: made_with[key] for key in ("prompt", "backbone", "steps", "guidance", "strength", "start", "end", "seed")
    }
    width, height = made_with["size"]
    return RunInfo(
        **told,
        width=width,
        height=height,
        sampler="euler",
        scheduler="flux",
        conditioning_recognizer=getattr(identity, "recognizer", None),
        versions=library_versions(),
    )
