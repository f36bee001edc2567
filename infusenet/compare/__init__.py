"""How alike any pictures are to a person: measured by the one rule, told on the terminal, as files and as a page."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .measure import compare
    from .request import CompareRequest
    from .results import Comparison, Judge, Measured, PictureResult

__all__ = ["CompareRequest", "Comparison", "Judge", "Measured", "PictureResult", "compare"]


def __getattr__(name: str) -> Any:
    """The names above when first used: the command reads its arguments before torch is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import measure, request, results

    return getattr({"CompareRequest": request, "compare": measure}.get(name, results), name)
