"""From photos of a person to the identity tokens that InfuseNet reads: detect, align, embed, project."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import FaceError, SettingsError, WeightsError
from ...faces.align import CROP, norm_crop
from ...faces.detect import Face, FaceDetector, choose_face
from ...faces.turns import upright
from ...files import Picture, as_rgb
from ...weights.pretrained import torch_device
from ..base import finite
from .arcface import IRSE, embed_crops
from .resampler import Resampler

log = logging.getLogger(__name__)

SMALLEST_FACE = 40
"""Pixels of a face's longer side below which a photo is refused: an aligned face is 112 pixels wide."""

_NO_DIRECTION = 1e-3  # length of a mean of unit vectors below which they cancel out


@dataclass(frozen=True, eq=False)
class Identity:
    """A person as InfuseNet reads one. Embeddings are personal data: they are kept in memory and never written.

    Attributes:
        embedding: unit vectors, float32 [n, 512], on the CPU; n = 1 when photos were fused, else one a photo.
        tokens: [n, 8, dim] in the projector's dtype, on the CPU.
        faces: the aligned faces that were read, BGR uint8 [photos, 112, 112, 3].
        source: where it came from, in a few words.
        notices: what the user should know, as which of several faces was taken.
        recognizer: file name of the network that read it, where known.
    """

    embedding: Tensor = field(repr=False)
    tokens: Tensor = field(repr=False)
    faces: Picture = field(repr=False)
    source: str
    notices: tuple[str, ...] = ()
    recognizer: str | None = None


class IdentityEncoder:
    """Detector, recognizer and projector as one. Make one with `from_files`.

    Args:
        detector: finds the faces.
        recognizer: the conditioning ArcFace network (not the one that measures), float32.
        projector: its embedding to tokens; its dtype is the tokens'.
        smallest_face: least size of a face in pixels of the photo.
        recognizer_name: the recognizer's file, for the records.

    Raises:
        WeightsError: recognizer and projector do not fit each other.
    """

    def __init__(
        self,
        detector: FaceDetector,
        recognizer: IRSE,
        projector: Resampler,
        *,
        smallest_face: int = SMALLEST_FACE,
        recognizer_name: str | None = None,
    ) -> None:
        if recognizer.embedding_dim != projector.embedding_dim:
            raise WeightsError(
                f"The recognizer's embeddings have {recognizer.embedding_dim} numbers, but the Resampler expects "
                f"{projector.embedding_dim}. Load two files that belong together."
            )
        self.detector = detector
        self.recognizer = recognizer
        self.projector = projector
        self.smallest_face = smallest_face
        self.recognizer_name = recognizer_name

    @classmethod
    def from_files(
        cls,
        image_proj: str | Path,
        arcface: str | Path,
        face_pack: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> IdentityEncoder:
        """Load the three parts.

        Args:
            image_proj: the Resampler, as InfiniteYou's `image_proj_model.bin`.
            arcface: IR-SE50, as `recognition_arcface_ir_se50.pth`.
            face_pack: a folder with a detector, as insightface's antelopev2.
            device: "cpu", "cuda", "cuda:N", "mps" or "auto" (cuda where there is one).
            dtype: of the tokens; bfloat16 on cuda and float32 elsewhere by default. The recognizer is always float32.

        Raises:
            WeightsError: a file is missing, damaged or holds something else.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: a device that is not there.
        """
        place = torch_device(device)
        dtype = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
        recognizer = IRSE.from_file(arcface)
        projector = Resampler.from_file(image_proj)
        detector = FaceDetector.from_pack(face_pack, device=str(place))
        name = Path(arcface).name
        return cls(detector, recognizer.to(place), projector.to(place, dtype), recognizer_name=name)

    @property
    def provider(self) -> str:
        """The execution provider that the detector really runs on."""
        return self.detector.provider

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.projector.latents.device

    @property
    def dtype(self) -> torch.dtype:
        """The tokens' dtype."""
        return self.projector.latents.dtype

    @property
    def token_width(self) -> int:
        """Width of the tokens: 4096 for FLUX."""
        return self.projector.output_dim

    def detect(self, rgb: Any, **options: Any) -> list[Face]:
        """The faces in a picture, the largest first; see `FaceDetector.detect`."""
        return self.detector.detect(rgb, **options)

    def embed(self, crops: Picture) -> Tensor:
        """Unit embeddings of aligned faces: BGR uint8 [n, 112, 112, 3] -> float32 [n, 512] on the CPU."""
        return embed_crops(self.recognizer, crops).cpu()

    @torch.no_grad()
    def project(self, embedding: Tensor) -> Tensor:
        """Identity tokens: float32 [n, 512] -> [n, 8, dim] in the projector's dtype, on the CPU.

        The embedding is cast to the projector's dtype first, as in the original pipeline.

        Raises:
            NotFiniteError: the projector's weights are damaged, or overflow in its dtype.
        """
        tokens: Tensor = self.projector(embedding[:, None].to(self.device, self.dtype))
        return finite(tokens, "identity tokens").cpu()

    def encode(
        self,
        pictures: Sequence[Any],
        *,
        fuse: bool = True,
        face: str | int = "largest",
        on_no_face: str = "error",
        source: str | None = None,
    ) -> Identity:
        """Read a person off photos.

        Args:
            pictures: photos of one person, RGB uint8 [H, W, 3] each.
            fuse: one identity of all photos (mean of the unit embeddings, brought back to length 1); else one a photo.
            face: which face of a photo with several: "largest", or a number counted from the left, from 0.
            on_no_face: "error", or "skip" to leave out photos whose face cannot be used, with a notice.
            source: a few words on where the photos come from.

        Returns:
            The identity, with one embedding and 8 tokens if fused, else with as many as photos were used.

        Raises:
            FaceError: a photo (named by its number, from 1) shows no face, or too small a one; or none could be used.
            PictureError: not a picture.
            SettingsError: an unknown value of `face` or `on_no_face`, or no photo.
        """
        if on_no_face not in ("error", "skip"):
            raise SettingsError(f'Expected on_no_face="error" or "skip", got {on_no_face!r}.')
        if len(pictures) == 0:
            raise SettingsError("Expected at least one photo of the person, got none.")
        crops, notices = self._crops(pictures, face, skip=on_no_face == "skip")
        if not crops:
            raise FaceError(f"None of the {len(pictures)} pictures has a usable face. " + " ".join(notices))
        for notice in notices:
            log.warning("%s", notice)
        faces = np.stack(crops)
        embedding = self.embed(faces)
        if not bool(torch.isfinite(embedding).all()):
            raise WeightsError(
                "The recognizer's embedding is not finite, so its weights are damaged. Download them again."
            )
        if fuse:
            embedding = fused(embedding)
        told = source or f"{len(crops)} photo{'s' * (len(crops) > 1)}"
        return Identity(embedding, self.project(embedding), faces, told, tuple(notices), self.recognizer_name)

    def _crops(self, pictures: Sequence[Any], which: str | int, *, skip: bool) -> tuple[list[Picture], list[str]]:
        """The aligned face of each photo, and what is to be said about them."""
        found, notices = chosen_faces(self.detector, pictures, which, smallest=self.smallest_face, skip=skip)
        return [bgr_crop(*one) for one in found], notices


def bgr_crop(picture: Picture, face: Face, size: int = CROP) -> Picture:
    """The aligned face as recognizers take it: BGR uint8 [size, size, 3]."""
    return np.ascontiguousarray(norm_crop(picture, face.kps, size)[..., ::-1])


def chosen_faces(
    detector: FaceDetector,
    pictures: Sequence[Any],
    which: str | int = "largest",
    *,
    smallest: int = SMALLEST_FACE,
    skip: bool = False,
) -> tuple[list[tuple[Picture, Face]], list[str]]:
    """The face that counts in each photo, with the photo turned upright, and what is to be said about them.

    Args:
        detector: finds the faces.
        pictures: photos of one person, RGB uint8 [H, W, 3] each.
        which: "largest", or a number counted from the left, from 0.
        smallest: least size of a face in pixels of the photo.
        skip: leaves out photos whose face cannot be used, with a notice.

    Raises:
        FaceError: a photo shows no face that can be used, and `skip` is not set.
        PictureError: not a picture.
    """
    found: list[tuple[Picture, Face]] = []
    notices: list[str] = []
    for number, picture in enumerate(pictures, start=1):
        where = f"Picture {number}" if len(pictures) > 1 else "The picture"
        rgb = as_rgb(picture)
        where = f"{where} ({rgb.shape[1]}x{rgb.shape[0]})"
        turned = upright(detector, rgb)
        faces = turned.faces
        try:
            chosen = choose_face(faces, which, where, smallest=smallest)
            norm_crop(turned.picture, chosen.kps)  # its landmarks may be none of a face
        except FaceError as error:
            if not skip:
                raise
            notices.append(f"Left out: {error}")
            continue
        found.append((turned.picture, chosen))
        if turned.notice:
            notices.append(f"{where} {turned.notice} because its face is found best that way.")
        if which == "largest" and len(faces) > 1:
            notices.append(
                f"{where} shows {len(faces)} faces, and the largest was used. For another one, choose its number, "
                f"counted from the left: 0 to {len(faces) - 1}."
            )
    return found, notices


def fused(embeddings: Tensor) -> Tensor:
    """The mean of unit vectors, brought back to length 1: [n, d] -> [1, d].

    Raises:
        FaceError: they cancel out, so they are not one person's.
    """
    mean = embeddings.mean(0, keepdim=True)
    if float(mean.norm()) < _NO_DIRECTION:
        raise FaceError(
            "The faces in the photos have nothing in common, so they cannot be fused. Use photos of one person."
        )
    return torch.nn.functional.normalize(mean, dim=1)
