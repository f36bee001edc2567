"""Figures in rows and columns: maps over two axes, blocks and steps, and the pictures themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..charts.maps import Map, maps
from .drawn import Drawn, both, counted, numbers
from .figure_spec import FigureSpec
from .rows import NAMES, Record, by, mean_of, number, series, summary

if TYPE_CHECKING:
    from PIL import Image

_BLOCKS = {
    "stream_ratio": "text-stream over image-stream norm (RMS over tokens) of the attention output before its "
    "projection: a norm, no attention probability",
    "residual_ratio": "norm of InfuseNet's residual as applied over the hidden state it is added to",
}


def table_map(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means over two axes, each cell of separate runs."""
    return _map(figure, rows, f"{counted(rows, figure.value)} Every cell is the mean of separate runs.")


def blocks(figure: FigureSpec, rows: Sequence[Record]) -> Drawn:
    """Means over blocks and steps of single runs."""
    runs = len({(row["method"], row["person"], row["prompt"], row["seed"]) for row in rows})
    caption = f"{runs} runs; each cell is a mean over them of the {_BLOCKS[figure.value]}."
    return _map(replace(figure, x="step", y="block"), rows, caption)


def _map(figure: FigureSpec, rows: Sequence[Record], caption: str) -> Drawn:
    told, panels = [], []
    ys = [*by(rows, figure.y)]
    for method, own in by(rows, "method").items():
        xs = [*by(own, figure.x)]
        cells = [[[r for r in own if r[figure.x] == x and r[figure.y] == y] for x in xs] for y in ys]
        means = [[mean_of(cell, figure.value) for cell in line] for line in cells]
        panels.append(Map(method, means, [number(x) for x in xs]))
        for y, line in zip(ys, cells, strict=True):
            told += [
                {"method": method, NAMES[figure.y]: y, NAMES[figure.x]: x, **numbers(summary(cell, figure.value))}
                for x, cell in zip(xs, line, strict=True)
            ]
    labels, label = [number(y) for y in ys], f"mean {NAMES[figure.value]}"
    return both(lambda theme: maps(panels, labels, NAMES[figure.x], label, theme), told, caption)


def pictures(figure: FigureSpec, rows: Sequence[Record], out: Path) -> Drawn:
    """The reference and what each method made of it, prompt by prompt."""
    import numpy as np

    from ..charts.sheet import face_grid
    from ..files import png

    groups, told, labels = series(rows), [], []
    tiles: list[Image.Image | None] = []
    seed = min((row["seed"] for row in rows), default=0)
    columns = [(name, prompt) for name in groups for prompt in by(rows, "prompt")]
    alone = len({row["method"] for row in rows}) == 1  # then only its settings are told
    short = {name: name.partition(", ")[2] or name if alone else name for name in groups}
    for person in by(rows, "person"):
        tiles.append(_opened(out / "people" / f"{person}.png"))
        labels.append(f"{person}\nreference")
        for name, prompt in columns:
            fitting = [r for r in groups[name] if (r["person"], r["prompt"], r["seed"]) == (person, prompt, seed)]
            row = fitting[0] if fitting else None
            tiles.append(_opened(out / "pictures" / f"{row['job']}.png") if row else None)
            value = row["similarity"] if row else None
            labels.append(f"{short[name]}: {'–' if value is None else f'{value:.2f}'}\n{prompt}")
            told.append({"person": person, "method": name, "prompt": prompt, "seed": seed, "similarity": value})
            told[-1]["job"] = row["job"] if row else None
    wide = min(180, 900 // (len(columns) + 1))  # so that a row fits the page
    made = [tile for place, tile in enumerate(tiles) if tile is not None and place % (len(columns) + 1)]
    tall = max([wide, *(wide * tile.height // tile.width for tile in made)])
    faces = [None if tile is None else np.asarray(_fitted(tile, wide, tall)) for tile in tiles]
    sheets = [
        face_grid(faces, labels, columns=len(columns) + 1, theme=theme, tile=(wide, tall))
        for theme in ("light", "dark")
    ]
    caption = "The reference at the left; the number is the similarity to it; one noise in each row."
    return Drawn(png(sheets[0]), png(sheets[1]), told, caption)


def _opened(path: Path) -> Image.Image | None:
    from PIL import Image

    return Image.open(path).convert("RGB") if path.is_file() else None


def _fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A picture cut around its middle to a tile's proportions."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
