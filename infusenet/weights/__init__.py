"""Weight files: which are needed, how they are read safely, what they seem to hold, and whether all of it is there."""

from .files import check, describe, load_checked, load_module, misfit, read_header, read_weights, weight_files
from .layouts import Shapes, TensorInfo, count_blocks, depth_of

__all__ = [
    "Shapes",
    "TensorInfo",
    "check",
    "count_blocks",
    "depth_of",
    "describe",
    "load_checked",
    "load_module",
    "misfit",
    "read_header",
    "read_weights",
    "weight_files",
]
