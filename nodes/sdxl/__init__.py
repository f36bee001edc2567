"""SDXL in the host, as far as the miniature needs it: SDXL itself comes by the host's own loaders."""
