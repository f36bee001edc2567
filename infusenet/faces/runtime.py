"""ONNX Runtime as the face stack uses it: which provider a device means, and which one really runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from .packages import import_onnxruntime, installed_runtimes

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_ERRORS_ONLY = 3  # ONNX Runtime's severity; below it, it tells of every tensor that it tidies away


def session_options(*, quiet: bool = False) -> Any:
    """Session options whose idle threads sleep: spinning, they take the cores from the sampler between two readings.

    Args:
        quiet: leave out ONNX Runtime's own warnings, of which a published file may cause hundreds.
    """
    options = import_onnxruntime().SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if quiet:
        options.log_severity_level = _ERRORS_ONLY
    return options


def provider_of(model: Any) -> str:
    """What a session really runs on; the list of available providers does not tell."""
    return str(model.session.get_providers()[0])


def providers_for(device: str) -> list[Any]:
    """ONNX Runtime's providers for a device: CUDA before the CPU where asked for and at hand.

    Raises:
        SettingsError: unknown device.
    """
    name, _, number = str(device).partition(":")
    if name not in ("cpu", "cuda", "auto", "mps") or (number and not number.isdigit()):
        raise SettingsError(f'Expected the device "auto", "cpu", "cuda" or "cuda:N", got {str(device)!r}.')
    if name in ("cpu", "mps"):
        return [CPU]
    here = CUDA in import_onnxruntime().get_available_providers()
    if name == "auto":
        here = here and sees_gpu()
    elif not here:
        log.warning(
            "Face networks run on the CPU because the installed onnxruntime has no CUDA provider. onnxruntime-gpu has "
            "one."
        )
    return [(CUDA, {"device_id": int(number or 0)}), CPU] if here else [CPU]


def sees_gpu() -> bool:
    """PyTorch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def tell_provider(path: Path, wanted: list[Any], used: str) -> None:
    """Log what a network runs on; a warning where the GPU was asked for and did not start."""
    log.info("%s runs on %s.", path.name, used)
    if wanted[0] != CPU and used == CPU:
        log.warning(
            "%s runs on the CPU instead of the GPU because ONNX Runtime's CUDA provider did not start%s.",
            path.name,
            " (onnxruntime and onnxruntime-gpu are both installed; keep only one)"
            if len(installed_runtimes()) == 2
            else "",
        )
