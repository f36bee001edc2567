"""The packages that the face stack stands on, imported when used, with the command that mends what is missing."""

from __future__ import annotations

import logging
from importlib import metadata
from typing import Any

from ..errors import PackageError, pip_command

log = logging.getLogger(__name__)

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Two distributions of one import folder: whichever was installed last wins, and removing one breaks the other."""

_OLDEST = 2


def import_cv2() -> Any:
    """OpenCV.

    Raises:
        PackageError: it cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        command = pip_command("install opencv-python-headless")
        raise PackageError(
            f"OpenCV is needed for faces, but could not be imported ({error}). Run: {command}"
        ) from error
    return cv2


def import_model_zoo() -> Any:
    """InsightFace's `model_zoo`, version 2 or newer. Nothing is downloaded.

    Raises:
        PackageError: insightface or onnxruntime is missing, too old, or broken.
    """
    try:
        import insightface
        from insightface import model_zoo
    except (ImportError, AttributeError, OSError) as error:
        raise PackageError(_complaint(error)) from error
    version = str(getattr(insightface, "__version__", "0"))
    if int(version.split(".")[0]) < _OLDEST:
        raise PackageError(
            f"insightface {version} is too old. Version {_OLDEST}.0 or newer is needed. Run: "
            f"{pip_command('install --upgrade', quoted('insightface>=2.0'))}"
        )
    return model_zoo


def import_onnxruntime() -> Any:
    """ONNX Runtime.

    Raises:
        PackageError: missing or broken.
    """
    try:
        import onnxruntime
    except (ImportError, AttributeError, OSError) as error:
        raise PackageError(_complaint(error)) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # an empty folder, where one of two distributions was removed
        raise PackageError(_complaint(AttributeError("onnxruntime is an empty package")))
    return onnxruntime


def import_onnx() -> Any:
    """The `onnx` package, which insightface requires.

    Raises:
        PackageError: missing or broken.
    """
    try:
        import onnx
    except (ImportError, OSError) as error:
        command = pip_command("install onnx")
        raise PackageError(f"onnx is needed for faces, but could not be imported ({error}). Run: {command}") from error
    return onnx


def quoted(requirement: str) -> str:
    """A requirement as a shell takes it."""
    return f'"{requirement}"'


def installed_runtimes() -> list[str]:
    """Which of the two onnxruntime distributions pip knows of; both at once clash."""
    return [name for name in RUNTIMES if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _complaint(error: Exception) -> str:
    """What to do about a face stack that cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name not in (None, "insightface", "onnxruntime"):
        return str(PackageError.of(error))  # something that these two need
    runtimes = installed_runtimes()
    if not _is_installed("insightface"):
        command = pip_command("install", quoted("insightface>=2.0"))
        return f"insightface is needed for faces, but is not installed. Run: {command}"
    if len(runtimes) == 2:
        command = " && ".join(
            [pip_command("uninstall -y", *RUNTIMES), pip_command("install --force-reinstall --no-deps onnxruntime-gpu")]
        )
        return (
            f"onnxruntime and onnxruntime-gpu are both installed and break each other ({error}). Keep only one. "
            f"With an NVIDIA GPU, run: {command} (without one, install onnxruntime instead)."
        )
    if not runtimes:
        command = pip_command("install onnxruntime")
        return f"onnxruntime is needed for faces, but is not installed. Run: {command}"
    command = pip_command("install --force-reinstall --no-deps", runtimes[0], "insightface")
    return f"The packages for faces (insightface, {runtimes[0]}) could not be imported ({error}). Run: {command}"
