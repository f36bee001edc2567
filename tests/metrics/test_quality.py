"""Sharpness and contrast against OpenCV and against figures worked out by hand."""

import math

import cv2
import numpy as np
import pytest
import torch

from infusenet.metrics import rms_contrast, sharpness


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 17, 23, generator=torch.Generator().manual_seed(0))


def test_sharpness_is_the_variance_of_opencvs_laplacian_inside_the_picture(pictures: torch.Tensor) -> None:
    got = sharpness(pictures)
    for picture, value in zip(pictures, got, strict=True):
        gray = cv2.cvtColor(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)
        assert float(value) == pytest.approx(cv2.Laplacian(gray, cv2.CV_32F)[1:-1, 1:-1].var(), rel=1e-4)


def test_contrast_is_the_deviation_of_opencvs_gray(pictures: torch.Tensor) -> None:
    for picture, value in zip(pictures, rms_contrast(pictures), strict=True):
        gray = cv2.cvtColor(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)
        assert float(value) == pytest.approx(gray.std(), rel=1e-5)


def test_known_pictures() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5)
    board = ((torch.arange(8)[:, None] + torch.arange(8)) % 2).float().expand(1, 3, 8, 8)
    assert sharpness(flat).item() == pytest.approx(0, abs=1e-10)
    assert rms_contrast(flat).item() == pytest.approx(0, abs=1e-6)
    assert sharpness(board).item() == pytest.approx(16, rel=1e-5)  # the Laplacian alternates between +4 and -4
    assert rms_contrast(board).item() == pytest.approx(0.5, rel=1e-5)


def test_blur_lowers_both() -> None:
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    blurred = torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    assert sharpness(blurred) < sharpness(noise) / 4
    assert rms_contrast(blurred) < rms_contrast(noise)


def test_undefined_is_nan_for_that_picture_alone() -> None:
    pictures = torch.rand(2, 3, 8, 8)
    pictures[0, 0, 0, 0] = math.nan
    for metric in (sharpness, rms_contrast):
        values = metric(pictures)
        assert math.isnan(values[0]) and not math.isnan(values[1])
    assert math.isnan(sharpness(torch.rand(1, 3, 2, 8)).item())
    assert math.isnan(rms_contrast(torch.rand(1, 3, 0, 8)).item())


@pytest.mark.exact
def test_half_precision_is_measured_in_float32(pictures: torch.Tensor) -> None:
    half = pictures.half()
    assert torch.equal(sharpness(half), sharpness(half.float()))
    assert sharpness(half).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [torch.rand(1, 8, 8, 3), torch.rand(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_another_layout_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        sharpness(wrong)
