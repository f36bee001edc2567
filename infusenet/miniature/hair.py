"""The miniature's hair: styles are rows of two tables, drawn by one function behind and one before the face."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .canvas import box, circle, columns, coverage, ellipse, fraction, mix, outlined, paint
from .heads import Head

# Behind the head, pixels: crown centre y, crown wider than the face, crown height, bumps, curtain wider than the face
# (-60: none), curtain end y, knot radius.
BACK = (
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # bald
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # short
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # parted
    (-4.0, 7.0, 42.0, 0.0, 7.0, 36.0, 0.0),  # bob
    (-4.0, 5.0, 42.0, 0.0, 7.0, 90.0, 0.0),  # long
    (-9.0, 11.0, 42.0, 2.2, -60.0, 0.0, 0.0),  # curly
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 11.0),  # bun
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # mohawk
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # quiff
    (0.0, -20.0, 20.0, 0.0, -60.0, 0.0, 0.0),  # spiky
)
# Over the forehead, pixels: cap wider, cap higher, half width of the strip kept, hairline shift, slope from the
# parting, parting (face half widths), curve at the sides, hairline wave, outline wave, sideburn end y, lock end y (-60:
# none).
FRONT = (
    (0.0, 0.0, -99.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -60.0, -60.0),
    (1.0, 4.0, 99.0, -2.0, 0.0, 0.0, 16.0, 0.0, 0.0, -3.0, -60.0),
    (2.0, 8.0, 99.0, -5.0, 16.0, 0.4, 5.0, 0.0, 0.0, 3.0, -60.0),
    (5.0, 6.0, 99.0, 6.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 26.0),
    (4.0, 5.0, 99.0, -6.0, 28.0, 0.0, 0.0, 0.0, 0.0, 0.0, 90.0),
    (5.0, 8.0, 99.0, 1.0, 0.0, 0.0, 7.0, 2.2, 2.2, 4.0, -60.0),
    (1.0, 3.5, 99.0, -5.0, 9.0, 0.0, 9.0, 0.0, 0.0, -6.0, -60.0),
    (0.0, 9.0, 10.0, 3.0, 0.0, 0.0, 0.0, 1.2, 1.5, -60.0, -60.0),
    (2.0, 12.0, 99.0, -1.0, -6.0, -0.6, 16.0, 0.0, 0.0, -2.0, -60.0),
    (2.0, 10.0, 99.0, 2.0, 0.0, 0.0, 12.0, 3.4, 4.2, -4.0, -60.0),
)


def draw_back_hair(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """What lies behind the head: curtains of hair, curls, a knot."""
    centre, wider, height, bumps, curtain, end, knot = columns(BACK, identity["hair_style"])
    volume = 1.5 + 5.0 * identity["hair_volume"]
    x, y = head.x + 5 * head.sin_yaw, head.y
    wave = bumps * torch.sin(x * 0.42) * torch.sin(y * 0.42)
    crown = ellipse(x, y - centre, head.half_width + wider + volume, height + volume) + wave
    fall = box(x, y - (end - 10) / 2, head.half_width + curtain + volume * 0.6, (end + 10) / 2, 6.0)
    bun = circle(x, y - head.top + 1, knot + volume * 0.6)
    shape = torch.minimum(torch.minimum(crown, fall), torch.where(knot > 0, bun, crown))
    return outlined(picture, head.hair * 0.78, head.brow * 0.7, shape)


def front_distance(head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Distance to the hair before the face."""
    wider, higher, strip, shift, slope, part, curve, wave, rough, burns, lock = columns(FRONT, identity["hair_style"])
    volume = 4.0 * identity["hair_volume"]
    x, y = head.x - 3 * head.sin_yaw, head.y
    t = x / head.half_width
    zigzag = (fraction(x * 0.13) - 0.5).abs() * 4 - 1
    cap = ellipse(head.x, y + 1, head.half_width + wider + volume * 0.35, higher + volume - head.top) + rough * zigzag
    cap = torch.maximum(cap, x.abs() - strip)
    line = head.hairline + shift + slope * (t - part).abs() + curve * t.square().square() + wave * zigzag
    burn = torch.maximum(head.half_width - 3.5 + 0.12 * (y - burns) - head.x.abs(), y - burns)
    front = torch.maximum(cap, torch.minimum(y - line, burn))
    outer = head.x.abs() - head.half_width - 1.5
    locks = torch.maximum(box(outer, y - lock / 2 + 8, 5.5 + 0.5 * volume, lock / 2 + 8, 3.0), -2 - y * 0.1 - 12)
    return torch.minimum(front, torch.where(lock > 0, locks, front))


def draw_front_hair(picture: Tensor, head: Head, identity: Mapping[str, Tensor]) -> Tensor:
    """Hair over forehead and temples, with a sheen."""
    shape = front_distance(head, identity)
    picture = outlined(picture, head.hair, head.brow * 0.7, shape)
    radius = ellipse(head.x + 4, head.y + 1, head.half_width, -head.top)
    sheen = (1 - (radius + mix(5.0, 3.0, identity["hair_volume"])).abs() / 4).clamp(0, 1)
    sheen = sheen * (head.y < head.top * 0.35) * (0.75 + 0.25 * torch.sin(head.x * 0.9))
    return paint(picture, (head.hair * 1.35 + 0.08).clamp(0, 1), sheen * coverage(shape + 1.5) * 0.65)
