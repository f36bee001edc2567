"""The shipped templates, stated once: each becomes a form for the browser and one for the API.

No part of the pack: ComfyUI reads the *.json and *.jpg beside this folder, and neither a wheel nor the registry has it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .adapter import flux, ksampler, miniature, two_people
from .probe import best_of_eight, probe_dev, probe_ksampler, probe_schnell
from .score import score
from .sweep import sweep
from .upscale import upscale

WRITTEN_FOR = "0.33"
"""The version of ComfyUI whose nodes the shipped forms for the browser have; others read them as well."""

FOLDER = Path(__file__).parents[1]
TEMPLATES = {
    "miniature": miniature,
    "miniature_ksampler": ksampler,
    "flux_schnell_4_steps": lambda: flux("flux-schnell", "FLUX.1 schnell, 4 steps"),
    "flux_dev_28_steps": lambda: flux("flux-dev", "FLUX.1 dev, 28 steps"),
    "two_people": two_people,
    "probe_schnell": probe_schnell,
    "probe_dev_stop_at_peak": probe_dev,
    "probe_ksampler": probe_ksampler,
    "best_of_eight": best_of_eight,
    "portrait_tiled_upscale": upscale,
    "score": score,
    "sweep_steps": sweep,
}


def texts_of(name: str, info: dict[str, Any]) -> dict[str, str]:
    """Both files of a template by their path below `FOLDER`.

    Args:
        name: one of TEMPLATES.
        info: the host's /object_info.
    """
    graph = TEMPLATES[name]()
    forms = {f"{name}.json": graph.ui(info), f"api/{name}.json": graph.api()}
    return {path: json.dumps(form, indent=1) + "\n" for path, form in forms.items()}
