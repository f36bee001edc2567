"""Pictures in labelled rows and columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import captions
from .subjects import DEV, LEVELS, NINE, SCHNELL, VIEWS, Seen, Setting, View, references

Pictures = NDArray[np.uint8]

GAP, TEXT, LINE = 4, 11, 14  # pixels
SHOWN = 6  # people on a sheet


def sheet(grid: Sequence[Sequence[Pictures | None]], columns: Sequence[str], rows: Sequence[str] = ()) -> Pictures:
    """A sheet of pictures.

    Args:
        grid: rows of pictures, RGB uint8 [S, S, 3], all of one size; None leaves a place empty.
        columns: a label above each column, wrapped to its width.
        rows: a label left of each row, or none at all.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: the labels do not fit the grid.
    """
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    if any(len(row) != len(columns) for row in grid) or (rows and len(rows) != len(grid)):
        raise ValueError(f"Expected a label a column and a row; got {len(columns)} and {len(rows)} for the grid.")
    side = next(picture.shape[0] for row in grid for picture in row if picture is not None)
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", TEXT)
    wrapped = [textwrap.wrap(label, max(8, side // 6)) for label in columns]
    left = GAP + (max(round(font.getlength(label)) for label in rows) + GAP if rows else 0)
    top = GAP + LINE * max(len(lines) for lines in wrapped) + GAP
    size = (left + len(columns) * (side + GAP), top + len(grid) * (side + GAP))
    page = Image.new("RGB", size, "#ffffff")
    draw: Any = ImageDraw.Draw(page)
    for k, lines in enumerate(wrapped):
        for n, line in enumerate(lines):
            draw.text((left + k * (side + GAP), GAP + n * LINE), line, "#222222", font)
    for n, row in enumerate(grid):
        if rows:
            draw.text((GAP, top + n * (side + GAP) + side // 2 - TEXT), rows[n], "#222222", font)
        for k, picture in enumerate(row):
            if picture is not None:
                page.paste(Image.fromarray(picture), (left + k * (side + GAP), top + n * (side + GAP)))
    return np.asarray(page)


def perception_sheet(views: Sequence[View]) -> Any:
    """References, the same people in all styles, and what the autoencoder makes of them."""
    first = [next(view for view in views if view.name == name) for name in VIEWS]
    grid: list[list[Any]] = []
    for person in range(min(SHOWN, len(first[0].pictures))):
        grid.append([view.pictures[person] for view in first])
        grid.append([view.again[person] if view.again is not None else None for view in first])
    return sheet(grid, VIEWS, ["drawn", "autoencoder"] * (len(grid) // 2))


def pages(seen: Sequence[Seen], crowd: int) -> dict[str, Any]:
    """Prompt levels of both backbones, strengths and steps, by file name."""
    found = {(s.job.setting, s.job.prompt, p): s.pictures[k] for s in seen if s.job.seed == 0
             for k, p in enumerate(s.job.people)}  # fmt: skip
    reference = references(crowd)
    people = range(min(SHOWN, crowd))
    made = {}
    for setting in (DEV, SCHNELL):
        labels = ["reference", *(f"{captions.PROMPTS[k].level}: {captions.PROMPTS[k].text}" for k in LEVELS)]
        grid = [[reference[p], *(found.get((setting, k, p)) for k in LEVELS)] for p in people]
        made[f"levels_{setting.backbone}_{setting.steps}"] = sheet(grid, labels)
    strengths = [Setting("mini-dev", 28, s) for s in (0.0, 0.5, 1.0, 1.5, 2.0)]
    steps = [Setting("mini-schnell", n) for n in (1, 2, 4)] + [Setting("mini-dev", n) for n in (1, 4, 8, 28)]
    for name, row, label in (
        ("strengths", strengths, lambda s: f"strength {s.strength:g}"),
        ("steps", steps, lambda s: f"{s.backbone} {s.steps}"),
    ):
        grid = [[reference[p], *(found.get((s, k, p)) for s in row)] for p, k in zip(people, NINE, strict=False)]
        made[name] = sheet(grid, ["reference", *map(label, row)])
    return made
