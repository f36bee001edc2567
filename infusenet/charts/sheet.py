"""The face at every step, side by side."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..measures.base import Pixels
from ..probe.gallery import Gallery
from ..probe.records import StepRecord
from ..probe.trace import Trace
from .labels import MISSING
from .palette import in_lines, theme_named

TILE = 112
GAP = 10
TEXT = 13  # font size in pixels
LINE = 17
FACES = 32  # shown for one batch item


def faces_sheet(trace: Trace, gallery: Gallery, *, theme: str = "light", columns: int = 8) -> Pixels:
    """One aligned face a step and the finished picture's, labelled; the peak is framed.

    Args:
        trace: what the probe saw.
        gallery: the recorder's, of the same run. At most 32 faces of an item are shown, evenly chosen.
        theme: "light" or "dark".
        columns: faces side by side.

    Returns:
        RGB uint8 [H, W, 3]; batch items below each other.

    Raises:
        ValueError: unknown theme, or columns < 1.
    """
    kept = [record for record in trace.records if gallery.get(record.step)]
    best = trace.best
    shown = _evenly(kept, FACES, best)
    parts = []
    for item in range(trace.batch):
        faces = [gallery.get(record.step)[item] for record in shown]
        labels = [_label(f"step {record.step}", record, item) for record in shown]
        marked = next((index for index, record in enumerate(shown) if best and record.step == best.step), None)
        if trace.final is not None and gallery.final:
            faces.append(gallery.final[item])
            labels.append(_label("finished", trace.final, item))
        heading = f"Picture {item + 1} of {trace.batch}" if trace.batch > 1 else None
        empty = trace.wording.missing
        parts.append(
            face_grid(faces, labels, columns=columns, marked=marked, heading=heading, theme=theme, empty=empty)
        )
    return np.concatenate(parts) if parts else face_grid([], [], columns=columns, theme=theme)


def fitted(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture RGB uint8 [H, W, 3] cut around its middle to a tile's width and height."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS))


def face_grid(
    faces: Sequence[Pixels | None],
    labels: Sequence[str],
    *,
    columns: int = 8,
    marked: int | None = None,
    heading: str | Sequence[str] | None = None,
    theme: str = "light",
    tile: tuple[int, int] = (TILE, TILE),
    empty: str = "no face",
) -> Pixels:
    """Faces, or other small pictures, in rows, a label of up to two lines under each.

    Args:
        faces: RGB uint8 [112, 112, 3] (others are resized); None leaves a gap and says so.
        labels: one a face.
        columns: faces side by side.
        marked: the face to frame.
        heading: a line above; or short texts, as many a line as there is room for.
        theme: "light" or "dark".
        tile: width and height of each in the sheet, pixels.
        empty: what stands in such a gap.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: unknown theme, columns < 1, or another number of labels than of faces.
    """
    from PIL import Image, ImageDraw, ImageFont

    if columns < 1 or len(faces) != len(labels):
        raise ValueError(
            f"Expected columns >= 1 and one label per face, got {columns}, {len(labels)} and {len(faces)}."
        )
    colours = theme_named(theme)
    across, rows = min(columns, max(len(faces), 1)), max(math.ceil(len(faces) / columns), 1)
    width, height = tile
    breadth, row_height = GAP + across * (width + GAP), height + 2 * LINE + GAP + 4
    font = ImageFont.truetype(_font(), TEXT)
    texts = [heading] if isinstance(heading, str) else heading or []
    above = in_lines(texts, lambda line: font.getlength(line) <= breadth - 2 * GAP)
    top = GAP + (LINE * len(above) + 6 if above else 0)
    sheet = Image.new("RGB", (breadth, top + rows * row_height), colours.paper)
    draw = ImageDraw.Draw(sheet)
    for line, text in enumerate(above):
        draw.text((GAP, GAP - 2 + line * LINE), text, colours.ink, font)
    for index, (face, label) in enumerate(zip(faces, labels, strict=True)):
        x, y = GAP + index % columns * (width + GAP), top + index // columns * row_height
        middle = x + width / 2
        if face is None:
            draw.rectangle((x, y, x + width - 1, y + height - 1), outline=colours.grid, width=2)
            _centred(draw, empty, middle, y + height / 2 - TEXT / 2 - 2, colours.quiet, font)
        else:
            picture = Image.fromarray(np.ascontiguousarray(face))
            sheet.paste(picture if picture.size == tile else picture.resize(tile), (x, y))
        if index == marked:
            draw.rectangle((x - 5, y - 5, x + width + 4, y + height + 4), outline=colours.curve(1), width=3)
        for line, text in enumerate(label.split("\n")[:2]):
            _centred(draw, text, middle, y + height + 5 + line * LINE, colours.quiet if line else colours.ink, font)
    return np.asarray(sheet)


def _label(name: str, record: StepRecord, item: int) -> str:
    """Step and similarity (in brackets where no face was seen), and below how the face was found otherwise."""
    value, alignment = record.similarity[item], record.alignment[item]
    number = MISSING if value is None else f"{value:.2f}" if record.found[item] else f"({value:.2f})"
    return f"{name}: {number}" + ("" if alignment in (None, "detected") else f"\n{alignment}")


def _evenly(records: Sequence[StepRecord], limit: int, always: StepRecord | None) -> list[StepRecord]:
    """At most `limit` records, first and last among them, and the nearest one replaced by `always`."""
    if len(records) <= limit:
        return list(records)
    chosen = [round(i * (len(records) - 1) / (limit - 1)) for i in range(limit)]
    if always in records and records.index(always) not in chosen:
        at = records.index(always)
        nearest = min(range(1, limit - 1), key=lambda i: abs(chosen[i] - at))
        chosen[nearest] = at
    return [records[index] for index in sorted(chosen)]


def _centred(draw: Any, text: str, middle: float, y: float, colour: str, font: Any) -> None:
    """Text around the middle of a tile."""
    draw.text((middle - draw.textlength(text, font) / 2, y), text, colour, font)


def _font() -> str:
    """The font that matplotlib brings."""
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
