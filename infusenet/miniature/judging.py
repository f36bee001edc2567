"""The judge: what a drawn picture shows of what its prompt asked for. It conditions nothing and chooses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ..weights import read_weights
from . import JUDGE, networks


@cache
def judge() -> networks.Judge:
    """The judge of the weights folder."""
    net = networks.Judge()
    state = read_weights(JUDGE)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return net.eval().requires_grad_(False)


@torch.no_grad()
def judged(pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.intp]]:
    """What the judge reads in pictures: codes [n] by attribute.

    Args:
        pictures: RGB uint8 [n, 128, 128, 3]: the size that it was trained on.
    """
    answers = judge()(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 * 2 - 1)
    return {name: answer.argmax(1).numpy() for name, answer in answers.items()}


def share_shown(picture: NDArray[np.uint8], asked: Mapping[str, int]) -> float | None:
    """The share of what was asked for that the judge reads in a picture, 0..1; higher is better.

    Args:
        picture: RGB uint8 [H, W, 3]; brought to the judge's size.
        asked: codes by attribute, from `captions.asked_of`.

    Returns:
        None where nothing was asked for that the judge reads.
    """
    from PIL import Image

    asked = {name: code for name, code in asked.items() if name in networks.JUDGED}
    sized = Image.fromarray(picture).resize((networks.SIZE, networks.SIZE), Image.Resampling.BICUBIC)
    read = judged(np.array(sized)[None])
    right = [int(read[name][0]) == code for name, code in asked.items()]
    return sum(right) / len(right) if right else None
