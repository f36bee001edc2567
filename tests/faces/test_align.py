"""Alignment and control images against the original's recordings and against geometry."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infusenet.errors import FaceError, SettingsError
from infusenet.faces.align import CROP, TEMPLATE, draw_kps, face_pose, norm_crop, resize_and_pad, similarity_transform

FACE = np.asarray(TEMPLATE, np.float32)
# five points that have nothing in common with a face, whatever the turn and scale
UNLIKE = np.linalg.svd(np.column_stack([FACE, np.ones(5)]))[0][:, 3:]
LANDMARK_SETS = ("frontal", "rotated", "tiny_face", "partly_outside")


def read(path: Any) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("name", LANDMARK_SETS)
def test_crops_equal_the_recorded(goldens: Any, name: str) -> None:
    golden = goldens("frontend/arcface")
    landmarks = golden[f"{name}/landmarks"].numpy()
    golden.check(f"{name}/affine", torch.from_numpy(similarity_transform(landmarks)))
    bgr = np.ascontiguousarray(golden["in/image_rgb_u8"].numpy()[..., ::-1])
    off = np.abs(norm_crop(bgr, landmarks).astype(int) - golden[f"{name}/crop_bgr_u8"].numpy())
    assert off.max() <= 3
    assert (off.max(axis=-1) > 0).mean() <= 0.1


@pytest.mark.exact
def test_keypoint_pictures_equal_the_recorded(goldens: Any) -> None:
    cases = json.loads((goldens.folder / "frontend" / "draw_kps.json").read_text())
    assert cases
    for name, case in cases.items():
        drawn = draw_kps(case["kps_float32"], case["width"], case["height"])
        assert np.array_equal(drawn, read(goldens.folder / "frontend" / "draw_kps" / f"{name}.png")), name


@pytest.mark.exact
def test_fitted_pictures_equal_the_recorded(goldens: Any) -> None:
    cases = json.loads((goldens.folder / "frontend" / "resize_and_pad.json").read_text())
    assert cases
    folder = goldens.folder / "frontend" / "resize_and_pad"
    for name, case in cases.items():
        fitted = resize_and_pad(read(folder / f"{name}.in.png"), *case["target"])
        assert np.array_equal(fitted, read(folder / f"{name}.out.png")), name


@pytest.mark.exact
def test_the_whole_call_fits_its_pose_picture_before_looking_for_a_face(goldens: Any) -> None:
    golden = goldens("frontend/wrapper_call_kps")
    seen = []

    class Detector:
        def detect(self, rgb: np.ndarray) -> list[Any]:
            seen.append(rgb)
            return []

    height, width, _ = golden["pipe/control_image_u8"].shape
    with pytest.raises(FaceError, match=f"pose picture after it was fitted to {width}x{height}"):
        face_pose(golden["in/control_image_rgb_u8"].numpy(), Detector(), width, height)
    assert np.array_equal(seen[0], golden["detector/control_image_bgr_u8"].numpy()[..., ::-1])


@pytest.mark.exact
def test_the_pose_is_that_of_the_first_face() -> None:
    class Found:
        def __init__(self, shift: float) -> None:
            self.kps = FACE + np.float32(shift)

    class Detector:
        def detect(self, rgb: np.ndarray) -> list[Found]:
            return [Found(5), Found(40)]

    pose = face_pose(np.zeros((200, 100, 3), np.uint8), Detector(), 160, 128)
    assert np.array_equal(pose, draw_kps(FACE + 5, 160, 128))


@pytest.mark.parametrize("size", [112, 224])
def test_a_known_motion_is_found(size: int) -> None:
    angle, scale, shift = 0.7, 2.5, np.array([31.0, -12.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity_transform(FACE @ turn.T + shift, size)
    undone = (FACE @ turn.T + shift) @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(undone, FACE * (size / CROP), atol=1e-3)


def test_no_mirroring() -> None:
    mirrored = FACE * (-1, 1) + (112, 0)
    assert np.linalg.det(similarity_transform(mirrored)[:, :2]) > 0


def test_a_crop_keeps_its_channels_and_is_black_outside() -> None:
    picture = np.full((112, 112, 3), (10, 20, 30), np.uint8)
    assert (norm_crop(picture, FACE) == (10, 20, 30)).all()
    assert (norm_crop(picture, FACE + 300) == 0).all()


@pytest.mark.parametrize(
    ("kps", "says"),
    [
        (np.zeros((5, 2)), "fall on one point"),
        (np.full((5, 2), 900.0) + np.eye(5, 2) * 1e-3, "fall on one point"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.zeros((4, 2)), r"shape \(5, 2\)"),
        (UNLIKE * 50, "arranged like a face"),
    ],
)
def test_degenerate_landmarks_are_errors(kps: np.ndarray, says: str) -> None:
    with pytest.raises(FaceError, match=says):
        norm_crop(np.zeros((50, 50, 3), np.uint8), kps)


def test_landmarks_on_a_line_still_align() -> None:
    assert np.isfinite(similarity_transform(FACE * (1, 0) + (0, 50))).all()


def test_a_sliver_cannot_be_fitted() -> None:
    with pytest.raises(SettingsError, match="too narrow"):
        resize_and_pad(np.zeros((1, 400, 3), np.uint8), 96, 128)
