"""Faces as geometry: aligned crops, the five keypoints drawn as a control image, photos fitted to a picture's size.

Everything here reproduces the InfiniteYou pipeline: `norm_crop` follows InsightFace's ArcFace template, `draw_kps` and
`resize_and_pad` are equal to the original's pixel by pixel. OpenCV and Pillow are imported when used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FaceError, SettingsError
from .packages import import_cv2

if TYPE_CHECKING:
    from collections.abc import Sequence

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

CROP = 112
"""Side of an aligned face in pixels."""

TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where ArcFace wants left eye, right eye, nose, left and right mouth corner in a 112 x 112 crop (x, y; pixels)."""

KPS_COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""RGB of left eye, right eye, nose, left and right mouth corner."""

_NOSE = 2
_LIMB_HALF_WIDTH = 4
_LIMB_BRIGHTNESS = 0.6
_DISC_RADIUS = 10
_WHITE = (255, 255, 255)
_FLAT = 1e-3  # a spread or a scale below this share of the usual carries no direction


class HasKps(Protocol):
    """A detected face, as far as drawing it needs."""

    @property
    def kps(self) -> Points: ...


class Detector(Protocol):
    """What finds faces: `FaceDetector` or a stand-in."""

    def detect(self, rgb: Picture) -> Sequence[HasKps]: ...


def check_kps(kps: ArrayLike) -> Points:
    """Five landmarks as float32 [5, 2].

    Raises:
        FaceError: wrong shape, or not finite.
    """
    points = np.asarray(kps, dtype=np.float32)
    if points.shape != (5, 2):
        raise FaceError(
            f"Expected a face's five landmarks (x, y) as an array of shape (5, 2), got {tuple(points.shape)}."
        )
    if not np.isfinite(points).all():
        raise FaceError(
            "The face's landmarks are not finite numbers, so it cannot be aligned. Use a clearer picture of the face."
        )
    return points


def similarity_transform(kps: ArrayLike, size: int = CROP) -> NDArray[np.float64]:
    """The rotation, scale and shift that bring five landmarks onto ArcFace's template, by least squares.

    Args:
        kps: landmarks [5, 2], (x, y) in pixels.
        size: side of the crop in pixels.

    Returns:
        Affine matrix [2, 3], float64: picture to crop.

    Raises:
        FaceError: the landmarks coincide, so that no rotation and scale exist.

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.
    """
    points = check_kps(kps).astype(np.float64)
    target = np.asarray(TEMPLATE, dtype=np.float64) * (size / CROP)
    source_mean, target_mean = points.mean(0), target.mean(0)
    source, goal = points - source_mean, target - target_mean
    spread = float((source**2).sum() / len(points))
    if spread <= (_FLAT * max(1.0, float(np.abs(points).max()))) ** 2:
        raise FaceError(
            "The face's five landmarks fall on one point, so it cannot be aligned. Use a picture with a larger face."
        )
    covariance = goal.T @ source / len(points)
    left, singular, right = np.linalg.svd(covariance)
    sign = np.array([1.0, -1.0 if np.linalg.det(left) * np.linalg.det(right) < 0 else 1.0])
    scale = float((singular * sign).sum()) / spread
    if not scale > _FLAT * size / CROP / max(1.0, math.sqrt(spread)):
        raise FaceError(
            "The five landmarks are not arranged like a face, so it cannot be aligned. Use a clearer picture of "
            "the face."
        )
    linear = scale * (left @ np.diag(sign) @ right)
    return np.concatenate([linear, (target_mean - linear @ source_mean)[:, None]], axis=1)


def norm_crop(picture: Picture, kps: ArrayLike, size: int = CROP) -> Picture:
    """Cut out a face, upright and at a standard place; outside the picture is black.

    Args:
        picture: uint8 [H, W, 3]; the channel order is kept (both recognizers here take BGR crops).
        kps: landmarks [5, 2], (x, y) in pixels.
        size: side of the crop in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        FaceError: degenerate landmarks.
    """
    cv2 = import_cv2()
    crop: Picture = cv2.warpAffine(picture, similarity_transform(kps, size), (size, size), borderValue=0.0)
    return crop


def draw_kps(kps: ArrayLike, width: int, height: int) -> Picture:
    """Five landmarks drawn on black, as InfuseNet's control image expects them.

    Discs of radius 10 and limbs to the nose of half-width 4, whatever the resolution; coordinates are truncated.

    Args:
        kps: landmarks [5, 2], (x, y) in pixels of the picture to draw; they may lie outside.
        width: pixels.
        height: pixels.

    Returns:
        RGB uint8 [height, width, 3].

    Raises:
        FaceError: landmarks of a wrong shape or not finite.
    """
    cv2 = import_cv2()
    points = check_kps(kps)
    canvas = np.zeros((height, width, 3), dtype=np.float64)
    nose_x, nose_y = points[_NOSE]
    for index in (0, 1, 3, 4):
        x, y = points[index]
        center = (int(np.mean([x, nose_x], dtype=np.float32)), int(np.mean([y, nose_y], dtype=np.float32)))
        length = ((x - nose_x) ** 2 + (y - nose_y) ** 2) ** 0.5
        angle = math.degrees(math.atan2(y - nose_y, x - nose_x))
        limb = cv2.ellipse2Poly(center, (int(length / 2), _LIMB_HALF_WIDTH), int(angle), 0, 360, 1)
        cv2.fillConvexPoly(canvas, limb, KPS_COLORS[index])
    drawn: Picture = (canvas * _LIMB_BRIGHTNESS).astype(np.uint8)
    for (x, y), color in zip(points, KPS_COLORS, strict=True):
        cv2.circle(drawn, (int(x), int(y)), _DISC_RADIUS, color, -1)
    return drawn


def resize_and_pad(picture: Picture, width: int, height: int) -> Picture:
    """Fit a picture to a size by the target's shorter side; pad the other side white, or crop it, about the centre.

    Args:
        picture: RGB uint8 [H, W, 3].
        width: pixels.
        height: pixels.

    Returns:
        RGB uint8 [height, width, 3].

    Raises:
        SettingsError: the picture is so narrow that nothing of it would remain.
    """
    from PIL import Image

    source = Image.fromarray(picture)
    if width <= height:
        fitted = (width, int(width * (source.height / source.width)))
    else:
        fitted = (int(height * (source.width / source.height)), height)
    if min(fitted) < 1:
        raise SettingsError(
            f"A picture of {source.width}x{source.height} is too narrow to fit {width}x{height}. Crop it around the "
            "face."
        )
    resized = source.resize(fitted, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (width, height), _WHITE)
    canvas.paste(resized, ((width - fitted[0]) // 2, (height - fitted[1]) // 2))
    return np.asarray(canvas).copy()


def face_pose(rgb: Picture, detector: Detector, width: int, height: int) -> Picture:
    """The control image of a photo's pose: fitted to the picture's size first, then its largest face's landmarks drawn.

    Args:
        rgb: the photo, uint8 [H, W, 3].
        detector: gives faces, the largest first.
        width: of the picture to make, pixels.
        height: of the picture to make, pixels.

    Returns:
        RGB uint8 [height, width, 3].

    Raises:
        FaceError: no face in the fitted photo.
    """
    faces = detector.detect(resize_and_pad(rgb, width, height))
    if not faces:
        raise FaceError(
            f"No face was found in the pose picture after it was fitted to {width}x{height}. Use a picture with a "
            "larger, clearly visible face, or leave the pose out."
        )
    return draw_kps(faces[0].kps, width, height)
