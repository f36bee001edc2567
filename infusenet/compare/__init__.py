"""How alike any pictures are to a person: measured by the one rule, told on the terminal, as files and as a page."""

from .measure import Comparison, Judge, Measured, PictureResult, compare
from .request import CompareRequest

__all__ = ["CompareRequest", "Comparison", "Judge", "Measured", "PictureResult", "compare"]
