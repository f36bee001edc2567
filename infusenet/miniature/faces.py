"""Drawn portraits for the miniature: one person, in any scene, with exact face landmarks.

An identity and a scene are dicts of tensors ``(n,)``; `render` draws them, all pictures at once, on any device, without
waiting for the device. The same identity in another scene is the same person elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .canvas import coverage
from .hair import draw_back_hair, draw_front_hair
from .heads import (
    EYE_DEPTH,
    MOUTH_DEPTH,
    NOSE_DEPTH,
    Head,
    draw_beard,
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_marks,
    draw_mouth,
    draw_nose,
    draw_skull,
    head_distance,
    measure,
    mouth_bend,
    mouth_half_width,
)
from .scenes import (
    SIZE,
    draw_background,
    draw_clothes,
    draw_glasses,
    draw_hat,
    draw_headphones,
    draw_light,
    sample_scenes,
)
from .styles import apply_style

__all__ = [
    "BEARDS",
    "HAIR_COLOURS",
    "HAIR_STYLES",
    "SIZE",
    "Rendered",
    "render",
    "render_scene",
    "sample_identities",
    "sample_scenes",
    "to_uint8",
]

HAIR_STYLES = ("bald", "short", "parted", "bob", "long", "curly", "bun", "mohawk", "quiff", "spiky")
HAIR_COLOURS = ("black", "brown", "red", "blonde", "gray", "blue")
BEARDS = ("none", "moustache", "goatee", "beard")
CENTRE = (63.5, 58.5)  # pixels: where the middle of the head lies without a shift
ZOOM = 1.05  # pixels of the picture per pixel of the head's frame at scale 1

_CONTINUOUS = (
    "face_width",
    "face_height",
    "jaw",
    "skin",
    "undertone",
    "eye_size",
    "eye_spacing",
    "eye_level",
    "eye_tilt",
    "eye_aspect",
    "iris_shade",
    "brow_thickness",
    "brow_tilt",
    "brow_level",
    "brow_length",
    "nose_length",
    "nose_width",
    "nose_shape",
    "mouth_width",
    "lips",
    "lip_colour",
    "mouth_level",
    "ears",
    "hair_shade",
    "hair_volume",
    "hairline",
    "freckle_shade",
    "mole_x",
    "mole_y",
)
# Shares of the values of a discrete feature, in order.
_DISCRETE = {
    "iris": (0.2, 0.2, 0.2, 0.2, 0.2),
    "hair_style": (0.1,) * 10,
    "hair_colour": (0.22, 0.22, 0.18, 0.18, 0.12, 0.08),
    "beard": (0.58, 0.14, 0.14, 0.14),
    "freckles": (0.75, 0.25),
    "mole": (0.7, 0.3),
}
_LOCAL_BATCH = 4  # pictures at once on a CPU: their fields stay in its cache


class Rendered(NamedTuple):
    """Drawn portraits and where their faces are.

    Attributes:
        images: ``(n, 3, 128, 128)`` RGB in 0..1.
        landmarks: ``(n, 5, 2)`` x, y of the eye on the left of the picture, the other eye, the tip of the nose, the
            corner of the mouth on the left, the other corner; pixels, 0 is the middle of the first pixel.
        boxes: ``(n, 4)`` x0, y0, x1, y1 around forehead, chin and ears, same pixels.
    """

    images: Tensor
    landmarks: Tensor
    boxes: Tensor


def sample_identities(n: int, generator: torch.Generator, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Draw persons at random.

    Args:
        n: How many.
        generator: Source of the random numbers; numbers are drawn on its device, then moved.
        device: Where the result lies.

    Returns:
        Tensors ``(n,)``: shape and colour features in 0..1 (float32), and codes (int64) that index HAIR_STYLES,
        HAIR_COLOURS, BEARDS, and iris, freckles, mole.
    """
    draws = torch.rand(len(_CONTINUOUS) + len(_DISCRETE), n, generator=generator, device=generator.device)
    identity = dict(zip(_CONTINUOUS, draws, strict=False))
    for (name, shares), u in zip(_DISCRETE.items(), draws[len(_CONTINUOUS) :], strict=True):
        limits = torch.tensor(shares, device=u.device).cumsum(0)[:-1]
        identity[name] = torch.bucketize(u, limits, right=True)
    return {name: value.to(device) for name, value in identity.items()}


@cache
def _grid(device: str) -> tuple[Tensor, Tensor]:
    """Pixel coordinates x ``(1, 1, 1, 128)`` and y ``(1, 1, 128, 1)``."""
    line = torch.arange(SIZE, dtype=torch.float32).to(device)
    return line[None, None, None, :], line[None, None, :, None]


def _expand(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every value as ``(n, 1, 1, 1)``; the scale becomes pixels of the picture per pixel of the head's frame."""
    expanded = {name: value.reshape(-1, 1, 1, 1) for name, value in values.items()}
    if "scale" in expanded:
        expanded["scale"] = expanded["scale"] * ZOOM
    return expanded


def _body_frame(scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels from the middle of the head at scale 1, upright."""
    return (x - CENTRE[0] - scene["dx"]) / scene["scale"], (y - CENTRE[1] - scene["dy"]) / scene["scale"]


def _draw_person(
    picture: Tensor,
    head: Head,
    identity: Mapping[str, Tensor],
    scene: Mapping[str, Tensor],
    body: tuple[Tensor, Tensor],
) -> Tensor:
    """One part over the other, from the back to the front."""
    distance = head_distance(head)
    face = coverage(distance)
    picture = draw_back_hair(picture, head, identity)
    picture = draw_clothes(picture, scene, head, body[0], body[1] - head.chin)
    picture = draw_ears(picture, head, identity)
    picture = draw_skull(picture, head, distance)
    picture = draw_marks(picture, head, identity, face)
    picture = draw_beard(picture, head, identity, face)
    picture = draw_mouth(picture, head, identity)  # over the beard: the expression must show
    picture = draw_nose(picture, head, identity)
    picture = draw_eyes(picture, head, identity)
    picture = draw_front_hair(picture, head, identity)
    picture = draw_brows(picture, head, identity, face)
    picture = draw_glasses(picture, scene, head)
    picture = draw_hat(picture, scene, head)
    return draw_headphones(picture, scene, head)


def _to_picture(x: Tensor, y: Tensor, scene: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """From the head's frame to pixels of the picture."""
    c, s = torch.cos(scene["roll"]), torch.sin(scene["roll"])
    return (
        CENTRE[0] + scene["dx"] + scene["scale"] * (c * x - s * y),
        CENTRE[1] + scene["dy"] + scene["scale"] * (s * x + c * y),
    )


def _landmarks(head: Head, scene: Mapping[str, Tensor]) -> Tensor:
    """The five points, ``(n, 5, 2)``."""
    half, zero = mouth_half_width(head), torch.zeros_like(head.eye_x)
    corner = head.mouth_y + mouth_bend(head)
    middle = MOUTH_DEPTH * head.sin_yaw
    points = (
        (head.across(-head.eye_x, EYE_DEPTH), head.eye_y),
        (head.across(head.eye_x, EYE_DEPTH), head.eye_y),
        (head.across(zero, NOSE_DEPTH), head.nose_y),
        (middle - half * head.cos_yaw, corner),
        (middle + half * head.cos_yaw, corner),
    )
    placed = [torch.cat(_to_picture(px, py, scene), 1) for px, py in points]
    return torch.stack(placed, 1).flatten(2)


def _boxes(head: Head, scene: Mapping[str, Tensor]) -> Tensor:
    """Box of the head's outline, ``(n, 4)``: exact for an ellipse turned by the roll."""
    c, s = torch.cos(scene["roll"]), torch.sin(scene["roll"])
    top = head.top + 4  # the upper forehead, as face detectors are taught
    half_height = (head.chin - top) / 2
    x, y = _to_picture(torch.zeros_like(top), (head.chin + top) / 2, scene)
    width = scene["scale"] * ((head.half_width * c).square() + (half_height * s).square()).sqrt()
    height = scene["scale"] * ((half_height * c).square() + (head.half_width * s).square()).sqrt()
    return torch.cat([x - width, y - height, x + width, y + height], 1).flatten(1)


def _render(identity: Mapping[str, Tensor], scene: Mapping[str, Tensor]) -> Rendered:
    i, s = _expand(identity), _expand(scene)
    x, y = _grid(str(s["dx"].device))
    bx, by = _body_frame(s, x, y)
    c, sn = torch.cos(s["roll"]), torch.sin(s["roll"])
    head = measure(i, s, c * bx + sn * by, c * by - sn * bx)
    picture = draw_background(s, x, y)
    picture = _draw_person(picture, head, i, s, (bx, by))
    picture = apply_style(draw_light(picture, s, bx, by), s["style"])
    return Rendered(picture.clamp(0, 1), _landmarks(head, s), _boxes(head, s))


def _render_empty(scene: Mapping[str, Tensor]) -> Tensor:
    s = _expand(scene)
    x, y = _grid(str(s["dx"].device))
    picture = draw_light(draw_background(s, x, y), s, *_body_frame(s, x, y))
    return apply_style(picture, s["style"]).clamp(0, 1)


def _parts(values: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    pieces = {name: value.split(size) for name, value in values.items()}
    return [{name: piece[k] for name, piece in pieces.items()} for k in range(len(pieces["dx"]))]


def render(identity: Mapping[str, Tensor], scene: Mapping[str, Tensor]) -> Rendered:
    """Draw portraits: the k-th person in the k-th scene.

    Args:
        identity: As from `sample_identities`, ``(n,)`` each.
        scene: As from `sample_scenes`, ``(n,)`` each, on the same device.

    Returns:
        The pictures, landmarks and boxes; the same values give the same pictures.
    """
    n = len(scene["dx"])
    if scene["dx"].device.type != "cpu" or n <= _LOCAL_BATCH:
        return _render(identity, scene)
    joined = {**{f"i.{name}": value for name, value in identity.items()}, **scene}
    done = []
    for part in _parts(joined, _LOCAL_BATCH):
        done.append(_render({name[2:]: part[name] for name in part if name.startswith("i.")}, part))
    return Rendered(*(torch.cat(pieces) for pieces in zip(*done, strict=True)))


def render_scene(scene: Mapping[str, Tensor]) -> Tensor:
    """Draw the scenes with nobody in them.

    Args:
        scene: As from `sample_scenes`, ``(n,)`` each.

    Returns:
        ``(n, 3, 128, 128)`` RGB in 0..1.
    """
    if scene["dx"].device.type != "cpu":
        return _render_empty(scene)
    return torch.cat([_render_empty(part) for part in _parts(scene, _LOCAL_BATCH)])


def to_uint8(images: Tensor) -> Tensor:
    """Pictures in 0..1 as whole numbers 0..255 (rounded), same shape."""
    return (images * 255 + 0.5).clamp(0, 255).to(torch.uint8)
