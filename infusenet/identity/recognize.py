"""Who is it: the measuring recognizer, an InsightFace ArcFace network opened by file and never downloaded.

It must be another network than the one that conditions (`IRSE`), or the measurement would be circular.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FaceError, SettingsError, WeightsError
from ..pictures import Picture, as_rgb
from .align import CROP, norm_crop
from .detect import Face, FaceDetector, choose_face, open_network, provider_of, recognizer_file

BATCH = 64
"""Crops in one call of the network."""


class FaceRecognizer:
    """A face pack's detector and recognizer. Make one with `from_pack`.

    Args:
        detector: finds the faces.
        model: InsightFace's ArcFace object.
        path: the file it was read from.
    """

    def __init__(self, detector: FaceDetector, model: Any, path: Path) -> None:
        self.detector = detector
        self._model = model
        self.path = path
        self.crop_size = int(model.input_size[0])
        if self.crop_size % CROP:
            raise WeightsError(f"{path} takes faces of {self.crop_size} pixels; expected a multiple of {CROP}.")

    @classmethod
    def from_pack(cls, pack: str | Path, *, device: str = "cpu") -> FaceRecognizer:
        """Open a face pack.

        Args:
            pack: a folder with a detector and a recognizer, as insightface's antelopev2.
            device: "cpu", "cuda", "cuda:N" or "auto".

        Raises:
            WeightsError: no such folder, a file missing, damaged or of another kind.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: unknown device.
        """
        detector = FaceDetector.from_pack(pack, device=device)
        path = recognizer_file(pack)
        return cls(detector, open_network(path, "recognition", device), path)

    @property
    def provider(self) -> str:
        """The execution provider that the recognizer really runs on."""
        return provider_of(self._model)

    @cached_property
    def sha256(self) -> str:
        """Of the recognizer's file; read when first asked for."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """For the records: file name, start of its sha256, and the provider that runs it."""
        return f"{self.path.name} {self.sha256[:12]} ({self.provider})"

    def detect(
        self, rgb: Any, *, threshold: float = 0.5, small_first: bool = False, sizes: Sequence[int] | None = None
    ) -> list[Face]:
        """The faces in a picture, the largest first; see `FaceDetector.detect`."""
        return self.detector.detect(rgb, threshold=threshold, small_first=small_first, sizes=sizes)

    def crop(self, rgb: Any, kps: ArrayLike) -> Picture:
        """The aligned face that `embed` takes.

        Args:
            rgb: uint8 [H, W, 3].
            kps: landmarks [5, 2], (x, y) in pixels.

        Returns:
            BGR uint8 [112, 112, 3].

        Raises:
            FaceError: degenerate landmarks.
        """
        return np.ascontiguousarray(norm_crop(as_rgb(rgb), kps, self.crop_size)[..., ::-1])

    def embed(self, crops: Picture | Sequence[Picture]) -> NDArray[np.float32]:
        """Embeddings of aligned faces, many in one call of the network.

        Args:
            crops: BGR uint8 [n, 112, 112, 3], as from `crop`; InsightFace swaps to RGB itself.

        Returns:
            float32 [n, d], rows of length 1; a row is NaN where the network gives no direction.

        Raises:
            SettingsError: crops of another shape or dtype.
        """
        faces = np.asarray(crops)
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (self.crop_size, self.crop_size, 3):
            if len(faces) == 0:
                return np.zeros((0, self._width), np.float32)
            raise SettingsError(
                f"Expected aligned faces as uint8 [n, {self.crop_size}, {self.crop_size}, 3] from `crop`, "
                f"got {faces.dtype} {list(faces.shape)}."
            )
        batch = 1 if self._model.session.get_inputs()[0].shape[0] == 1 else BATCH
        parts = [self._model.get_feat(list(faces[start : start + batch])) for start in range(0, len(faces), batch)]
        raw = np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, self._width), np.float32)
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        return np.divide(raw, length, out=np.full_like(raw, np.nan), where=np.isfinite(length) & (length > 0))

    def embed_picture(self, rgb: Any, *, face: str | int = "largest") -> NDArray[np.float32]:
        """The embedding of one face in a picture: float32 [d], of length 1.

        Args:
            rgb: uint8 [H, W, 3].
            face: "largest", or a number counted from the left, from 0.

        Raises:
            FaceError: no face, or not the one asked for.
        """
        chosen = choose_face(self.detect(rgb), face, "The picture", smallest=1)
        embedding: NDArray[np.float32] = self.embed(self.crop(rgb, chosen.kps)[None])[0]
        if not np.isfinite(embedding).all():
            raise FaceError(f"{self.path.name} gives no embedding for the picture's face. Use a clearer picture.")
        return embedding

    @property
    def _width(self) -> int:
        """Length of an embedding; 0 if the file does not state it."""
        width = self._model.output_shape[-1]
        return width if isinstance(width, int) else 0
