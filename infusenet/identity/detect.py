"""Finding faces: an InsightFace SCRFD detector, opened by file and never downloaded.

What an ONNX file must be to stand in a face pack:
- **detector** (SCRFD): input [1, 3, H, W], H and W free, RGB (x - 127.5) / 128; nine outputs: scores [N, 1] of the
  strides 8, 16, 32, then boxes [N, 4], then landmarks [N, 10]; two anchors a cell, listed one after the other; scores
  after the sigmoid, distances in stride units. A detector for other sizes names them in its metadata: `det_sizes` =
  "128,256".
- **recognizer** (ArcFace): input [N, 3, 112, 112], RGB (x - 127.5) / 127.5; one output [N, d]. Its first eight nodes
  must not hold both a Sub... and a Mul... by name, or InsightFace takes the normalisation to be inside.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FaceError, SettingsError, WeightsError
from ..pictures import Picture, as_rgb
from .packages import import_cv2, import_model_zoo, installed_runtimes

log = logging.getLogger(__name__)

SIZES = (640, 320, 160)
"""Sides of the square that a picture is fitted into for detection; the first at which a face is found decides."""

THRESHOLD = 0.5
"""Least score of a face."""

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_DETECTORS = ("scrfd*.onnx", "det_*.onnx")
_RECOGNIZERS = ("glintr100.onnx", "w600k*.onnx", "rec_*.onnx", "*arcface*.onnx")
_PACK = "a detector (scrfd_10g_bnkps.onnx) and a recognizer (glintr100.onnx), as insightface's antelopev2"


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        bbox: left, top, right, bottom in pixels, float32 [4].
        kps: left eye, right eye, nose, left and right mouth corner, (x, y) in pixels, float32 [5, 2].
        score: 0..1.
    """

    bbox: NDArray[np.float32]
    kps: NDArray[np.float32]
    score: float

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return float((self.bbox[2] - self.bbox[0]) * (self.bbox[3] - self.bbox[1]))

    @property
    def size(self) -> float:
        """The box's longer side in pixels."""
        return float(max(self.bbox[2] - self.bbox[0], self.bbox[3] - self.bbox[1]))


class FaceDetector:
    """An SCRFD detector. Make one with `from_pack`.

    Args:
        model: InsightFace's SCRFD object.
        path: the file it was read from.
    """

    def __init__(self, model: Any, path: Path) -> None:
        self._model = model
        self.path = path

    @classmethod
    def from_pack(cls, pack: str | Path, *, device: str = "cpu") -> FaceDetector:
        """Open a face pack's detector.

        Args:
            pack: the folder (also one nested in itself, as antelopev2 often is), or the .onnx file.
            device: "cpu", "cuda", "cuda:N" or "auto".

        Raises:
            WeightsError: no such folder or file, or it is no detector with landmarks.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: unknown device.
        """
        path = pack_file(pack, _DETECTORS, "detector")
        model = open_network(path, "detection", device)
        if not getattr(model, "use_kps", False):
            raise WeightsError(f"The face detector {path} gives no landmarks. Use scrfd_10g_bnkps.onnx of antelopev2.")
        return cls(model, path)

    @property
    def provider(self) -> str:
        """The execution provider that really runs, as "CUDAExecutionProvider"."""
        return provider_of(self._model)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes tried: the file's own `det_sizes`, else 640, 320, 160."""
        stated = self._model.session.get_modelmeta().custom_metadata_map.get("det_sizes", "")
        try:
            return tuple(int(size) for size in stated.split(",") if size.strip()) or SIZES
        except ValueError as error:
            raise WeightsError(f"{self.path} states det_sizes {stated!r}; expected sizes as '128,256'.") from error

    def detect(
        self,
        rgb: Any,
        *,
        threshold: float = THRESHOLD,
        small_first: bool = False,
        sizes: Sequence[int] | None = None,
    ) -> list[Face]:
        """The faces in a picture, the largest first (of equals, the one found last, as in the original pipeline).

        Args:
            rgb: uint8 [H, W, 3]; gray and RGBA are taken too.
            threshold: least score, 0..1. Blurred pictures, as early predictions are, need less than the default.
            small_first: try small sizes before large ones, which finds blurred faces sooner.
            sizes: other sizes than the detector's own, in the order to try; multiples of 32.

        Returns:
            The faces at the first size that shows any; empty if none does. Landmarks that are not finite do not count.

        Raises:
            PictureError: not a picture.
            SettingsError: a size that is not a multiple of 32.
        """
        picture = as_rgb(rgb)
        tried = list(self.sizes if sizes is None else sizes)
        if any(size < 32 or size % 32 for size in tried):
            raise SettingsError(f"Expected detector sizes that are multiples of 32, as 640, 320, 160; got {tried}.")
        cv2 = import_cv2()
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # ten times as fast as reversing an array's last axis
        for size in sorted(tried) if small_first else tried:
            faces = self._detect_at(bgr, size, threshold)
            if faces:
                return faces
        return []

    def _detect_at(self, bgr: Picture, size: int, threshold: float) -> list[Face]:
        short, long = sorted(bgr.shape[:2])
        if short * size < long:  # nothing would be left of the short side
            return []
        boxes, points = self._model.detect(bgr, input_size=(size, size), det_thresh=threshold)
        faces = [
            Face(box[:4].astype(np.float32), kps.astype(np.float32), float(box[4]))
            for box, kps in zip(boxes, points, strict=True)
            if np.isfinite(box).all() and np.isfinite(kps).all()
        ]
        return sorted(faces, key=lambda face: face.area)[::-1]


def choose_face(faces: Sequence[Face], which: str | int, where: str, *, smallest: int) -> Face:
    """One face of a picture.

    Args:
        faces: as `detect` gives them, the largest first.
        which: "largest", or a number counted from the left, from 0.
        where: the picture's name in messages, as "Picture 2".
        smallest: least size of a face in pixels of the picture.

    Raises:
        FaceError: no face, fewer than asked for, or too small a one.
        SettingsError: `which` is neither.
    """
    if which != "largest" and (isinstance(which, bool) or not isinstance(which, int) or which < 0):
        raise SettingsError(f'Expected face="largest" or a number from 0 on, counted from the left; got {which!r}.')
    if not faces:
        raise FaceError(
            f"{where} shows no face that could be found. Use a photo in which the face is upright, well lit and large."
        )
    if which == "largest":
        chosen = faces[0]
    elif isinstance(which, int) and which < len(faces):
        chosen = sorted(faces, key=lambda face: float(face.bbox[0] + face.bbox[2]))[which]
    else:
        raise FaceError(
            f"{where} shows {len(faces)} face{'s' * (len(faces) > 1)}, so there is no face {which}. "
            f"Faces are counted from the left, from 0: use 0{f' to {len(faces) - 1}' if len(faces) > 1 else ''}."
        )
    if chosen.size < smallest:
        raise FaceError(
            f"{where}: the face is only {chosen.size:.0f} pixels large; at least {smallest} are needed. "
            "Use a larger picture of the face."
        )
    return chosen


def pack_file(pack: str | Path, patterns: Sequence[str], what: str) -> Path:
    """The detector's or recognizer's file in a face pack, told by its name.

    Raises:
        WeightsError: nothing there that fits; the message names the folders searched.
    """
    pack = Path(pack).expanduser()
    if pack.is_file():
        if pack.suffix.lower() == ".onnx":
            return pack
        raise WeightsError(f"{pack} is not an ONNX file. Expected a face pack: a folder with {_PACK}.")
    if not pack.is_dir():
        raise WeightsError(
            f"There is no face pack {pack}. Expected a folder with {_PACK}. "
            "Unpack antelopev2.zip there; it is never downloaded by itself."
        )
    folders = [pack, pack / pack.name, *sorted(path for path in pack.iterdir() if path.is_dir())]
    for folder in folders:
        found = next((files for pattern in patterns if (files := sorted(folder.glob(pattern)))), None)
        if found:
            return found[0]
    searched = ", ".join(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))
    raise WeightsError(f"No face {what} ({', '.join(patterns)}) was found in {searched}. Expected {_PACK}.")


def recognizer_file(pack: str | Path) -> Path:
    """The recognizer's file in a face pack."""
    return pack_file(pack, _RECOGNIZERS, "recognizer")


def _sleeping_threads() -> Any:
    """Session options whose idle threads sleep: spinning, they take the cores from the sampler between two readings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_network(path: Path, task: str, device: str) -> Any:
    """Open an ONNX file as the InsightFace object that fits it.

    Args:
        path: the file.
        task: "detection" or "recognition".
        device: "cpu", "cuda", "cuda:N" or "auto".

    Raises:
        WeightsError: damaged, or a network for another task.
    """
    zoo = import_model_zoo()
    providers = providers_for(device)
    try:
        model = zoo.get_model(str(path), providers=providers, sess_options=_sleeping_threads())
    except Exception as error:  # ONNX Runtime's own classes, protobuf's, or an assertion of InsightFace
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise WeightsError(
            f"The face network {path} cannot be opened ({reason}). It is damaged, incomplete or no ONNX file: "
            "unpack or download it again."
        ) from error
    found = getattr(model, "taskname", None)
    if found != task:
        seems = f"for {found}" if found else "for something else"
        raise WeightsError(f"{path} is no face {task} network; it seems to be {seems}. Expected {_PACK}.")
    _tell_provider(path, providers, provider_of(model))
    return model


def provider_of(model: Any) -> str:
    """What a session really runs on; the list of available providers does not tell."""
    return str(model.session.get_providers()[0])


def providers_for(device: str) -> list[Any]:
    """ONNX Runtime's providers for a device: CUDA before the CPU where asked for and at hand."""
    name, _, number = str(device).partition(":")
    if name not in ("cpu", "cuda", "auto", "mps") or (number and not number.isdigit()):
        raise SettingsError(f'Expected the device "auto", "cpu", "cuda" or "cuda:N", got {str(device)!r}.')
    if name in ("cpu", "mps"):
        return [CPU]
    import onnxruntime

    here = CUDA in onnxruntime.get_available_providers()
    if name == "auto":
        here = here and _sees_gpu()
    elif not here:
        log.warning("Faces run on the CPU: the installed onnxruntime has no CUDA provider (onnxruntime-gpu has).")
    return [(CUDA, {"device_id": int(number or 0)}), CPU] if here else [CPU]


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _tell_provider(path: Path, wanted: list[Any], used: str) -> None:
    log.info("%s runs on %s.", path.name, used)
    if wanted[0] != CPU and used == CPU:
        log.warning(
            "%s was asked to run on the GPU, but runs on the CPU: ONNX Runtime's CUDA provider did not start%s.",
            path.name,
            " (onnxruntime and onnxruntime-gpu are both installed; keep one)" if len(installed_runtimes()) == 2 else "",
        )
