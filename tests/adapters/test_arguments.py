"""Sizes, batches and control images as a call gives them."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from infusenet.adapters.infusenet.arguments import Batch, batch_of, check_packed, control_pixels, picture_size, single
from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError

MINI = BACKBONES["mini-dev"]


@pytest.fixture(scope="module")
def processor():
    from diffusers.image_processor import VaeImageProcessor

    return VaeImageProcessor(vae_scale_factor=16)


@pytest.mark.parametrize(
    ("image", "width", "height", "size"),
    [
        (None, None, None, (128, 128)),
        (None, 64, None, (64, 128)),
        (Image.new("RGB", (32, 48)), None, None, (128, 128)),
        (torch.zeros(1, 3, 48, 32), None, None, (32, 48)),
        (torch.zeros(1, 3, 48, 32), 64, 64, (64, 64)),
        (torch.zeros(48, 32, 3, dtype=torch.uint8), None, None, (128, 128)),
    ],
)
def test_the_size_comes_from_the_call_then_a_tensor_then_the_backbone(image, width, height, size):
    assert picture_size(image, width, height, MINI) == size


def test_the_notice_of_a_floored_size(caplog):
    with caplog.at_level(logging.WARNING, "infusenet"):
        assert picture_size(None, 64, 64, MINI) == (64, 64)
        assert not caplog.records
        assert picture_size(None, 79, 65, MINI) == (64, 64)
    assert "79x65 was changed to 64x64" in caplog.text


@pytest.mark.parametrize(
    ("given", "spread"), [([7], [7, 7, 7, 7]), ([1, 2], [1, 1, 2, 2]), ([1, 2, 3, 4], [1, 2, 3, 4])]
)
def test_every_picture_gets_its_own(given, spread):
    assert Batch(2, 2).spread(torch.tensor(given), "faces").tolist() == spread


def test_another_number_is_refused():
    with pytest.raises(SettingsError, match=r"faces for 2 prompts with 2 pictures each.*Got 3"):
        Batch(2, 2).spread(torch.zeros(3), "faces")


def test_prompts_are_counted():
    assert batch_of("a face", None, None) == Batch(1, 1)
    assert batch_of(["a", "b"], None, 3).size == 6
    assert batch_of(None, torch.zeros(5, 8, 4), 1) == Batch(5, 1)
    with pytest.raises(SettingsError, match="at least one prompt"):
        batch_of([], None, 1)
    with pytest.raises(SettingsError, match="at least one prompt"):
        batch_of("a face", None, 0)


@pytest.mark.parametrize("value", [0.5, [0.5], (0.5,), np.float32(0.5)])
def test_a_number_or_a_list_of_one(value):
    assert single(value) == 0.5


@pytest.mark.parametrize("value", [[], [1.0, 2.0], float("inf"), float("nan")])
def test_other_values_are_refused(value):
    with pytest.raises(SettingsError, match="one finite number"):
        single(value)


def test_packed_latents_are_checked():
    ready = torch.zeros(2, 8, 64)
    assert check_packed(ready, 64, 32, 64, 2, "latents") is ready
    assert check_packed(ready, 64, 32, 64, None, "latents") is ready
    with pytest.raises(SettingsError, match=r"latents packed as \[3, 8, 64\] for 64x32 pixels, got \[2, 8, 64\]"):
        check_packed(ready, 64, 32, 64, 3, "latents")


def test_black_is_minus_one(processor):
    assert torch.equal(control_pixels(None, 32, 16, processor), -torch.ones(1, 3, 16, 32))


def test_pictures_are_resized_and_scaled(processor):
    white = Image.new("L", (70, 50), 255)
    assert torch.equal(control_pixels(white, 32, 16, processor), torch.ones(1, 3, 16, 32))
    several = np.stack([np.zeros((16, 32, 3), np.uint8), np.full((16, 32, 3), 255, np.uint8)])
    assert control_pixels(several, 32, 16, processor).mean(dim=(1, 2, 3)).tolist() == [-1.0, 1.0]
    assert control_pixels([white, several], 32, 16, processor).shape == (3, 3, 16, 32)


def test_pixels_keep_rows_columns_and_colours(processor):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[2, 5, 1] = 255
    [place] = (control_pixels(picture, 32, 16, processor) == 1).nonzero().tolist()
    assert place == [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 16, 16), r"got \[1, 3, 16, 16\]"),
        (torch.zeros(1, 1, 16, 32), r"got \[1, 1, 16, 32\]"),
        (torch.full((1, 3, 16, 32), torch.nan), "got nan..nan"),
        (np.full((16, 32, 3), 200.0), "Pass a PIL picture or a uint8 array, or rescale"),
        (np.zeros((16, 32, 3), np.int64), "got int64"),
    ],
)
def test_what_is_no_control_image_is_refused(processor, image, message):
    with pytest.raises(SettingsError, match=message):
        control_pixels(image, 32, 16, processor)
