"""From photos of a person to identity tokens, and from pictures to a similarity: two recognizers on purpose.

The one that conditions (IR-SE50, `IdentityEncoder`) must not be the one that measures (`FaceRecognizer`), or the
measurement would be circular. Names are imported when first used.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "align": ["draw_kps", "face_pose", "norm_crop", "resize_and_pad"],
    "detect": ["Face", "FaceDetector"],
    "embed": ["IRSE"],
    "encoder": ["Identity", "IdentityEncoder"],
    "project": ["Resampler"],
    "recognize": ["FaceRecognizer"],
    "turns": ["Upright", "upright"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "IRSE",
    "Face",
    "FaceDetector",
    "FaceRecognizer",
    "Identity",
    "IdentityEncoder",
    "Resampler",
    "Upright",
    "draw_kps",
    "face_pose",
    "norm_crop",
    "resize_and_pad",
    "upright",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
