"""One picture as the command line asks for it: read the photos, sample, write the picture and what a probe saw."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SettingsError
from ..generate import Files, GenerateRequest, Result, fitted_size, generate, load_adapter, load_pipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..adapters.infusenet.pipeline import InfuseNetPipeline
    from ..faces import FaceRecognizer
    from ..probe import ProbeRecorder

    Picture = NDArray[np.uint8]


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """One picture as it was asked for on the command line.

    Attributes:
        faces: photos of the person, one or more.
        out: the PNG to write; never one of the inputs.
        pose: a photo whose facial keypoints place the head.
        which_face: "largest", or a face's number counted from the left, from 0.
        probe: measure every step, and write a trace and a drift chart beside the picture.
        others: pictures of other people, or folders of them, for the probe's line of what a stranger scores.
        components: a FLUX folder that lends VAE and text encoders to a single-file backbone.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: a floating dtype of torch's by name; by default the device's usual one.
        offload: keep on the GPU only the network at work.
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
    components: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    offload: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Raise SettingsError where the picture could not be written."""
        if self.others and not self.probe:
            raise SettingsError("--others gives the probe's line of other people: add --probe, or leave it out.")
        if self.out.suffix.lower() != ".png":
            raise SettingsError(
                f"Expected an output ending in .png, got {self.out.name!r}: PNG keeps what a picture was made with."
            )
        inputs = {path.resolve() for path in self.inputs}
        for path in (self.out, self.trace, self.chart):
            if path.resolve() in inputs:
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


def carry_out(order: Order) -> Result:
    """Read the photos, sample, and write the picture with its metadata, and the probe's files if asked for.

    Args:
        order: what is asked for.

    Returns:
        The picture that was written, and what was seen of it.

    Raises:
        InfuseNetError: a file or a value cannot be used; nothing was written.
    """
    from ..charts import save_chart
    from ..faces import FaceRecognizer
    from ..files import check_writable, open_picture, save_picture

    check_writable(order.out)  # now, not after minutes of work
    photos = [open_picture(path) for path in order.faces]
    pose = None if order.pose is None else open_picture(order.pose)
    adapter = load_adapter(order.files, order.device, order.dtype)
    condition = adapter.encode(photos, face=order.which_face)
    options: dict[str, Any] = {"components": order.components, "offload": "model" if order.offload else None}
    pipeline = load_pipeline(order.files, order.device, order.dtype, adapter=adapter, **options)
    pipeline.set_progress_bar_config(disable=order.quiet, desc="steps", leave=False)
    if pose is not None:
        pose = adapter.control(pose, *fitted_size(order.settings, pipeline.spec))
    recorder = None
    if order.probe:
        recognizer = FaceRecognizer.from_pack(order.files.face_pack, device=order.device)
        recorder = probe_for(pipeline, recognizer, photos, strangers_of(order))
    result = generate(pipeline, condition, order.settings, adapter=adapter, pose=pose, recorder=recorder)
    order.out.parent.mkdir(parents=True, exist_ok=True)
    save_picture(result.picture, order.out, result.metadata(order.files, len(photos)), inputs=order.inputs)
    if result.trace is not None:
        result.trace.save(order.trace)
        save_chart([result.trace], order.chart)
    return result


def strangers_of(order: Order) -> list[Picture]:
    """Pictures of other people: the user's, else drawn ones where the miniature's own faces are measured, else none.

    Raises:
        PictureError: a file that was named is no picture.
        SettingsError: a folder holds no picture.
    """
    from .. import miniature
    from ..compare.request import expand
    from ..files import open_picture

    if order.others:
        named = list(expand(order.others))
        empty = next((path for path, reason in named if reason is not None and path.is_dir()), None)
        if empty is not None:
            raise SettingsError(f"--others: there is no picture in {empty}. Name a folder of at least five faces.")
        return [open_picture(path) for path, reason in named if reason is None]
    if Path(order.files.face_pack) == miniature.FACE_PACK:
        from ..miniature.strangers import drawn_strangers

        return list(drawn_strangers())
    return []


def probe_for(
    pipeline: InfuseNetPipeline,
    recognizer: FaceRecognizer,
    pictures: Sequence[Picture],
    strangers: Sequence[Picture] = (),
) -> ProbeRecorder:
    """A recorder that compares every step with the person in the pictures; with five strangers, with these too."""
    from ..probe import ProbeRecorder, Reference, vae_decoder

    reference = Reference.from_pictures(recognizer, pictures, source="the pictures that were encoded")
    baseline = reference.baseline(recognizer, strangers)
    if strangers and baseline is None:
        log.warning("Of other people fewer than five faces were found, so what they score stays unknown.")
    return ProbeRecorder(recognizer, reference, vae_decoder(pipeline.vae), strangers=baseline)
