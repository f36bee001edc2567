"""Identity-preserved FLUX in four steps, and a probe that shows, step by step, where a face drifts.

Every name in `__all__` is imported when it is first used, so that `import infusenet` costs nothing and needs
none of the large libraries.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_HOME = {
    "backbones": ["BACKBONES", "BackboneSpec"],
    "adapters.infusenet.model": ["InfuseNetModel"],
    "adapters.infusenet.pipeline": ["InfuseNetPipeline"],
    "adapters.infusenet.encoder": ["Identity", "IdentityEncoder"],
    "loading": ["load_pipeline"],
    "faces": ["FaceDetector", "FaceRecognizer"],
    "files": ["open_picture", "save_picture"],
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


# -- modules that have moved: their old names are understood until 0.2, with a DeprecationWarning ----------------------

_MOVED = {
    "adapter": "adapters.infusenet.model",
    "advice": "probe.advice",
    "arguments": "adapters.infusenet.arguments",
    "batch": "probe.batch",
    "drift": "probe.drift",
    "identity": "faces adapters.infusenet.encoder adapters.infusenet.arcface adapters.infusenet.resampler",
    "identity.align": "faces.align",
    "identity.backends": "faces.backends",
    "identity.detect": "faces.detect",
    "identity.embed": "adapters.infusenet.arcface",
    "identity.encoder": "adapters.infusenet.encoder",
    "identity.opencv_zoo": "faces.opencv_zoo",
    "identity.packages": "faces.packages",
    "identity.project": "adapters.infusenet.resampler",
    "identity.recognize": "faces.recognize",
    "identity.runtime": "faces.runtime",
    "identity.selftest": "faces.selftest",
    "identity.turns": "faces.turns",
    "metrics.blocks": "flux.blocks",
    "miniature.strangers": "miniature.people",
    "order": "cli.picture files charts",
    "pictures": "files",
    "pipeline": "adapters.infusenet.pipeline",
    "plots": "charts",
    "plots.curve": "charts.trajectory charts.curve",
    "plots.labels": "charts.labels",
    "plots.scores": "charts.scores",
    "plots.sheet": "charts.sheet",
    "plots.theme": "charts.palette",
    "plots.values": "charts.values",
    "scores": "measures.scores",
    "stopping": "probe.stopping",
    "trajectory": "probe.trajectory",
    "values": "axes",
}
"""Old names and the modules that hold what was there."""


class _Moved(MetaPathFinder, Loader):
    """Finds a module by its old name."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        old = fullname.removeprefix(f"{__name__}.")
        if old == fullname or old not in _MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=any(name.startswith(f"{old}.") for name in _MOVED))

    def exec_module(self, module: ModuleType) -> None:
        from warnings import warn

        names = _MOVED[module.__name__.removeprefix(f"{__name__}.")].split()
        new = " and ".join(f"{__name__}.{name}" for name in names)
        warn(f"{module.__name__} has moved to {new}", DeprecationWarning, stacklevel=2)
        homes = [import_module(f".{name}", __name__) for name in names]

        def attribute(name: str) -> Any:
            for home in homes:
                if not name.startswith("__") and hasattr(home, name):
                    return getattr(home, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = attribute  # type: ignore[method-assign]


if not any(type(finder).__name__ == "_Moved" and finder.__module__ == __name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _Moved())  # before a folder that an update has left behind with old caches in it
