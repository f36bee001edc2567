"""A recognizer and a decoder whose answers can be worked out by hand.

A "picture" is flat: red says whether there is a face (>= 128), green is the angle of the embedding, blue is where
the landmarks are. Latents [B, 3, h, w] hold these three in 0..1, and the decoder repeats every pixel 8 times.
"""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.probe import ProbeRecorder, Reference


@dataclass(frozen=True)
class FakeFace:
    bbox: tuple[float, float, float, float]
    kps: np.ndarray
    score: float


class FakeRecognizer:
    """Sees `green / 255 * 90` degrees; remembers where it was told to crop."""

    name = "fake"

    def __init__(self) -> None:
        self.crops_at: list[tuple[float, float]] = []

    def detect(self, rgb: np.ndarray) -> list[FakeFace]:
        red, _, blue = (float(value) for value in rgb[0, 0])
        if red < 128:
            return []
        height, width = rgb.shape[:2]
        kps = np.array([[width * blue / 255, height / 2]] * 5, np.float32)
        return [FakeFace((0, 0, width / 2, height / 2), kps, red / 255)]

    def crop(self, rgb: np.ndarray, kps: np.ndarray) -> np.ndarray:
        self.crops_at.append((round(float(kps[0, 0]), 2), round(float(kps[0, 1]), 2)))
        return np.broadcast_to(rgb[0, 0], (112, 112, 3)).astype(np.uint8)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        angles = crops[:, 0, 0, 1].astype(np.float64) / 255 * math.pi / 2
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def decode(latents: torch.Tensor) -> torch.Tensor:
    return latents.float().repeat_interleave(8, 2).repeat_interleave(8, 3)


def latents(*items: tuple[float, float, float]) -> torch.Tensor:
    """One batch of (face, angle, place), each 0..1."""
    return torch.tensor(items)[:, :, None, None].expand(-1, -1, 4, 4).clone()


def looks(similarity: float, face: bool = True, place: float = 0.0) -> tuple[float, float, float]:
    """A batch item that scores `similarity` (to 8 bits) against a reference of angle 0."""
    return (1.0 if face else 0.0, math.acos(similarity) / (math.pi / 2), place)


def picture(angle: float = 0.0, face: bool = True, size: int = 32) -> np.ndarray:
    """A finished picture, RGB uint8."""
    return np.broadcast_to(np.array([255 * face, round(255 * angle), 0], np.uint8), (size, size, 3)).copy()


@pytest.fixture
def lab() -> SimpleNamespace:
    """The fakes, for tests that build their own runs."""
    return SimpleNamespace(
        FakeRecognizer=FakeRecognizer, FakeFace=FakeFace, decode=decode, latents=latents, looks=looks, picture=picture
    )


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture
def reference(recognizer: FakeRecognizer) -> Reference:
    """A person at angle 0."""
    return Reference.from_pictures(recognizer, [picture()])


@pytest.fixture
def make(recognizer: FakeRecognizer, reference: Reference) -> Any:
    """`make(**options)`: a recorder over the fakes."""
    return lambda **options: ProbeRecorder(recognizer, reference, options.pop("decode", decode), **options)
