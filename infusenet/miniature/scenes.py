"""Where and how the miniature's person is drawn: backgrounds, clothes, accessories and light, and their sampling.

Coordinates of the backgrounds: pixels of the picture; of clothes: pixels of the body's frame at scale 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .canvas import box, circle, columns, constant, coverage, ellipse, fraction, mix, outlined, paint, pick, scatter
from .heads import EAR_DEPTH, EYE_DEPTH, Head

SIZE = 128
BACKGROUNDS = ("plain", "studio", "beach", "forest", "city", "library", "snow", "sunset", "space")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
CLOTHES = ("shirt", "hoodie", "suit", "striped")
LIGHTS = ("none", "warm", "cool", "left", "right", "dramatic")
EXPRESSIONS = ("neutral", "smiling", "surprised", "sad", "winking")
ACCESSORIES = ("none", "glasses", "sunglasses", "hat", "headphones")
STYLES = ("photo", "sketch", "watercolor", "pixel", "comic")

PALETTE = (
    (0.84, 0.16, 0.16),
    (0.16, 0.34, 0.80),
    (0.15, 0.58, 0.28),
    (0.96, 0.82, 0.22),
    (0.11, 0.11, 0.14),
    (0.95, 0.95, 0.94),
    (0.52, 0.22, 0.66),
    (0.96, 0.54, 0.12),
)
# Sky at the top and at the bottom, first ground, second ground: a row per background (plain and studio: see below).
TOPS = (
    (0.5, 0.5, 0.5),
    (0.42, 0.44, 0.48),
    (0.36, 0.66, 0.96),
    (0.46, 0.68, 0.44),
    (0.05, 0.05, 0.18),
    (0.46, 0.30, 0.17),
    (0.66, 0.77, 0.90),
    (0.34, 0.17, 0.46),
    (0.03, 0.02, 0.10),
)
BOTTOMS = (
    (0.5, 0.5, 0.5),
    (0.26, 0.27, 0.31),
    (0.82, 0.93, 0.99),
    (0.78, 0.87, 0.62),
    (0.26, 0.14, 0.36),
    (0.30, 0.19, 0.11),
    (0.90, 0.94, 0.99),
    (1.00, 0.58, 0.22),
    (0.20, 0.06, 0.30),
)
GROUNDS = (
    (0.5, 0.5, 0.5),
    (0.26, 0.27, 0.31),
    (0.10, 0.48, 0.70),
    (0.20, 0.42, 0.18),
    (0.08, 0.08, 0.13),
    (0.30, 0.19, 0.11),
    (0.97, 0.98, 1.0),
    (0.20, 0.10, 0.20),
    (0.2, 0.06, 0.3),
)
SANDS = GROUNDS[:2] + ((0.93, 0.83, 0.60),) + GROUNDS[3:]
DISCS = (
    (0.5, 0.5, 0.5),
    (0.92, 0.93, 0.95),
    (1.0, 1.0, 0.98),
    (0.96, 0.97, 0.80),
    (0.94, 0.93, 0.80),
    (1.0, 0.84, 0.50),
    (1.0, 1.0, 1.0),
    (1.0, 0.92, 0.56),
    (0.9, 0.6, 0.3),
)
# Horizon y, height of its waves, second horizon y, disc radius, disc softness: pixels (200: below the picture).
LAYOUT = (
    (200.0, 0.0, 200.0, 0.0, 1.2),
    (200.0, 0.0, 200.0, 48.0, 70.0),
    (62.0, 0.0, 82.0, 0.0, 1.2),
    (88.0, 4.0, 200.0, 0.0, 1.2),
    (200.0, 0.0, 200.0, 9.0, 1.2),
    (200.0, 0.0, 200.0, 0.0, 1.2),
    (78.0, 6.0, 200.0, 0.0, 1.2),
    (88.0, 4.0, 200.0, 17.0, 1.2),
    (200.0, 0.0, 200.0, 14.0, 1.2),
)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def _normal(n: int, generator: torch.Generator, deviation: float, limit: float) -> Tensor:
    return (torch.randn(n, generator=generator, device=generator.device) * deviation).clamp(-limit, limit)


def _choice(n: int, generator: torch.Generator, count: int, first: float | None = None) -> Tensor:
    """Whole numbers below `count`, equally often, or 0 with the share `first` and the others equally often."""
    u = _uniform(n, generator)
    if first is None:
        return (u * count).long().clamp(0, count - 1)
    other = ((u - first) / max(1 - first, 1e-9) * (count - 1)).long().clamp(0, count - 2) + 1
    return torch.where(u < first, torch.zeros_like(other), other)


def sample_scenes(
    n: int, generator: torch.Generator, device: str | torch.device = "cpu", *, plain: bool = False, styled: float = 0.3
) -> dict[str, Tensor]:
    """Draw scenes at random.

    Args:
        n: How many.
        generator: Source of the random numbers; numbers are drawn on its device, then moved.
        device: Where the result lies.
        plain: A reference photo: nearly frontal, a wall or a studio, a neutral face, nothing worn on it.
        styled: Share of pictures, 0..1, in another style than a photo. Without effect with `plain`.

    Returns:
        Tensors ``(n,)``: whole numbers that index BACKGROUNDS, COLOURS (``background_colour``, ``clothes_colour``,
        ``accessory_colour``), CLOTHES, LIGHTS, EXPRESSIONS, ACCESSORIES, STYLES; ``yaw`` and ``roll`` in radians
        (positive: to the right in the picture, clockwise), ``dx`` and ``dy`` in pixels, ``scale``; and ``vary_a`` to
        ``vary_d`` in 0..1, which move details that have no name.
    """
    scene = {name: _uniform(n, generator) for name in ("vary_a", "vary_b", "vary_c", "vary_d")}
    scene["background"] = _choice(n, generator, 2 if plain else len(BACKGROUNDS))
    scene["background_colour"] = _choice(n, generator, len(COLOURS))
    scene["clothes"] = _choice(n, generator, len(CLOTHES))
    scene["clothes_colour"] = _choice(n, generator, len(COLOURS))
    scene["accessory_colour"] = _choice(n, generator, len(COLOURS))
    scene["light"] = _choice(n, generator, 5 if plain else len(LIGHTS), 0.6 if plain else 0.45)
    scene["expression"] = _choice(n, generator, len(EXPRESSIONS), 1.0 if plain else 0.4)
    scene["accessory"] = _choice(n, generator, len(ACCESSORIES), 1.0 if plain else 0.6)
    scene["style"] = _choice(n, generator, len(STYLES), 1.0 if plain else 1.0 - styled)
    calm = 0.4 if plain else 1.0
    scene["yaw"] = _normal(n, generator, 0.17, 0.42) * calm
    scene["roll"] = _normal(n, generator, 0.06, 0.14) * calm
    scene["dx"] = _normal(n, generator, 3.5, 8.0) * calm
    scene["dy"] = _normal(n, generator, 3.0, 8.0) * calm
    scene["scale"] = 1 + _normal(n, generator, 0.06, 0.13) * calm
    return {name: value.to(device) for name, value in scene.items()}


def draw_background(scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The picture before anybody enters it: sky, grounds and one disc, from tables; then the details of a few."""
    kind = scene["background"]
    horizon, waves, second, radius, softness = columns(LAYOUT, kind)
    plain = pick(PALETTE, scene["background_colour"]) * 0.72 + 0.2
    down = y / SIZE
    sky = torch.lerp(pick(TOPS, kind), pick(BOTTOMS, kind), (down * 1.15).clamp(0, 1))
    picture = torch.where(kind == 0, plain * (1.06 - 0.14 * down), sky)
    disc_x = torch.where(kind == 1, 54 + 20 * scene["vary_b"], 14 + 100 * (scene["vary_b"] > 0.5))
    disc_y = torch.where(kind == 7, 52.0, torch.where(kind == 1, 50.0, 18.0)) + 10 * scene["vary_c"]
    alpha = (0.5 - circle(x - disc_x, y - disc_y, radius) / softness).clamp(0, 1) * (radius > 0)
    disc = torch.where(kind == 8, pick(PALETTE, scene["background_colour"]), pick(DISCS, kind))
    picture = paint(picture, disc, alpha)
    picture = draw_columns(picture, scene, x, y)
    lift, phase = 10 * (scene["vary_a"] - 0.5), 6 * scene["vary_d"]
    picture = paint(picture, pick(GROUNDS, kind), coverage(horizon + lift + waves * torch.sin(x * 0.06 + phase) - y))
    picture = paint(picture, pick(SANDS, kind), coverage(second + lift + 2 * torch.sin(x * 0.07 + phase) - y))
    return draw_dots(picture, scene, x, y)


def draw_columns(picture: Tensor, scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """What stands upright: trunks of a forest, houses of a city, books of a library."""
    kind, seed = scene["background"], scene["vary_d"]
    shelf = torch.where(kind == 5, (y / 32 + scene["vary_a"]).floor(), torch.zeros_like(y))
    pitch = torch.where(kind == 3, 32.0, torch.where(kind == 4, 21.0, 11.0))
    place = x / pitch + scene["vary_c"]
    cell = place.floor()
    random = scatter(cell, shelf, seed)
    inside = (place - cell - 0.5).abs() * pitch
    trunk = inside - 4 - 3 * random
    house = torch.maximum(inside - 10.5, 22 + 60 * random - y)
    book = torch.maximum(inside - 4.9, 6 + 9 * random - fraction(y / 32 + scene["vary_a"]) * 32)
    shape = torch.where(kind == 3, trunk, torch.where(kind == 4, house, book))
    spine = torch.cat([0.35 + 0.5 * random, 0.22 + 0.4 * fraction(random * 7), 0.2 + 0.35 * fraction(random * 13)], 1)
    trunk_colour = constant((0.36, 0.24, 0.15), x)
    colour = torch.where(kind == 3, trunk_colour, torch.where(kind == 4, constant((0.08, 0.08, 0.14), x), spine))
    upright = (kind == 3) | (kind == 4) | (kind == 5)
    return paint(picture, colour, coverage(shape) * upright)


def draw_dots(picture: Tensor, scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """What is strewn about: lit windows, snow flakes, stars."""
    kind, seed = scene["background"], scene["vary_d"]
    pitch = torch.where(kind == 4, 10.5, torch.where(kind == 6, 17.0, 15.0))
    place_x, place_y = x / pitch + 2 * scene["vary_c"], y / pitch + 3 * seed
    a, b = place_x.floor(), place_y.floor()
    random = scatter(a, b, seed)
    loose = torch.where(kind == 4, 0.0, 0.5)
    u = (place_x - a - 0.5 - loose * (random - 0.5)) * pitch
    v = (place_y - b - 0.5 - loose * (fraction(random * 9) - 0.5)) * pitch
    window = torch.maximum(torch.maximum(u.abs() - 2.2, v.abs() - 2.6), 34 - y)
    shape = torch.where(kind == 4, window, circle(u, v, torch.where(kind == 6, 2.1, 1.2)))
    share = torch.where(kind == 4, 0.5, torch.where(kind == 6, 0.3, 0.55))
    strewn = (kind == 4) | (kind == 6) | (kind == 8)
    colour = torch.where(kind == 4, constant((0.97, 0.82, 0.40), x), constant((1.0, 1.0, 0.97), x))
    return paint(picture, colour, coverage(shape) * strewn * (random > share))


def draw_clothes(picture: Tensor, scene: Mapping[str, Tensor], head: Head, x: Tensor, y: Tensor) -> Tensor:
    """Shoulders in a shirt, hoodie, suit or striped shirt, and the neck; y counts from the chin downwards."""
    clothes, colour_index = scene["clothes"], scene["clothes_colour"]
    colour = pick(PALETTE, colour_index) * (0.9 + 0.12 * scene["vary_a"])
    line = colour * 0.45
    torso = ellipse(x, y - 42, 66.0, 45.0)
    inside = coverage(torso)
    picture = outlined(picture, colour, line, torso)
    white = constant((0.95, 0.95, 0.95), x)
    is_white = colour_index == 5  # white details would not show
    gap = torch.where(is_white, constant((0.25, 0.30, 0.55), x), white)
    stripe = coverage((fraction(y / 9) - 0.5).abs() * 9 - 2.1) * (clothes == 3)
    picture = paint(picture, gap, stripe * inside)
    suit = (clothes == 2) * inside
    opening = (x.abs() - (30 - y) * 0.62) * 0.85
    picture = paint(picture, line, coverage(opening - 1.6) * suit)
    front = torch.where(is_white, constant((0.62, 0.72, 0.88), x), white)
    picture = paint(picture, front, coverage(opening) * suit)
    tie = pick(PALETTE[3:] + PALETTE[:3], colour_index) * 0.85
    picture = paint(picture, tie, coverage(box(x, y - 24, 3.2, 18.0)) * suit)
    collar = ellipse(x, y, head.half_width * 0.58, torch.where(clothes == 2, 8.0, 13.0))
    neck = torch.maximum(x.abs() - head.half_width * 0.5, collar)
    picture = outlined(picture, head.skin * 0.76, torch.where(clothes == 3, line, head.line), neck)
    hood = ellipse(x, y - 3, head.half_width * 0.86, 11.5).abs() - 4.2
    hood = torch.maximum(hood, -y - 1)
    hoodie = clothes == 1
    picture = paint(picture, line, coverage(hood - 1.2) * hoodie)
    picture = paint(picture, colour * 0.82, coverage(hood) * hoodie)
    cords = box(x.abs() - 7, y - 24, 1.3, 8.0, 1.0)
    return paint(picture, torch.where(is_white, line, white), coverage(cords) * hoodie)


def draw_glasses(picture: Tensor, scene: Mapping[str, Tensor], head: Head) -> Tensor:
    """Glasses and sunglasses (1, 2)."""
    kind = scene["accessory"]
    outward, _, _ = head.mirrored(head.eye_x, EYE_DEPTH + 2)
    y = head.y - head.eye_y
    lens = box(outward - 0.5, y - 1, head.eye_x - 3.2, 9.5, 5.0)
    worn = (kind == 1) | (kind == 2)
    frame = torch.minimum(lens.abs() - 1.1, torch.maximum(y.abs() - 1.0, -lens))
    frame = torch.maximum(frame, head.x.abs() - head.half_width - 1)
    dark = constant((0.06, 0.06, 0.09), head.x)
    picture = paint(picture, dark, coverage(lens) * (kind == 2))
    glare = torch.maximum(lens + 2, (outward + y * 0.7 + 3).abs() - 1.6)
    picture = paint(picture, constant((0.75, 0.85, 0.95), head.x), coverage(glare) * worn * 0.4)
    return paint(picture, dark, coverage(frame) * worn)


def draw_hat(picture: Tensor, scene: Mapping[str, Tensor], head: Head) -> Tensor:
    """A hat with a band and a brim (3); it leaves the brows free."""
    worn = scene["accessory"] == 3
    colour = pick(PALETTE, scene["accessory_colour"])
    rim = head.top + 12
    crown = torch.maximum(ellipse(head.x, head.y - rim, head.half_width + 3, 25.0), head.y - rim)
    brim = ellipse(head.x, head.y - rim - 1, head.half_width + 13, 4.6)
    line = colour * 0.4
    picture = paint(picture, line, coverage(torch.minimum(crown, brim) - 1.3) * worn)
    picture = paint(picture, colour, coverage(crown) * worn)
    picture = paint(picture, colour * 0.55, coverage(torch.maximum(crown, rim - 8 - head.y)) * worn)
    return paint(picture, colour * 0.88, coverage(brim) * worn)


def draw_headphones(picture: Tensor, scene: Mapping[str, Tensor], head: Head) -> Tensor:
    """Headphones (4): a band over the head and a cushion on each ear."""
    worn = scene["accessory"] == 4
    colour = pick(PALETTE, scene["accessory_colour"])
    band = ellipse(head.x, head.y - 3, head.half_width + 6, 8 - head.top).abs() - 2.2
    picture = paint(picture, constant((0.16, 0.16, 0.19), head.x), coverage(torch.maximum(band, head.y)) * worn)
    outward, _, _ = head.mirrored(head.half_width + 3, EAR_DEPTH * 0.35)
    cushion = box(outward, head.y - head.eye_y - 6, 5.5, 12.0, 5.0)
    picture = paint(picture, colour * 0.4, coverage(cushion - 1.2) * worn)
    return paint(picture, colour * 0.92, coverage(cushion) * worn)


def draw_light(picture: Tensor, scene: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Warm, cool, from the left, from the right, dramatic: a factor per pixel; x, y count from the head's centre."""
    kind = scene["light"]
    tint = pick(
        ((1.0, 1.0, 1.0), (1.09, 0.96, 0.77), (0.84, 0.96, 1.13), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.02, 1.0, 0.96)),
        kind,
    )
    side = torch.where(scene["vary_b"] > 0.5, 1.0, -1.0)
    direction = torch.where(kind == 5, side, pick(((0.0,), (0.0,), (0.0,), (-1.0,), (1.0,), (0.0,)), kind))
    strength = torch.where(kind == 5, 0.68, 0.38)
    across = (x * (1 / 30)).clamp(-1.2, 1.2) * direction
    fall = 1 + strength * (across - 0.25).clamp(-0.9, 0.4) * (direction != 0)
    return (picture * tint * mix(fall, fall * 0.94, (y / 80).clamp(0, 1))).clamp(0, 1)
