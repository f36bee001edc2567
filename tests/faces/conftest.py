"""A face pack made on the spot: tiny networks with InsightFace's ONNX contracts and known answers.

The detector takes an 8 x 8 cell that is fully red as a face, whose half size is the cell's green (255 = 64 pixels at
the detector's scale); its landmarks stand at fixed shares of the half size. The recognizer's embedding is the crop
itself, averaged over 4 x 4 patches of each RGB channel (48 numbers).
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

# left eye, right eye, nose, mouth corners, in half sizes from the middle of the box
SHARES = torch.tensor([[-0.37, -0.22], [0.36, -0.23], [0.0, 0.2], [-0.3, 0.62], [0.31, 0.61]])
CELLS = 8.0  # half size in stride units at full green


class RedCells(nn.Module):
    """SCRFD's nine outputs; only stride 8's first anchor ever fires."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scores, boxes, points = [], [], []
        for stride in (8, 16, 32):
            cells = nn.functional.avg_pool2d(x, stride, stride)[0].flatten(1).T  # [cells, 3], RGB in -1..1
            live = 1.0 if stride == 8 else 0.0
            red, half = cells[:, :1] * 0.5 + 0.5, (cells[:, 1:2] * 0.5 + 0.5) * CELLS
            scores.append(torch.stack([red * live, red * 0], 1).reshape(-1, 1))
            boxes.append(torch.stack([half.repeat(1, 4)] * 2, 1).reshape(-1, 4))
            points.append(torch.stack([half * SHARES.reshape(1, 10)] * 2, 1).reshape(-1, 10))
        return (*scores, *boxes, *points)


class Patches(nn.Module):
    """ArcFace's contract; the embedding is the picture in small."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 28, 28).flatten(1)


def export(network: nn.Module, example: Tensor, path: Path, axes: dict[str, dict[int, str]], **metadata: str) -> None:
    """Write an ONNX file as the contracts want it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), str(path), input_names=["input.1"], dynamic_axes=axes, opset_version=13, dynamo=False
        )
    model = onnx.load(path)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)


def export_detector(path: Path, **metadata: str) -> None:
    export(RedCells(), torch.zeros(1, 3, 64, 64), path, {"input.1": {2: "?", 3: "?"}}, **metadata)


def export_recognizer(path: Path) -> None:
    export(Patches(), torch.zeros(1, 3, 112, 112), path, {"input.1": {0: "N"}})


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detector and recognizer, whose detector states the sizes 128 and 256."""
    folder = tmp_path_factory.mktemp("packs") / "antelopev2"
    folder.mkdir()
    export_detector(folder / "scrfd_10g_bnkps.onnx", det_sizes="128,256")
    export_recognizer(folder / "glintr100.onnx")
    return folder


@pytest.fixture
def export_pack() -> Any:
    """The two writers, for packs of another kind."""
    return SimpleNamespace(detector=export_detector, recognizer=export_recognizer)


@pytest.fixture
def scene() -> Callable[..., np.ndarray]:
    """A picture RGB [side, side, 3] with faces as (x, y, half size): multiples of 8 for x and y, pixels."""

    def draw(*faces: tuple[int, int, int], side: int = 128, red: int = 255) -> np.ndarray:
        picture = np.zeros((side, side, 3), np.uint8)
        picture[..., 2] = np.linspace(30, 110, side).astype(np.uint8)
        picture[..., 1] = np.linspace(0, 60, side).astype(np.uint8)[:, None]
        for x, y, half in faces:
            picture[y : y + 8, x : x + 8] = (red, round(half / 64 * 255), 0)
        return picture

    return draw


@pytest.fixture
def kps_of() -> Callable[[int, int, int], np.ndarray]:
    """Where the detector puts the landmarks of such a face."""
    return lambda x, y, half: np.asarray(SHARES.numpy() * half + (x, y), np.float32)
