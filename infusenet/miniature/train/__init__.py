"""Training of the miniature, stage by stage: `python -m infusenet.miniature.train --help`."""
