"""Charts and sheets, of traces and of values that were tried.

Needs matplotlib; draws without pyplot, so it works headless and in threads.
"""

from .curve import similarity_figure
from .palette import DARK, LIGHT, Theme, figure_pixels
from .scores import scores_sheet
from .sheet import face_grid, faces_sheet
from .values import contact_sheet, sheet_tile, values_figure

__all__ = [
    "DARK",
    "LIGHT",
    "Theme",
    "contact_sheet",
    "face_grid",
    "faces_sheet",
    "figure_pixels",
    "scores_sheet",
    "sheet_tile",
    "similarity_figure",
    "values_figure",
]
