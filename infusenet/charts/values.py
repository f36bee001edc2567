"""One setting tried at several values: the likeness over the values, and the pictures side by side."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import Axis, Tried, as_text, best_of
from ..measures.base import Pixels
from ..measures.baselines import Baseline
from ..measures.lines import Line, judging_lines
from ..measures.wording import SubjectName, Wording, wording
from .labels import Labeller
from .palette import LINES, SIZE, Theme, in_inches, limits, new_figure, similarity_axes, theme_named, write_below
from .sheet import face_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = 16  # values beyond which not every one is written at the axis
SIDES = 192, 320  # longer side of a picture in the contact sheet, pixels
AREA = 24_000_000  # pixels of all pictures in it, at most
ACROSS = 6  # pictures side by side


def values_figure(
    tried: Sequence[Tried],
    axis: Axis,
    *,
    recognizer: str,
    strangers: Baseline | None = None,
    blank: Baseline | None = None,
    note: str | None = None,
    theme: str = "light",
    width: float = 7.0,
    subject: SubjectName = "face",
) -> "Figure":
    """Draw how much the pictures of each value look like the person.

    A point is the mean over a value's pictures that show a face, the bar its range, hollow where some show none; a
    cross at the bottom is a value none of whose pictures does. The ring is the best value. Zero is always on the axis.

    Args:
        tried: what came of each value, one or more.
        axis: what was swept.
        recognizer: which network measured, for the line below.
        strangers: what other people score; None = unknown, which the chart says.
        blank: what crops without any face score.
        note: a sentence for below the chart.
        theme: "light" or "dark".
        width: inches; text is made for 7 (700 pixels at the figure's 100 dpi).
        subject: what was compared, as the measure's rule has it.

    Returns:
        A matplotlib figure with its own Agg canvas; nothing global is touched.

    Raises:
        ValueError: nothing was tried, or an unknown theme.
        ImportError: matplotlib is missing.
    """
    if not tried:
        raise ValueError("Expected at least one tried value, got none.")
    lines, words = judging_lines(strangers, blank, subject), wording(subject)
    colours, shown = theme_named(theme), sorted(tried, key=lambda one: one.value) if axis.ordered else list(tried)
    positions = [float(one.value) if axis.ordered else float(position) for position, one in enumerate(shown)]
    figure = new_figure(width, 4.2, colours)
    panel = figure.add_subplot()
    _frame(panel, axis, shown, positions, colours, words.axis)
    _draw(panel, axis, shown, positions, colours)
    panel.set_ylim(*limits([*(value for one in shown for value in _known(one)), *(line.level for line in lines)]))
    write_below(figure, _footer(shown, recognizer, words, strangers is None, note, width), colours)
    _label(panel, shown, positions, lines, colours)
    return figure


def contact_sheet(
    pictures: Sequence[Pixels],
    tried: Sequence[Tried],
    axis: Axis,
    *,
    theme: str = "light",
    subject: SubjectName = "face",
) -> Pixels:
    """All pictures in the order of their values, each labelled with its value and similarity; the best is framed.

    Args:
        pictures: RGB uint8 [H, W, 3] of one size, a value's pictures one after the other.
        tried: what came of each value.
        axis: what was swept.
        theme: "light" or "dark".
        subject: what was compared, as the measure's rule has it.

    Returns:
        RGB uint8 [H, W, 3]. Large pictures are reduced by `sheet_tile`; several of one value make rows of their own.

    Raises:
        ValueError: another number of pictures than the values have.
    """
    each = max((len(one.similarities) for one in tried), default=1)
    labels: list[str] = []
    marked = None
    best = best_of(tried)
    for one in tried:
        if one is best:
            marked = len(labels) + int(np.nanargmax([math.nan if v is None else v for v in one.similarities]))
        for number, similarity in enumerate(one.similarities, start=1):
            result = wording(subject).missing if similarity is None else f"{similarity:.2f}"
            labels.append(f"{axis.name} {as_text(one.value)}\n" + (f"#{number}: {result}" if each > 1 else result))
    rows = math.ceil(len(labels) / ACROSS)
    columns = each if 1 < each <= ACROSS else max(1, math.ceil(len(labels) / max(rows, 1)))
    height, width = pictures[0].shape[:2] if len(pictures) else SIDES[:1] * 2
    tile = sheet_tile(width, height, len(labels))
    return face_grid(list(pictures), labels, columns=columns, marked=marked, theme=theme, tile=tile)


def sheet_tile(width: int, height: int, pictures: int) -> tuple[int, int]:
    """A picture's size in the contact sheet: its longer side 192 to 320, and less where there are very many.

    Args:
        width: pixels of a picture.
        height: likewise.
        pictures: how many there are.

    Returns:
        (width, height) in the same proportion, at least 1 each.
    """
    longer = max(width, height)
    scale = min(max(longer, SIDES[0]), SIDES[1], math.sqrt(AREA / max(pictures, 1))) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def _frame(panel: Any, axis: Axis, shown: Sequence[Tried], positions: Sequence[float], theme: Theme, up: str) -> None:
    """Axes, grid and the values below."""
    from matplotlib.ticker import MaxNLocator

    similarity_axes(panel, axis.label, theme, up)
    margin = 0.06 * (max(positions) - min(positions)) or 0.5
    panel.set_xlim(min(positions) - margin, max(positions) + margin)
    written = [as_text(one.value) for one in shown]
    if len(shown) <= TICKS and _apart(positions):
        upright = sum(map(len, written)) > 70
        panel.set_xticks(positions, written, rotation=45 if upright else 0, ha="right" if upright else "center")
    elif axis.ordered:
        panel.xaxis.set_major_locator(MaxNLocator(integer=axis.whole))
    else:
        every = math.ceil(len(shown) / TICKS)
        panel.set_xticks(positions[::every], written[::every], rotation=45, ha="right")


def _apart(positions: Sequence[float]) -> bool:
    """Whether all values can be written at the axis."""
    span = (max(positions) - min(positions)) or 1.0
    return all(b - a >= 0.028 * span for a, b in pairwise(positions))


def _draw(panel: Any, axis: Axis, shown: Sequence[Tried], positions: Sequence[float], theme: Theme) -> None:
    """The curve, its marks and ranges, the failures and the ring."""
    colour = theme.curve(0)
    means = [math.nan if one.similarity is None else one.similarity for one in shown]
    for one, position in zip(shown, positions, strict=True):
        if len(known := _known(one)) > 1:
            panel.plot([position] * 2, [min(known), max(known)], color=colour, linewidth=1.6, alpha=0.45, zorder=3)
    if axis.ordered:
        panel.plot(positions, means, color=colour, linewidth=1.8, zorder=4)
    for whole, face in ((True, colour), (False, theme.paper)):
        at = [i for i, one in enumerate(shown) if (one.failures == 0) is whole]
        xs, ys = [positions[i] for i in at], [means[i] for i in at]
        panel.plot(xs, ys, "o", color=colour, markerfacecolor=face, markersize=5, zorder=5)
    lost = [position for one, position in zip(shown, positions, strict=True) if one.similarity is None]
    if lost:
        panel.plot(
            lost, [0.03] * len(lost), "x", color=theme.curve(1), markersize=7, markeredgewidth=1.8, clip_on=False,
            transform=panel.get_xaxis_transform(), zorder=6,
        )  # fmt: skip
    best = best_of(shown)
    if best is not None:
        ring = (positions[shown.index(best)], best.similarity)
        panel.plot(*ring, "o", markersize=12, markerfacecolor="none", markeredgecolor=theme.ink, zorder=8)


def _label(panel: Any, shown: Sequence[Tried], positions: Sequence[float], lines: Sequence[Line], theme: Theme) -> None:
    """The best value by name, and the lines of other people and of no face."""
    labeller = Labeller(panel, SIZE)
    known = [
        (position, one.similarity) for one, position in zip(shown, positions, strict=True) if one.similarity is not None
    ]
    labeller.avoid_curve(known)
    labeller.draw_levels([(line.text, line.level, theme.quiet, LINES[line.kind]) for line in lines])
    best = best_of(shown)
    if best is not None and best.similarity is not None:
        position = positions[shown.index(best)]
        labeller.avoid_mark(position, best.similarity)
        labeller.put(f"best {best.similarity:.2f} at {as_text(best.value)}", position, best.similarity, theme.curve(0))


def _known(one: Tried) -> list[float]:
    """A value's similarities that are defined."""
    return [value for value in one.similarities if value is not None]


def _footer(
    shown: Sequence[Tried], recognizer: str, words: Wording, unknown: bool, note: str | None, width: float
) -> str:
    """How to read the chart, what it rests on, and which network measured."""
    pictures, failures = sum(len(one.similarities) for one in shown), sum(one.failures for one in shown)
    parts = ["ring: best"] if best_of(shown) is not None else []
    parts += ["bar: range of the batch"] if any(len(one.similarities) > 1 for one in shown) else []
    parts += (
        [f"hollow: {words.some_missing}"] if any(one.similarity is not None and one.failures for one in shown) else []
    )
    parts += [f"cross: {words.missing}"] if any(one.similarity is None for one in shown) else []
    parts += [f"{pictures - failures} of {pictures} pictures {words.show}"]
    parts += [words.others_unknown] if unknown and words.others_unknown else []
    measured = f"Measured by {recognizer.partition(' (')[0]}"
    return "\n".join([*in_inches(parts, width), measured, *([note] if note else [])])
