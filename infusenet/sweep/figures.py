"""From a sweep's table to its figures: what is shown of which rows, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import grids, lines, means
from .drawn import Drawn
from .figure_spec import FigureSpec
from .rows import Record, shown


def draw_figure(
    figure: FigureSpec, records: Sequence[Record], steps: Sequence[Record], out: Path, blocks: Sequence[Record] = ()
) -> Drawn:
    """One figure.

    Args:
        figure: what to show.
        records: the sweep's table.
        steps: the steps of its trajectories.
        out: the sweep's folder, where its pictures are.
        blocks: what each block did in each step.

    Returns:
        The figure; empty where nothing has been made yet.
    """
    if figure.kind == "trajectory":
        return lines.trajectory(figure, shown(steps, figure))
    if figure.kind == "blocks":
        return grids.blocks(figure, shown(blocks, figure))
    if figure.kind == "pictures":
        return grids.pictures(figure, shown(records, figure), out)
    kinds = {"table": means.table, "pairs": means.pairs, "people": means.people, "map": grids.table_map}
    kinds |= {"curve": lines.curve, "drift": lines.drift}
    return kinds[figure.kind](figure, shown(records, figure))


__all__ = ["Drawn", "draw_figure"]
