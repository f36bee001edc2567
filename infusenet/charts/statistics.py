"""The figures of a sweep's page that show means and people, drawn with matplotlib from plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..measures.lines import Line
from .palette import LARGE, LINES, WIDE, Theme, dress, handle, legend, marker, new_figure, theme_named

ROLES = ("dev", "schnell")  # whose colours are the first ones
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """A mean with its interval at a place; None where undefined."""

    x: float
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Tone:
    """How a line looks: the same role (a backbone) is of the same colour in every figure.

    Attributes:
        role: number of its colour.
        variant: number of its marks and dashes, among lines of its colour.
        share: 0..1 of lines along a number that rises, from faint to strong; None otherwise.
    """

    role: int
    variant: int = 0
    share: float | None = None

    def colour(self, theme: Theme) -> str:
        """Its colour."""
        return theme.curve(self.role) if self.share is None else theme.shade(self.role, self.share)

    def look(self, theme: Theme) -> dict[str, Any]:
        """Colour, marker and dashes of a line."""
        dashes = "-" if self.share is not None else _STYLES[self.variant % len(_STYLES)]
        mark = marker(self.variant if self.variant or self.share is not None else self.role)
        return {"color": self.colour(theme), "marker": mark, "ls": dashes, "ms": 5.5, "lw": 1.9}


def tones(roles: Mapping[str, str], *, rising: bool = False) -> dict[str, Tone]:
    """How lines look: a colour for each role, the same in all figures.

    Args:
        roles: a line's name to its role.
        rising: whether the lines are values of one number in order: then from faint to strong.
    """
    numbers, count = dict(zip(ROLES, range(len(ROLES)), strict=True)), dict[int, int]()
    found = {}
    for order, (name, role) in enumerate(roles.items()):
        number = numbers.setdefault(role, len(numbers))
        found[name] = Tone(number, count.setdefault(number, 0), order / max(len(roles) - 1, 1) if rising else None)
        count[number] += 1
    return found


def tones_apart(names: Iterable[str]) -> dict[str, Tone]:
    """A colour for each of some lines that are no roles, such as three kinds of blocks."""
    return {name: Tone(number) for number, name in enumerate(names, len(ROLES))}


def draw_levels(axes: Any, levels: Sequence[Line], theme: Theme, *, upright: bool = False) -> None:
    """Quiet lines across (or, `upright`, up) the axes."""
    for level in levels:
        line = axes.axvline if upright else axes.axhline
        line(level.level, color=theme.quiet, lw=1.1, ls=LINES[level.kind], zorder=1)


def level_handles(levels: Sequence[Line], theme: Theme) -> list[Any]:
    """Their names for a legend."""
    return [handle(level.text, color=theme.quiet, lw=1.1, ls=LINES[level.kind]) for level in levels]


def write_unmeasured(axes: Any, theme: Theme) -> None:
    """Axes without any value say so."""
    axes.tick_params(axis="both", which="both", left=False, labelleft=False)
    middle = {"ha": "center", "va": "center", "color": theme.quiet, "fontsize": LARGE}
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, **middle)


def unmeasured(theme: str) -> Any:
    """A figure of which nothing is known yet."""
    look = theme_named(theme)
    figure = new_figure(WIDE, 1.2, look)
    axes = figure.subplots()
    axes.set_axis_off()
    write_unmeasured(axes, look)
    return figure


def above(figure: Any, theme: Theme, handles: Sequence[Any]) -> None:
    """A legend above all panels, in one or more rows."""
    wide = figure.get_figwidth() * 12.5  # characters that fit in a row, about
    longest = max((len(each.get_label()) for each in handles), default=0) + 6
    columns = max(1, min(len(handles), int(wide // longest)))
    look = {"labelcolor": theme.ink, "loc": "outside upper left", "handlelength": 2.2}
    legend(figure, handles, LARGE - 0.5, ncols=columns, **look)


def paper_look(theme: Theme, colour: str = "") -> dict[str, Any]:
    """The paper's own figures: hollow diamonds."""
    return {"marker": "D", "mfc": "none", "mec": colour or theme.quiet, "ms": 7, "mew": 1.4, "ls": "", "zorder": 5}


def paper_handle(theme: Theme) -> Any:
    """Their name for a legend."""
    return handle("the paper (FLUX, photos)", **paper_look(theme))


def forest(
    names: Sequence[str], points: Sequence[Point], apart: Sequence[Point], paper: Sequence[float | None],
    tones: Sequence[Tone], label: str, against: str, theme: str, levels: Sequence[Line] = (),
) -> Any:  # fmt: skip
    """A mean and its interval in each row, and beside it the paired difference to the first row.

    Args:
        names: of the rows, each with its `tones`, `points`, difference `apart` and the `paper`'s figure.
        label: of the means; `against` names the first row, "" for no differences.
        theme: a theme's name.
        levels: beside the means.
    """
    look = theme_named(theme)
    figure = new_figure(WIDE if against else 8.2, 1.45 + 0.36 * len(names), look)
    wide = {"width_ratios": (1.5, 1)} if against else {}
    left, *right = figure.subplots(1, 2 if against else 1, sharey=True, squeeze=False, gridspec_kw=wide)[0]
    dress(left, look, x=label, grid="x")
    draw_levels(left, levels, look, upright=True)
    _rows(left, points, tones, look)
    for row, theirs in enumerate(paper):
        if theirs is not None:
            left.plot([theirs], [row], **paper_look(look))
    for axes in right:
        dress(axes, look, x=f"difference from {against}", grid="x")
        axes.axvline(0, color=look.ink, lw=1)
        _rows(axes, apart, tones, look)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(range(len(names)), names, color=look.ink, fontsize=LARGE, parse_math=False)
    left.set_ylim(len(names) - 0.5, -0.5)
    handles = [handle("mean and 95 % interval", color=look.quiet, marker="o", ms=7, lw=2.4)]
    has_theirs = any(value is not None for value in paper)
    above(figure, look, [*handles, *level_handles(levels, look), *([paper_handle(look)] if has_theirs else [])])
    return figure


def _rows(axes: Any, points: Sequence[Point], tones: Sequence[Tone], theme: Theme) -> None:
    """A point and its interval in each row."""
    if all(point.mean is None for point in points):
        write_unmeasured(axes, theme)
    for row, (point, tone) in enumerate(zip(points, tones, strict=True)):
        if point.low is not None:
            axes.plot([point.low, point.high], [row] * 2, color=tone.colour(theme), lw=2.4, solid_capstyle="round")
        if point.mean is not None:
            axes.plot([point.mean], [row], "o", color=tone.colour(theme), ms=7)


def paired_dots(
    groups: Sequence[str], methods: Sequence[str], values: Mapping[tuple[str, str], Mapping[Any, float]],
    paper: Mapping[tuple[str, str], float | None], tones: Mapping[str, Tone], label: str, theme: str,
    levels: Sequence[Line] = (),
) -> Any:  # fmt: skip
    """For each group the methods side by side: a dot a picture, a line between a person's own, a bar for the mean."""
    look = theme_named(theme)
    figure = new_figure(min(WIDE, max(6.0, 2.2 * len(groups) + 1.6)), 4.3, look)
    axes = dress(figure.add_subplot(), look, y=label, grid="y")
    spots = {(g, m): i * (len(methods) + 0.9) + j for i, g in enumerate(groups) for j, m in enumerate(methods)}
    for group in groups:
        for left, right in pairwise(methods):
            a, b = values.get((group, left), {}), values.get((group, right), {})
            for key in a.keys() & b.keys():
                axes.plot(
                    [spots[group, left], spots[group, right]], [a[key], b[key]], color=look.quiet, lw=0.6, alpha=0.45
                )
    draw_levels(axes, levels, look)
    for method in methods:
        colour, mark = tones[method].colour(look), tones[method].look(look)["marker"]
        for group in groups:
            dots, at = list(values.get((group, method), {}).values()), spots[group, method]
            axes.plot([at] * len(dots), dots, mark, color=colour, ms=4.5, alpha=0.75, mew=0)
            if dots:
                axes.plot([at - 0.3, at + 0.3], [sum(dots) / len(dots)] * 2, color=colour, lw=3)
            if paper.get((group, method)) is not None:
                axes.plot([at], [paper[group, method]], **paper_look(look, colour))
    middles = [spots[group, methods[0]] + (len(methods) - 1) / 2 for group in groups]
    axes.set_xticks(middles, groups, color=look.ink, fontsize=LARGE, parse_math=False)
    handles = [handle(method, **{**tones[method].look(look), "ls": "-", "lw": 3}) for method in methods]
    has_theirs = any(value is not None for value in paper.values())
    above(figure, look, [*handles, *level_handles(levels, look), *([paper_handle(look)] if has_theirs else [])])
    return figure


def people_lines(
    people: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[float | None]]], tones: Mapping[str, Tone],
    label: str, theme: str, levels: Sequence[Line] = (),
) -> Any:  # fmt: skip
    """A column for each person: every method's value as a dot, a line between them, and each method's mean dashed."""
    look = theme_named(theme)
    names = list(dict.fromkeys(name for columns in panels.values() for name in columns))
    figure = new_figure(min(WIDE, max(6.4, 0.3 * len(people) + 1.6)), 1.1 + 2.5 * max(len(panels), 1), look)
    drawn = figure.subplots(max(len(panels), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(drawn, panels.items(), strict=False):
        dress(axes, look, y=label, title=title, grid="y")
        draw_levels(axes, levels, look)
        for i in range(len(people)):
            heights = [value for column in columns.values() if (value := column[i]) is not None]
            if len(heights) > 1:
                axes.plot([i] * 2, [min(heights), max(heights)], color=look.quiet, lw=1, alpha=0.6)
        for name, column in columns.items():
            known = [(i, value) for i, value in enumerate(column) if value is not None]
            colour, mark = tones[name].colour(look), tones[name].look(look)["marker"]
            if known:
                axes.plot(*zip(*known, strict=True), mark, color=colour, ms=5.5, mew=0)
                axes.axhline(sum(value for _, value in known) / len(known), color=colour, lw=1.2, ls="--", alpha=0.8)
    drawn[-1].set_xticks(range(len(people)), people, rotation=60, ha="right", fontsize=LARGE - 1.5, parse_math=False)
    drawn[-1].set_xlim(-0.7, max(len(people), 1) - 0.3)
    handles = [handle(name, **{**tones[name].look(look), "ls": "--", "lw": 1.2}) for name in names]
    above(figure, look, [*handles, *level_handles(levels, look)])
    return figure
