"""Charts and sheets, of traces and of values that were tried.

Needs matplotlib; draws without pyplot, so it works headless and in threads.
"""

from .palette import DARK, LIGHT, Theme, figure_pixels
from .scores import scores_sheet
from .sheet import face_grid, faces_sheet
from .strip import Dots, strip_drawing, strip_figure, strip_in_words
from .trajectory import save_chart, similarity_figure
from .values import contact_sheet, sheet_tile, values_figure

__all__ = [
    "DARK",
    "LIGHT",
    "Dots",
    "Theme",
    "contact_sheet",
    "face_grid",
    "faces_sheet",
    "figure_pixels",
    "save_chart",
    "scores_sheet",
    "sheet_tile",
    "similarity_figure",
    "strip_drawing",
    "strip_figure",
    "strip_in_words",
    "values_figure",
]
