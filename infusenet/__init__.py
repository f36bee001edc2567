"""Identity-preserved FLUX in four steps, and a probe that shows, step by step, where a face drifts.

Every name in `__all__` is imported when it is first used, so that `import infusenet` costs nothing and needs
none of the large libraries.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

_HOME = {
    "backbones": ["BACKBONES", "BackboneSpec"],
    "adapter": ["InfuseNetModel"],
    "pipeline": ["InfuseNetPipeline"],
    "loading": ["load_pipeline"],
    "identity": ["FaceDetector", "FaceRecognizer", "Identity", "IdentityEncoder"],
    "pictures": ["open_picture", "save_picture"],
    "probe": ["ProbeRecorder", "StepRecord", "Trace"],
    "errors": ["FaceError", "InfuseNetError", "PackageError", "PictureError", "SettingsError", "WeightsError"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BACKBONES",
    "BackboneSpec",
    "FaceDetector",
    "FaceError",
    "FaceRecognizer",
    "Identity",
    "IdentityEncoder",
    "InfuseNetError",
    "InfuseNetModel",
    "InfuseNetPipeline",
    "PackageError",
    "PictureError",
    "ProbeRecorder",
    "SettingsError",
    "StepRecord",
    "Trace",
    "WeightsError",
    "__version__",
    "load_pipeline",
    "open_picture",
    "save_picture",
]


def _version() -> str:
    """The version in pyproject.toml beside this package (a checkout or a node pack), else the installed one."""
    import re

    try:
        text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        found = re.search(r'^name = "infusenet"\nversion = "([^"]+)"', text, re.MULTILINE)
        if found:
            return found[1]
    except OSError:
        pass
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("infusenet")
    except PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
