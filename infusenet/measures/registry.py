"""The measures by name. Loading one imports what it needs, and nothing before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import SettingsError
from .base import Measure


@dataclass(frozen=True)
class MeasureSpec:
    """One way to compare pictures.

    Attributes:
        name: as users write it.
        title: for people.
        needs_folder: whether `load` needs a folder of weights.
        of: what its `reference` takes: "pictures", RGB uint8 [H, W, 3], or a "prompt".
        load: folder and device ("cpu", "cuda", "cuda:N" or "auto") -> the measure.
    """

    name: str
    title: str
    needs_folder: bool
    of: Literal["pictures", "prompt"]
    load: Callable[[Path, str], Measure]


def _face(folder: Path, device: str = "cpu") -> Measure:
    from ..faces import FaceRecognizer
    from .faces import as_measure

    return as_measure(FaceRecognizer.from_pack(folder, device=device))


def _clip_image(folder: Path, device: str = "cpu") -> Measure:
    from .vision import clip_image

    return clip_image(folder, device=device)


def _dino(folder: Path, device: str = "cpu") -> Measure:
    from .vision import dino

    return dino(folder, device=device)


def _clip_text(folder: Path, device: str = "cpu") -> Measure:
    from .vision import clip_text

    return clip_text(folder, device=device)


MEASURES: dict[str, MeasureSpec] = {
    spec.name: spec
    for spec in (
        MeasureSpec("face", "the same face (a face pack's recognizer)", True, "pictures", _face),
        MeasureSpec("clip-image", "the same picture content (CLIP image embeddings)", True, "pictures", _clip_image),
        MeasureSpec("dino", "the same object or scene (DINOv2's class token)", True, "pictures", _dino),
        MeasureSpec("clip-text", "fit to a prompt (CLIP text and image embeddings)", True, "prompt", _clip_text),
    )
}
"""By name. Anyone may add one: MEASURES["mine"] = MeasureSpec("mine", ...)."""

FACE = "face"
"""The measure where none is named."""


def get_measure(name: str) -> MeasureSpec:
    """Look a measure up by name.

    Raises:
        SettingsError: the name is unknown; the message lists the known ones.
    """
    try:
        return MEASURES[name]
    except KeyError:
        raise SettingsError(f"Unknown measure {name!r}. Known: {', '.join(MEASURES)}.") from None
