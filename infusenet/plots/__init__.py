"""Charts and face sheets of traces. Needs matplotlib; draws without pyplot, so it works headless and in threads."""

from .curve import similarity_figure
from .sheet import face_grid, faces_sheet
from .theme import DARK, LIGHT, Theme, figure_pixels

__all__ = ["DARK", "LIGHT", "Theme", "face_grid", "faces_sheet", "figure_pixels", "similarity_figure"]
