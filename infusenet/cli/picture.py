"""One picture as the command line asks for it: read the photos, sample, write the picture and what a probe saw."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SettingsError, require
from ..generate import Files, GenerateRequest, Result, fitted_size, generate, load_adapter, load_pipeline
from ..measures.baselines import LEAST_IMPOSTORS
from ..measures.registry import FACE, get_measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..measures import Measure
    from ..probe import ProbeRecorder
    from ..speed.compiled import Speed
    from ..tune.recipe import Recipe

    Picture = NDArray[np.uint8]


log = logging.getLogger(__name__)

SOURCE = "the pictures that were encoded"  # of a reference, for the record


@dataclass(frozen=True)
class PictureRequest:
    """One picture as it was asked for on the command line.

    Attributes:
        faces: photos of the person, one or more.
        out: the PNG to write; never one of the inputs.
        pose: a photo whose facial keypoints place the head.
        which_face: "largest", or a face's number counted from the left, from 0.
        probe: measure every step, and write a trace and a drift chart beside the picture.
        others: pictures of other people, or folders of them, for the probe's line of what a stranger scores.
        recipe: what `settings` were taken from; refused where the backbone is not of its kind.
        measure: a name of MEASURES: what the probe looks with.
        measure_model: the folder of its weights; for "face" the face pack by default.
        components: a FLUX folder that lends VAE and text encoders to a single-file backbone.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: a floating dtype of torch's by name; by default the device's usual one.
        offload: keep on the GPU only the network at work.
        speed: "compile", "fp8" or None: see `loading.load_pipeline`.
        quiet: no progress bar.
    """

    files: Files
    settings: GenerateRequest
    faces: tuple[Path, ...]
    out: Path
    pose: Path | None = None
    which_face: Literal["largest"] | int = "largest"
    probe: bool = False
    others: tuple[Path, ...] = ()
    recipe: Recipe | None = None
    measure: str = FACE
    measure_model: Path | None = None
    components: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    offload: bool = False
    speed: Speed | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        """Raise SettingsError where the picture could not be written."""
        if self.others and not self.probe:
            raise SettingsError("--others only works with --probe. Add --probe, or leave --others out.")
        if (self.measure != FACE or self.measure_model) and not self.probe:
            raise SettingsError("--measure only works with --probe. Add --probe, or leave --measure out.")
        if get_measure(self.measure).needs_folder and self.measure != FACE and self.measure_model is None:
            raise SettingsError(f"--measure {self.measure} needs a folder of weights. Add --measure-model DIR.")
        if self.out.suffix.lower() != ".png":
            raise SettingsError(
                f"Expected an output ending in .png, got {self.out.name!r}. PNG keeps the settings a picture was "
                "made with."
            )
        inputs = {os.path.realpath(path) for path in self.inputs}  # Path.resolve breaks off at a link to itself
        folders = {os.path.realpath(path) for path in self.others if path.is_dir()}
        for path in (self.out, self.trace, self.chart):
            real = os.path.realpath(path)
            if real in inputs or (path.exists() and os.path.dirname(real) in folders):
                raise SettingsError(f"The output {path} is one of the inputs. Choose another name.")

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read and never written."""
        return (*self.faces, *([self.pose] if self.pose else []), *(path for path in self.others if path.is_file()))

    @property
    def trace(self) -> Path:
        """Where the probe's trace goes."""
        return self.out.with_suffix(".trace.json")

    @property
    def chart(self) -> Path:
        """Where the probe's chart goes."""
        return self.out.with_suffix(".drift.png")


def make_picture(request: PictureRequest) -> Result:
    """Read the photos, sample, and write the picture with its metadata, and the probe's files if asked for.

    Args:
        request: what is asked for.

    Returns:
        The picture that was written, and what was seen of it.

    Raises:
        InfuseNetError: a file or a value cannot be used; nothing was written.
    """
    from ..charts import save_chart
    from ..files import check_writable, open_picture, save_picture

    for path in (request.out, *((request.trace, request.chart) if request.probe else ())):
        check_writable(path)  # now, not after minutes of work
    require(*(["matplotlib"] if request.probe else []))
    photos = [open_picture(path) for path in request.faces]
    pose = None if request.pose is None else open_picture(request.pose)
    adapter = load_adapter(request.files, request.device, request.dtype)
    condition = adapter.encode(photos, face=request.which_face)
    options: dict[str, Any] = {"components": request.components, "offload": "model" if request.offload else None}
    options |= {"speed": request.speed}
    pipeline = load_pipeline(request.files, request.device, request.dtype, adapter=adapter, **options)
    if request.recipe is not None:
        request.recipe.check(pipeline.spec.family, pipeline.spec.variant)
    pipeline.set_progress_bar_config(disable=request.quiet, desc="steps", leave=False)
    if pose is not None:
        pose = adapter.control(pose, *fitted_size(request.settings, pipeline.spec))
    recorder = None
    if request.probe:
        spec = get_measure(request.measure)
        measure = spec.load(request.measure_model or request.files.face_pack, request.device)
        shown = photos if spec.of == "pictures" else [request.settings.prompt]
        recorder = probe_for(pipeline, measure, shown, strangers_of(request))
    result = generate(pipeline, condition, request.settings, adapter=adapter, pose=pose, recorder=recorder)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    save_picture(result.picture, request.out, result.metadata(request.files, len(photos)), inputs=request.inputs)
    if result.trace is not None:
        result.trace.save(request.trace)
        save_chart([result.trace], request.chart)
    return result


def strangers_of(request: PictureRequest) -> list[Picture]:
    """Pictures of other people: the user's, else drawn ones where the miniature's own faces are measured, else none.

    Raises:
        PictureError: a file that was named is no picture.
        SettingsError: a folder holds no picture.
    """
    from .. import miniature
    from ..compare.request import expand
    from ..files import open_picture

    if request.others:
        named = list(expand(request.others))
        empty = next((path for path, reason in named if reason is not None and path.is_dir()), None)
        if empty is not None:
            raise SettingsError(
                f"--others: there are no pictures in {empty}. Name a folder with at least {LEAST_IMPOSTORS} faces."
            )
        return [open_picture(path) for path, reason in named if reason is None]
    if request.measure == FACE and Path(request.measure_model or request.files.face_pack) == miniature.FACE_PACK:
        from ..miniature.people import drawn_strangers

        return list(drawn_strangers())
    return []


def probe_for(pipeline: Any, measure: Measure, shown: Sequence[Any], others: Sequence[Picture] = ()) -> ProbeRecorder:
    """A recorder that compares every step with a reference; with five pictures of others, with these too.

    Args:
        pipeline: whose VAE decodes the steps.
        measure: what looks.
        shown: what its `reference` takes: pictures of the person, or a prompt.
        others: pictures of other people.
    """
    from ..probe import ProbeRecorder, vae_decoder

    reference = measure.reference(shown, source=SOURCE)
    baseline = measure.impostors(reference, others) if others else None
    if others and baseline is None:
        log.warning(
            "Fewer than %d other people could be measured, so what other people score is unknown.", LEAST_IMPOSTORS
        )
    return ProbeRecorder(measure, reference, vae_decoder(pipeline.vae), strangers=baseline)
