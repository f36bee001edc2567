"""Which libraries are at work, for the record of a run."""

import platform
import sys

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "insightface", "onnxruntime")


def library_versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that are loaded; none is imported for it.

    Returns:
        Versions by name.
    """
    from .. import __version__

    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in LIBRARIES}
    return {
        "infusenet": str(__version__),
        "python": platform.python_version(),
        **{name: str(version) for name, version in loaded.items() if version is not None},
    }
