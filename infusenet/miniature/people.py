"""Drawn people whom no model and no demo has seen: of sweeps, and strangers. Real faces need real strangers."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_STRANGERS, _COUNT = 8_100_000, 16  # people of this seed are used by no training, demo or sweep
_UNSEEN = 7_100_000  # nor those of seeds from here on, but by sweeps


@cache
def drawn_strangers() -> tuple[npt.NDArray[np.uint8], ...]:
    """Sixteen drawn persons, RGB uint8 [128, 128, 3], always the same ones."""
    return _drawn(_COUNT, _STRANGERS)


def drawn_reference(number: int) -> npt.NDArray[np.uint8]:
    """A drawn person for a sweep, RGB uint8 [128, 128, 3]; the same for the same number."""
    return _drawn(1, _UNSEEN + number)[0]


def drawn_again(number: int) -> npt.NDArray[np.uint8]:
    """The same person as `drawn_reference`, in a photo of any scene, RGB uint8 [128, 128, 3]."""
    return _drawn(1, _UNSEEN + number, plain=False, styled=0.0)[0]


def _drawn(count: int, seed: int, *, plain: bool = True, styled: float = 0.3) -> tuple[npt.NDArray[np.uint8], ...]:
    import torch

    from .faces import render, sample_identities, sample_scenes, to_uint8

    generator = torch.Generator().manual_seed(seed)
    people = sample_identities(count, generator)
    pictures = to_uint8(render(people, sample_scenes(count, generator, plain=plain, styled=styled)).images)
    return tuple(picture.permute(1, 2, 0).numpy() for picture in pictures)
