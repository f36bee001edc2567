"""A comparison's files: compare.html, compare.json and compare.csv, each whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SettingsError
from ..files import Picture, check_folder, png, write_atomically
from ..pages import data_uri
from .page import FEW, compare_page
from .request import FACES, CompareRequest
from .results import Comparison
from .tell import to_csv, to_json

PAGE, FIGURES, TABLE = "compare.html", "compare.json", "compare.csv"


def check_out(out: Path, request: CompareRequest) -> None:
    """Raise SettingsError unless the files can be written into a folder, and none of them is an input."""
    check_folder(out, PAGE, FIGURES, TABLE)
    faces = os.path.realpath(out / FACES)
    given = (*request.reference, *request.pictures, *request.others, *request.genuine, request.other_photo)
    for path in given:
        if path is not None and os.path.realpath(path).startswith(faces + os.sep):
            raise SettingsError(f"{path} is in the folder for the page's own images. Choose another folder with --out.")


def write(comparison: Comparison, out: Path) -> Path:
    """Write everything into a folder; files of an earlier comparison there are replaced.

    Args:
        comparison: what was measured.
        out: the folder; made if missing. Of more than 60 pictures the images lie in its folder `faces`.

    Returns:
        The page.

    Raises:
        OSError: the disk refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    crowd = len(comparison.pictures) > FEW
    count = 0

    def beside(picture: Picture) -> str:
        nonlocal count
        count += 1
        name = f"face-{count:04d}.png"
        write_atomically(out / FACES / name, png(picture))
        return f"{FACES}/{name}"

    def inside(picture: Picture) -> str:
        return data_uri(png(picture))

    if crowd:
        (out / FACES).mkdir(exist_ok=True)
    page = compare_page(comparison, beside if crowd else inside)
    write_atomically(out / FIGURES, to_json(comparison).encode())
    write_atomically(out / TABLE, to_csv(comparison).encode())
    write_atomically(out / PAGE, page.encode())
    return out / PAGE
