"""Other people for the miniature: what a stranger scores against a drawn person. Real faces need real strangers."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_SEED, _COUNT = 8_100_000, 16  # people of this seed are used by no training, demo or sweep


@cache
def drawn_strangers() -> tuple[npt.NDArray[np.uint8], ...]:
    """Sixteen drawn persons, RGB uint8 [128, 128, 3], always the same ones."""
    import torch

    from .faces import render, sample_identities, sample_scenes, to_uint8

    generator = torch.Generator().manual_seed(_SEED)
    people = sample_identities(_COUNT, generator)
    pictures = to_uint8(render(people, sample_scenes(_COUNT, generator, plain=True)).images)
    return tuple(picture.permute(1, 2, 0).numpy() for picture in pictures)
