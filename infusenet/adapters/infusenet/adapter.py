"""InfuseNet as an adapter: photos become identity tokens, which a ControlNet carries into FLUX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import SettingsError
from ...files import Picture
from ...guidance.notation import parse_attention
from ..base import AdapterSpec, Settings

if TYPE_CHECKING:
    from .encoder import Identity, IdentityEncoder


class InfuseNetAdapter:
    """InfuseNet on FLUX (`InfuseNetPipeline`).

    Args:
        encoder: reads the photos; None where conditions come from elsewhere.
        weights: InfuseNet's own, a folder or a file; None where the pipeline has it already.
    """

    def __init__(self, encoder: IdentityEncoder | None = None, weights: Path | None = None) -> None:
        self._encoder, self._weights = encoder, weights

    @property
    def encoder(self) -> IdentityEncoder:
        """What reads photos.

        Raises:
            SettingsError: it was made without one.
        """
        if self._encoder is None:
            raise SettingsError('No identity encoder is loaded. Load the adapter with ADAPTERS["infusenet"].load.')
        return self._encoder

    def encode(self, pictures: Sequence[Picture], *, face: str | int = "largest") -> Identity:
        """Read a person off photos; see `IdentityEncoder.encode`."""
        return self.encoder.encode(pictures, face=face)

    def control(self, pose: Picture, width: int, height: int) -> Picture:
        """The pose's five facial keypoints, drawn on black in the picture's size.

        Raises:
            FaceError: the photo shows no face.
        """
        from ...faces import face_pose

        return face_pose(pose, self.encoder, width, height)

    def bind(self, pipeline: Any) -> None:
        """Load InfuseNet beside the transformer, unless it is there."""
        if self._weights is not None and pipeline.controlnet is None:
            from .model import InfuseNetModel

            pipeline.register_modules(controlnet=InfuseNetModel.beside(pipeline.transformer, self._weights))

    @contextmanager
    def acting(
        self, pipeline: Any, condition: Any, settings: Settings, control: Picture | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The pipeline takes an identity by itself: nothing is changed on it."""
        from PIL import Image

        yield {
            "identity": condition,
            "control_image": None if control is None else Image.fromarray(control),
            "controlnet_conditioning_scale": settings.strength,
            "control_guidance_start": settings.start,
            "control_guidance_end": settings.end,
            "branches": settings.branches,
            "refresh": settings.refresh,
            "attention": parse_attention(settings.attention),
        }


def _load(parts: Mapping[str, Path], face_pack: Path, device: str, dtype: Any) -> InfuseNetAdapter:
    from .encoder import IdentityEncoder

    encoder = IdentityEncoder.from_files(parts["image_proj"], parts["arcface"], face_pack, device=device, dtype=dtype)
    return InfuseNetAdapter(encoder, parts["infusenet"])


INFUSENET = AdapterSpec("infusenet", "InfuseNet", ("infusenet", "image_proj", "arcface"), ("flux",), _load)
