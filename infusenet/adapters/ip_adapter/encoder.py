"""From photos of a person to what FaceID reads: the face's embedding, and for FaceID plus its look, by CLIP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import FaceError, WeightsError
from ...faces.detect import FaceDetector
from ...faces.recognize import FaceRecognizer
from ...files import Picture
from ...measures.vision import CLIP_MEAN, CLIP_STD
from ...weights.pretrained import load_whole, torch_device
from ..infusenet.arcface import IRSE, embed_crops
from ..infusenet.encoder import bgr_crop, chosen_faces, fused

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FaceCondition:
    """A person as FaceID reads one. Embeddings are personal data: they are kept in memory and never written.

    Attributes:
        embedding: unit vectors, float32 [n, 512], on the CPU; n is 1, or one for each picture that is made.
        look: CLIP's penultimate hidden states of the face, [n, 257, 1280]; None without CLIP.
        blank: the same of no picture (all zero once normalised), [1, 257, 1280].
        source: where it came from, in a few words.
        notices: what the user should know, as which of several faces was taken.
        recognizer: file name of the network that read it, where known.
    """

    embedding: Tensor = field(repr=False)
    look: Tensor | None = field(default=None, repr=False)
    blank: Tensor | None = field(default=None, repr=False)
    source: str = "an embedding"
    notices: tuple[str, ...] = ()
    recognizer: str | None = None


class FaceIdEncoder:
    """Detector, recognizer and CLIP vision as one. Make one with `from_files`.

    Args:
        detector: finds the faces.
        embed: BGR uint8 [n, 112, 112, 3] -> unit vectors [n, d].
        vision: a CLIPVisionModelWithProjection; None where the adapter is no "plus".
        recognizer_name: the recognizer's file, for the records.
    """

    def __init__(
        self,
        detector: FaceDetector,
        embed: Callable[[Picture], Any],
        vision: Any = None,
        recognizer_name: str | None = None,
    ) -> None:
        self.detector, self._embed, self.vision, self.recognizer_name = detector, embed, vision, recognizer_name

    @classmethod
    def from_files(
        cls,
        recognizer: Path,
        face_pack: Path,
        image_encoder: Path | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> FaceIdEncoder:
        """Load the parts.

        Args:
            recognizer: the one that the adapter was trained with: a face pack's folder, as insightface's buffalo_l for
                the published files, or an IR-SE network's file.
            face_pack: a folder with a detector; not used where `recognizer` is a folder, which has its own.
            image_encoder: CLIP's vision network, a folder as transformers saves it; for FaceID plus.
            device: "cpu", "cuda", "cuda:N", "mps" or "auto".
            dtype: of CLIP; bfloat16 on cuda and float32 elsewhere by default.

        Raises:
            WeightsError: a file is missing, damaged or holds something else.
            PackageError: insightface or onnxruntime is missing or broken.
            SettingsError: a device that is not there.
        """
        from transformers import CLIPVisionModelWithProjection

        place = torch_device(device)
        dtype = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
        vision = load_whole(CLIPVisionModelWithProjection, image_encoder, dtype, place) if image_encoder else None
        if recognizer.is_dir():
            pack = FaceRecognizer.from_pack(recognizer, device=str(place))
            return cls(pack.detector, pack.embed, vision, pack.path.name)
        network = IRSE.from_file(recognizer).to(place)
        detector = FaceDetector.from_pack(face_pack, device=str(place))
        return cls(detector, lambda crops: embed_crops(network, crops), vision, recognizer.name)

    def encode(self, pictures: Sequence[Any], *, face: str | int = "largest") -> FaceCondition:
        """Read a person off photos: embeddings are fused; the look is the first photo's.

        Args:
            pictures: photos of one person, RGB uint8 [H, W, 3] each.
            face: which face of a photo with several: "largest", or a number counted from the left, from 0.

        Raises:
            FaceError: a photo shows no face, or too small a one.
            PictureError: not a picture.
        """
        if len(pictures) == 0:
            raise FaceError("Expected at least one photo of the person, got none.")
        found, notices = chosen_faces(self.detector, pictures, face)
        for notice in notices:
            log.warning("%s", notice)
        crops = np.stack([bgr_crop(*one) for one in found])
        embedding = torch.as_tensor(self._embed(crops)).float().cpu()
        if not bool(torch.isfinite(embedding).all()):
            raise WeightsError(
                "The recognizer's embedding is not finite, so its weights are damaged. Download them again."
            )
        look = blank = None
        if self.vision is not None:
            side = self.vision.config.image_size
            look, blank = self._look(pixels_of(bgr_crop(*found[0], side)))
        told = f"{len(found)} photo{'s' * (len(found) > 1)}"
        return FaceCondition(fused(embedding), look, blank, told, tuple(notices), self.recognizer_name)

    @torch.no_grad()
    def _look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's penultimate hidden states, of a face and of no picture, on the CPU."""
        both = torch.cat([pixels, torch.zeros_like(pixels)]).to(self.vision.device, self.vision.dtype)
        states = self.vision(both, output_hidden_states=True).hidden_states[-2].cpu()
        return states[:1], states[1:]


def pixels_of(crop: Picture) -> Tensor:
    """CLIP's input of an aligned face, [1, 3, side, side]. It stays BGR: so the published adapters were trained."""
    values = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (CLIP_MEAN, CLIP_STD))
    return (values - mean) / std
