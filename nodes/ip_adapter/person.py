"""Photos of a person become what an IP-Adapter reads: the face's embedding, and CLIP's view of the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import numpy as np
import torch
from torch import Tensor

from ...infusenet.adapters.infusenet.encoder import bgr_crop, chosen_faces, fused
from ...infusenet.adapters.ip_adapter.layouts import IPAdapter
from ...infusenet.errors import FaceError, SettingsError
from ...infusenet.faces.align import CROP
from ...infusenet.files import Picture
from ..convert import pictures_to_image

_LOOK = 224  # pixels of the aligned face that CLIP sees


@dataclass(frozen=True, eq=False)
class Tokens:
    """A person's tokens and nobody's, [n, t, width] and [1, t, width], with the faces that were read and notices."""

    face: Tensor = field(repr=False)
    nobody: Tensor = field(repr=False)
    faces: Picture = field(repr=False)
    notices: tuple[str, ...] = ()


@torch.inference_mode()
def read_person(
    adapter: IPAdapter, recognizer: Any, pictures: Sequence[Picture], clip_vision: Any = None, *, fuse: bool = True
) -> Tokens:
    """Read a person off photos.

    Args:
        adapter: what reads.
        recognizer: finds and knows faces; the one that the adapter was trained with.
        pictures: RGB uint8 [H, W, 3] each.
        clip_vision: the host's; needed where the adapter reads CLIP's view.
        fuse: one person of all photos; else one each.

    Raises:
        FaceError: a photo shows no face that can be used.
        SettingsError: the recognizer or the CLIP vision are not those that the adapter was trained with, or lacking.
    """
    if not hasattr(recognizer, "detector"):
        raise SettingsError(
            "Apply IP-Adapter needs a face recognizer. Connect Load Face Recognizer with buffalo_l, not Likeness "
            "Measure."
        )
    check_vision(adapter, clip_vision)
    found, notices = chosen_faces(recognizer.detector, pictures)
    crops = np.stack([bgr_crop(*one, getattr(recognizer, "crop_size", CROP)) for one in found])
    embedding = torch.as_tensor(np.asarray(recognizer.embed(crops))).float()
    check_embedding(adapter, embedding)
    look = nothing = None
    if adapter.layout.reads_look:
        look, nothing = looks(clip_vision, np.stack([bgr_crop(*one, _LOOK) for one in found]))
        if look.shape[-1] != adapter.look:
            raise SettingsError(
                f"{adapter.path.name} expects CLIP features of width {adapter.look}, but this clip_vision gives width "
                f"{look.shape[-1]}. Load CLIP-ViT-H-14 (laion2B), which FaceID plus v2 was trained with."
            )
    if fuse:
        embedding = fused(embedding)
        look = None if look is None else look[:1]  # of the first photo, as in the library
    face = adapter.projection(embedding, look)
    nobody = adapter.projection(torch.zeros_like(embedding[:1]), nothing)
    return Tokens(face, nobody, np.stack([bgr_crop(*one) for one in found]), tuple(notices))


def check_vision(adapter: IPAdapter, clip_vision: Any) -> None:
    """Raise SettingsError where CLIP's view is needed and missing."""
    if adapter.layout.reads_look and clip_vision is None:
        raise SettingsError(
            f"{adapter.path.name} is an IP-Adapter {adapter.layout.title}, which needs CLIP's view of the face. "
            "Connect Load CLIP Vision, with CLIP-ViT-H-14 (laion2B), to clip_vision."
        )


def check_embedding(adapter: IPAdapter, embedding: Tensor) -> None:
    """Raise unless the embedding is finite and of the length that the adapter reads."""
    if embedding.shape[-1] != adapter.embedding:
        raise SettingsError(
            f"{adapter.path.name} reads face embeddings of {adapter.embedding} numbers, but this recognizer gives "
            f"{embedding.shape[-1]}. Load the recognizer that it was trained with: InsightFace's buffalo_l."
        )
    if not bool(torch.isfinite(embedding).all()):
        raise FaceError("The recognizer gave NaN or infinity for this face. Use a clearer picture of it.")


def looks(clip_vision: Any, crops_bgr: Picture) -> tuple[Tensor, Tensor]:
    """CLIP's last hidden states but one of aligned faces, [n, patches, width], and of no picture, [1, patches, width].

    The faces stay BGR: so the published adapters were trained. No picture is zeros behind CLIP's normalisation.
    """
    look = clip_vision.encode_image(pictures_to_image(crops_bgr))["penultimate_hidden_states"]
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    side = getattr(clip_vision, "image_size", _LOOK)
    zeros = torch.zeros(1, 3, side, side, device=clip_vision.load_device)
    nothing = clip_vision.model(pixel_values=zeros, intermediate_output=-2)[1]
    return look.float().cpu(), nothing.float().cpu()
