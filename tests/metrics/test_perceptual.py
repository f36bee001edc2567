"""LPIPS with a random VGG16, against the formula written out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from infusenet.errors import InfuseNetError, PackageError, WeightsError
from infusenet.metrics.perceptual import SIZE, fitted, lpips_distance, lpips_network

WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
TAPS = (1, 4, 8, 12, 16)  # places in WIDTHS whose output, after the ReLU, is compared
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # as published with LPIPS


def vgg() -> dict[str, torch.Tensor]:
    """Random weights in torchvision's layout, with a classifier's as in the whole file."""
    generator, state, layer, before = torch.Generator().manual_seed(3), {}, 0, 3
    for width in WIDTHS:
        if isinstance(width, int):
            weight = torch.randn(width, before, 3, 3, generator=generator)
            state[f"features.{layer}.weight"] = weight * (2 / (9 * before)) ** 0.5
            state[f"features.{layer}.bias"] = torch.randn(width, generator=generator) * 0.1
            before, layer = width, layer + 2
        else:
            layer += 1
    return {**state, "classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(vgg(), path)
    return path


@pytest.fixture(scope="module")
def network(file: Path) -> Any:
    try:
        return lpips_network(file)
    except PackageError as error:
        pytest.skip(str(error))


def by_hand(a: torch.Tensor, b: torch.Tensor, heads: list[torch.Tensor]) -> torch.Tensor:
    """The published formula: unit features, squared differences, weighted over channels, mean over places, summed."""
    state = vgg()

    def features(picture: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = (torch.tensor(each)[None, :, None, None] for each in (SHIFT, SCALE))
        x, layer, seen = (picture * 2 - 1 - shift) / scale, 0, []
        for place, width in enumerate(WIDTHS):
            if isinstance(width, int):
                weight, bias = state[f"features.{layer}.weight"], state[f"features.{layer}.bias"]
                x, layer = functional.conv2d(x, weight, bias, padding=1).relu(), layer + 2
            else:
                x, layer = functional.max_pool2d(x, 2), layer + 1
            if place in TAPS:
                seen.append(x / x.norm(dim=1, keepdim=True))
        return seen

    apart = torch.zeros(len(a))
    for one, other, head in zip(features(a), features(b), heads, strict=True):
        apart += ((one - other).square() * head.reshape(1, -1, 1, 1)).sum(1).mean((1, 2))
    return apart


def test_it_is_the_published_formula(network: Any) -> None:
    a, b = torch.rand(2, 2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    heads = [layer.model[-1].weight.detach() for layer in network.lins]
    assert [len(head.flatten()) for head in heads] == [64, 128, 256, 512, 512]
    found = lpips_distance(a, b, network)
    assert found.shape == (2,)
    assert torch.allclose(found, by_hand(a, b, heads), rtol=1e-4)
    assert (found > 0).all()


def test_the_same_picture_and_symmetry(network: Any) -> None:
    a, b = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(2))
    assert lpips_distance(a, a, network).item() == 0
    assert torch.allclose(lpips_distance(a, b, network), lpips_distance(b, a, network))
    slightly = (a + 0.02 * b).clamp(0, 1)
    assert lpips_distance(a, slightly, network) < lpips_distance(a, b, network)
    assert lpips_distance(torch.full_like(a, torch.nan), b, network).isnan().all()


def test_shapes_are_checked() -> None:
    a = torch.rand(1, 3, 64, 64)
    for b in (torch.rand(1, 3, 64, 32), torch.rand(3, 64, 64)):
        with pytest.raises(ValueError, match=r"of the same shape .*fitted"):
            lpips_distance(a, b, None)
    with pytest.raises(ValueError, match="at least 32 x 32"):
        lpips_distance(a[..., :16], a[..., :16], None)


@pytest.mark.parametrize("change", ["missing", "shape", "nan"])
def test_another_networks_weights_are_refused(network: Any, tmp_path: Path, change: str) -> None:
    state = vgg()
    if change == "missing":
        del state["features.28.bias"]
    elif change == "shape":
        state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    else:
        state["features.0.bias"][3] = torch.nan
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"features\."):
        lpips_network(tmp_path / "other.safetensors")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InfuseNetError, match="nowhere"):
        lpips_network(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (700, 600)])
def test_the_middle_square_is_compared(height: int, width: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = (255, 0, 51)
    square = fitted(picture)
    assert square.shape == (1, 3, SIZE, SIZE)
    middle = square[0, :, 60:-60, 60:-60]  # resampling mixes in what is near the edge
    assert torch.allclose(middle.flatten(1).min(1).values, torch.tensor([1.0, 0.0, 0.2]), atol=0.01)
    assert torch.allclose(middle.flatten(1).max(1).values, torch.tensor([1.0, 0.0, 0.2]), atol=0.01)
