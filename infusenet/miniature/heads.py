"""The miniature's drawn person: measures of a head, and one function per part that draws it.

Coordinates: pixels of the head's own frame at scale 1, origin in the middle of the head, y downwards. A point at
depth z (pixels towards the viewer) moves sideways by ``z * sin(yaw)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import box, circle, constant, coverage, ellipse, mix, outlined, paint, pick, ramp, scatter

SKIN_RAMP = ((1.0, 0.86, 0.76), (0.95, 0.74, 0.58), (0.80, 0.57, 0.40), (0.58, 0.38, 0.25), (0.36, 0.23, 0.16))
HAIR_COLOURS = (
    (0.10, 0.08, 0.10),
    (0.36, 0.20, 0.11),
    (0.74, 0.27, 0.08),
    (0.93, 0.76, 0.36),
    (0.68, 0.69, 0.72),
    (0.20, 0.36, 0.78),
)
BROW_COLOURS = (
    (0.06, 0.05, 0.06),
    (0.22, 0.12, 0.06),
    (0.46, 0.15, 0.04),
    (0.58, 0.41, 0.13),
    (0.38, 0.39, 0.42),
    (0.10, 0.17, 0.45),
)
IRIS_COLOURS = ((0.32, 0.17, 0.07), (0.70, 0.44, 0.10), (0.16, 0.58, 0.24), (0.14, 0.44, 0.90), (0.52, 0.60, 0.66))
LIP_RAMP = ((0.78, 0.44, 0.38), (0.82, 0.22, 0.24), (0.60, 0.10, 0.26))
EYE_DEPTH, NOSE_DEPTH, MOUTH_DEPTH, EAR_DEPTH = 8.0, 17.0, 10.0, -10.0


@dataclass(frozen=True)
class Head:
    """Measures of the heads of a batch, each ``(n, 1, 1, 1)``: pixels, colours, and codes from the scene."""

    x: Tensor
    y: Tensor
    sin_yaw: Tensor
    cos_yaw: Tensor
    half_width: Tensor
    top: Tensor
    chin: Tensor
    jaw: Tensor
    eye_x: Tensor
    eye_y: Tensor
    eye_width: Tensor
    eye_height: Tensor
    mouth_y: Tensor
    mouth_width: Tensor
    nose_y: Tensor
    hairline: Tensor
    skin: Tensor
    line: Tensor
    hair: Tensor
    brow: Tensor
    expression: Tensor

    def across(self, x: Tensor, depth: float) -> Tensor:
        """Where a point of the turned head lies sideways."""
        return x * self.cos_yaw + depth * self.sin_yaw

    def mirrored(self, x: Tensor, depth: float) -> tuple[Tensor, Tensor, Tensor]:
        """Both sides at once: (pixels outward of the pair's points, pixels to the right of them, right side?)."""
        right = self.x > depth * self.sin_yaw
        offset = self.x - torch.where(right, self.across(x, depth), self.across(-x, depth))
        return torch.where(right, offset, -offset), offset, right


def measure(identity: Mapping[str, Tensor], scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Head:
    """Turn 0..1 parameters into pixels and colours."""
    i = identity
    eye_x = mix(14.2, 18.0, i["eye_spacing"])
    eye_y = mix(-8.5, -2.5, i["eye_level"])
    eye_width = mix(5.6, 8.8, i["eye_size"])
    mouth_y = eye_y + mix(33.0, 39.5, i["mouth_level"])
    top = -37 - 5 * i["face_height"]
    skin = ramp(SKIN_RAMP, i["skin"]) + (i["undertone"] - 0.5) * constant((0.02, -0.06, -0.11), x)
    shine = 0.82 + 0.36 * i["hair_shade"]
    return Head(
        x=x,
        y=y,
        sin_yaw=torch.sin(scene["yaw"]),
        cos_yaw=torch.cos(scene["yaw"]),
        half_width=eye_x + mix(12.5, 20.5, i["face_width"]),
        top=top,
        chin=mouth_y + mix(11.5, 20.0, i["face_height"]),
        jaw=i["jaw"],
        eye_x=eye_x,
        eye_y=eye_y,
        eye_width=eye_width,
        eye_height=eye_width * mix(0.44, 0.86, i["eye_aspect"]),
        mouth_y=mouth_y,
        mouth_width=mix(7.5, 14.5, i["mouth_width"]),
        nose_y=eye_y + mix(15.0, 25.0, i["nose_length"]),
        hairline=top + mix(7.0, 16.0, i["hairline"]),
        skin=skin.clamp(0, 1),
        line=skin.clamp(0, 1) * 0.42,
        hair=(pick(HAIR_COLOURS, i["hair_colour"]) * shine).clamp(0, 1),
        brow=pick(BROW_COLOURS, i["hair_colour"]),
        expression=scene["expression"],
    )


def by_expression(head: Head, smiling: float, surprised: float, sad: float, neutral: float = 0.0) -> Tensor:
    """A number per expression; a winking person otherwise looks smiling."""
    rows = ((neutral,), (smiling,), (surprised,), (sad,), (smiling,))
    return pick(rows, head.expression)


def head_distance(head: Head) -> Tensor:
    """Distance to the outline of skull and jaw: round above, from pointed to square below."""
    below = (head.y / head.chin).clamp(0, 1.3)
    taper = 1 - mix(0.22, 0.02, head.jaw) * below * below
    u = head.x / (head.half_width * taper)
    v = torch.where(head.y > 0, head.y / head.chin, head.y / head.top)
    u, v = u * u, v * v
    round_ = (u + v + 1e-6).sqrt()
    square = (u * u + v * v + 1e-6).sqrt().sqrt()
    shape = torch.where(head.y > 0, mix(0.0, 0.9, head.jaw), torch.full_like(head.jaw, 0.35))
    return (torch.lerp(round_, square, shape) - 1) * head.half_width


def draw_ears(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Ears, from small to large and sticking out."""
    size = mix(5.0, 10.5, identity["ears"])
    outward, _, _ = head.mirrored(head.half_width - 1, EAR_DEPTH * 0.35)
    y = head.y - head.eye_y - 7
    picture = outlined(picture, head.skin * 0.93, head.line, ellipse(outward - size * 0.15, y, size * 0.62, size))
    return paint(picture, head.skin * 0.68, coverage(ellipse(outward - size * 0.2, y, size * 0.3, size * 0.55)) * 0.9)


def draw_skull(picture: Tensor, head: Head, distance: Tensor) -> Tensor:
    """The face itself: skin, an outline and a soft shade towards the edge."""
    picture = outlined(picture, head.skin, head.line, distance)
    picture = paint(picture, head.skin * 0.74, ((distance + 9) / 9).clamp(0, 1) * coverage(distance) * 0.55)
    outward, _, _ = head.mirrored(head.eye_x + 3, MOUTH_DEPTH)
    cheek = circle(outward, head.y - head.eye_y - 18, 0.0) / 10
    return paint(picture, head.skin * constant((1.0, 0.78, 0.76), head.x), (1 - cheek).clamp(0, 1) * 0.6)


def draw_marks(picture: Tensor, head: Head, identity: Mapping[str, Tensor], face: Tensor) -> Tensor:
    """Freckles over nose and cheeks, and a mole where the person has one."""
    cell_x, cell_y = (head.x - 12 * head.sin_yaw) / 5.5, (head.y - head.eye_y) / 5.0
    a, b = cell_x.floor(), cell_y.floor()
    seed = identity["freckle_shade"]
    dot = circle(cell_x - a - 0.25 - 0.5 * scatter(a, b, seed), cell_y - b - 0.25 - 0.5 * scatter(b, a, seed), 0.24)
    zone = coverage(box(head.x - 12 * head.sin_yaw, head.y - head.eye_y - 15, 25.0, 7.5, 4.0), 4.0)
    alpha = coverage(dot * 5) * zone * identity["freckles"] * face
    picture = paint(picture, head.skin * constant((0.62, 0.42, 0.34), head.x), alpha * 0.9)
    side = torch.where(identity["mole_x"] > 0.5, 1.0, -1.0)
    mole_x = side * mix(12.0, 23.0, (identity["mole_x"] * 2) % 1.0)
    spot = circle(head.x - head.across(mole_x, 9.0), head.y - head.eye_y - mix(13.0, 38.0, identity["mole_y"]), 1.9)
    return paint(picture, head.skin * 0.25, coverage(spot) * identity["mole"] * face)


def draw_nose(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Nose: a shaded bridge that widens to a tip between round and pointed, wings and nostrils."""
    width = mix(3.6, 9.0, identity["nose_width"])
    shape = identity["nose_shape"]
    tip_x, root_x = head.across(head.x.new_zeros(()), NOSE_DEPTH), head.across(head.x.new_zeros(()), 8.0)
    length = head.nose_y - head.eye_y
    t = ((head.y - head.eye_y) / length).clamp(0, 1)
    x = head.x - mix(root_x, tip_x, t)
    y = head.y - head.nose_y
    flank = x.abs() - mix(2.0, width * mix(0.55, 0.95, shape), t * t)
    bridge = torch.maximum(flank, torch.maximum(-2 - (head.y - head.eye_y), y - 1))
    picture = paint(picture, head.skin * 0.80, coverage(bridge, 2.0) * 0.75)
    picture = paint(picture, (head.skin * 1.12).clamp(0, 1), coverage(torch.maximum(x.abs() - 1.3, bridge), 2.0) * 0.8)
    ball = ellipse(x, y + 0.5, width * mix(0.72, 0.45, shape), mix(4.2, 3.0, shape))
    wing = ellipse(x.abs() - width * 0.72, y - 1.0, width * 0.38, 2.9)
    tip = torch.minimum(ball, wing)
    droop = y - mix(1.5, 3.6, shape) * (1 - (x / width).abs()).clamp(0, 1)
    wedge = torch.maximum(x.abs() - width * 0.9, torch.maximum(droop - 1.2, -y - 1.0))
    tip = torch.where(shape > 0.6, torch.minimum(wedge, wing), tip)
    lower = coverage(-y - 0.5, 3.0)
    picture = paint(picture, head.line, coverage(tip - 1.3) * lower)
    picture = paint(picture, head.skin * 0.93, coverage(tip))
    glow = circle(x + 0.6, y + 1.6, width * 0.22)
    picture = paint(picture, (head.skin * 1.15).clamp(0, 1), coverage(glow, 2.0) * 0.8)
    nostril = ellipse(x.abs() - width * 0.46, y - 2.1, width * 0.2 + 0.5, 1.1)
    return paint(picture, head.line * 0.6, coverage(nostril))


def mouth_bend(head: Head) -> Tensor:
    """How far the corners lie below the middle of the mouth, in pixels."""
    return by_expression(head, -4.2, 0.6, 4.4, -0.7)


def mouth_half_width(head: Head) -> Tensor:
    """Half width of the mouth as the expression leaves it, in pixels."""
    return head.mouth_width * by_expression(head, 1.14, 0.72, 0.95, 1.0)


def draw_mouth(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Lips from thin to full, a cupid's bow, and the opening of a smile or of surprise."""
    colour = torch.lerp(
        ramp(LIP_RAMP, identity["lip_colour"]),
        head.skin * constant((0.9, 0.58, 0.55), head.x),
        0.25 + 0.35 * identity["skin"],
    )
    full = mix(1.4, 4.8, identity["lips"])
    half = mouth_half_width(head)
    u = (head.x - head.across(head.x.new_zeros(()), MOUTH_DEPTH)) / (half * head.cos_yaw)
    u2 = (u * u).clamp(max=1.5)
    arch = (1 - u2).clamp(min=0)
    y = head.y - head.mouth_y - mouth_bend(head) * u2
    gap = by_expression(head, 3.0, 6.5, 0.0) * arch
    bow = 1 - 0.35 * (1 - (u.abs() * 5).clamp(max=1))
    upper, lower = -(full * 0.85 * arch.sqrt() * bow) - gap * 0.35, full * 1.15 * arch + gap
    lips = torch.maximum(torch.maximum(upper - y, y - lower), (u.abs() - 1) * half)
    picture = outlined(picture, colour, colour * 0.45, lips, 0.9)
    shine = torch.maximum((y - gap - full * 0.55).abs() - full * 0.2, (u.abs() - 0.4) * half)
    picture = paint(picture, (colour * 1.35).clamp(0, 1), coverage(shine, 2.0) * 0.6)
    hole = torch.maximum(torch.maximum(-gap * 0.35 - y, y - gap), (u.abs() - 0.96) * half)
    picture = paint(picture, constant((0.30, 0.05, 0.07), head.x), coverage(hole - 0.5))
    teeth = torch.maximum(hole, y - by_expression(head, 2.3, -9.0, -9.0, -9.0))
    return paint(picture, constant((0.98, 0.97, 0.94), head.x), coverage(teeth))


def draw_beard(picture: Tensor, head: Head, identity: Mapping[str, Tensor], face: Tensor) -> Tensor:
    """Moustache, goatee or full beard (1, 2, 3) in the colour of the hair."""
    beard = identity["beard"]
    x = head.x - 8 * head.sin_yaw
    y = head.y - head.mouth_y
    level = head.nose_y - head.mouth_y + 5
    t = x.abs() / (head.mouth_width + 3.5)
    lobe = torch.maximum((y - level * 0.55 - 4.5 * t * t).abs() - 3.4 * (1.15 - t).clamp(min=0).sqrt(), (t - 1) * 9)
    chin = head.chin - head.mouth_y
    around = ellipse(x, y - 1.5, head.mouth_width + 1.5, 6.5)
    patch = torch.maximum(ellipse(x, y - chin * 0.75, head.mouth_width * 0.8, chin * 0.62), -around + 1.5)
    edge = -6 - 14 * (x / head.half_width).square().square() + 5 * (1 - (x / 12).abs()).clamp(0, 1)
    full = torch.minimum(torch.maximum(edge - y, -around), lobe)
    none = torch.full_like(full, 99.0)
    shape = torch.where(
        beard == 3, full, torch.where(beard == 2, torch.minimum(patch, lobe + 1.2), torch.where(beard == 1, lobe, none))
    )
    colour = head.hair * 0.86
    picture = paint(picture, head.brow * 0.8, coverage(shape - 1.0) * face)
    return paint(picture, colour, coverage(shape) * face)


def draw_eyes(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Eyes with lid line, iris, pupil and a light; the right one closes for a wink."""
    outward, offset, right = head.mirrored(head.eye_x, EYE_DEPTH)
    tilt = mix(-0.16, 0.34, identity["eye_tilt"])
    width = head.eye_width
    height = head.eye_height * by_expression(head, 0.92, 1.22, 0.9, 1.0)
    winks = right & (head.expression == 4)
    height = torch.where(winks, torch.full_like(height, 0.6), height)
    y = head.y - head.eye_y + tilt * outward
    u = outward / (width * head.cos_yaw)
    arch = (1 - u * u).clamp(min=0)
    inside = (u.abs() - 1) * width
    almond = torch.maximum(y.abs() - height * arch.sqrt(), inside)
    picture = paint(picture, head.skin * 0.66, coverage(almond - 3.0, 5.0) * 0.6)
    picture = paint(picture, constant((0.99, 0.99, 0.97), head.x), coverage(almond))
    opening = coverage(almond)
    radius = width * mix(0.52, 0.62, identity["eye_size"])
    x, ball = offset - 1.5 * head.sin_yaw, head.y - head.eye_y
    iris = pick(IRIS_COLOURS, identity["iris"]) * (0.85 + 0.3 * identity["iris_shade"])
    disc = circle(x, ball, radius)
    picture = paint(picture, iris * 0.45, coverage(disc) * opening)
    picture = paint(picture, iris, coverage(disc + 1.0) * opening)
    picture = paint(picture, constant((0.02, 0.02, 0.03), head.x), coverage(circle(x, ball, radius * 0.42)) * opening)
    picture = paint(
        picture,
        constant((1.0, 1.0, 1.0), head.x),
        coverage(circle(x + radius * 0.4, ball + radius * 0.4, 1.1)) * opening,
    )
    lid = torch.maximum((y + height * arch.sqrt()).abs() - 1.15, inside - 0.8)
    lower = torch.maximum((y - height * arch.sqrt()).abs() - 0.35, inside)
    picture = paint(picture, head.skin * 0.40, coverage(lower))
    return paint(picture, head.skin * 0.12, coverage(lid))


def draw_brows(picture: Tensor, head: Head, identity: Mapping[str, Tensor], face: Tensor) -> Tensor:
    """Brows: length, thickness, tilt and height over the eye."""
    outward, _, _ = head.mirrored(head.eye_x, EYE_DEPTH)
    tilt = mix(-0.30, 0.30, identity["brow_tilt"]) + by_expression(head, 0.0, 0.0, 0.42)
    lift = mix(4.0, 9.0, identity["brow_level"]) + by_expression(head, 0.5, 3.5, 1.0)
    half = mix(7.0, 12.0, identity["brow_length"])
    thick = mix(1.0, 3.1, identity["brow_thickness"])
    u = outward / half
    y = head.y - head.eye_y + head.eye_height + lift + tilt * -outward + 2.6 * u * u - 1.5
    bar = torch.maximum(y.abs() - thick * (1.15 - 0.55 * u).clamp(0.3, 1.3), (u.abs() - 1) * half)
    return paint(picture, head.brow, coverage(bar) * face)
