"""What is known of FLUX's networks: their sizes, their weights' names, and where their blocks lie."""

from .networks import expected_tensors, flux_config, read_config, rope_axes

__all__ = ["expected_tensors", "flux_config", "read_config", "rope_axes"]
