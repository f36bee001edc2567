"""The shipped templates, stated once: each becomes a form for the browser and one for the API.

No part of the pack: ComfyUI reads the *.json and *.jpg beside this folder, and neither a wheel nor the registry has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import blueprints
from .adapter import flux, ksampler, miniature, tuned, two_people
from .fastface import fastface, fastface_sdxl
from .graph import Graph
from .photo import head, portrait
from .probe import best_of_eight, probe_dev, probe_ksampler, probe_schnell
from .questions import checklist, methods
from .score import score, thing
from .sweep import sweep
from .upscale import upscale

WRITTEN_FOR = "0.33"
"""The version of ComfyUI whose nodes the shipped forms for the browser have; others read them as well."""

FOLDER = Path(__file__).parents[1]
_ORDERED: list[tuple[str, str, Callable[[], Graph]]] = [  # short name, what it does, what states it
    ("miniature", "A person in a scene, 4 steps", miniature),
    ("probe_schnell", "See the likeness at every step", probe_schnell),
    ("best_of_eight", "The best of eight pictures", best_of_eight),
    ("why_not_like_me", "Why does my face not look like me", checklist),
    ("sweep_steps", "Find the best setting for a face", sweep),
    ("score", "Pick the picture most like the person", score),
    ("inpaint_head", "A face in a part of a photo", head),
    ("img2img_portrait", "A portrait from another picture", portrait),
    ("two_methods", "Two identity methods, one probe", methods),
    ("probe_dev_stop_at_peak", "Stop where the likeness peaks, 28 steps", probe_dev),
    ("probe_ksampler", "Probe any model, any method", probe_ksampler),
    ("miniature_ksampler", "A person with the plain KSampler", ksampler),
    ("portrait_tiled_upscale", "Portrait, then an upscale that keeps the face", upscale),
    ("flux_schnell_4_steps", "FLUX schnell, 4 steps", lambda: flux("flux-schnell", "FLUX.1 schnell, 4 steps")),
    ("flux_dev_28_steps", "FLUX dev, 28 steps", lambda: flux("flux-dev", "FLUX.1 dev, 28 steps")),
    ("two_people", "Two people in one FLUX picture", two_people),
    ("thing_or_style", "A thing or a style, not a face", thing),
    ("miniature_fastface", "FastFace, text and identity guided separately", fastface),
    ("miniature_fastface_sdxl", "FastFace on SDXL with an IP Adapter", fastface_sdxl),
    ("miniature_recipe", "Settings from a recipe", tuned),
]
TEMPLATES = {name: state for name, _, state in _ORDERED}
TITLES = {name: f"{number:02d} {title}" for number, (name, title, _) in enumerate(_ORDERED, start=1)}
"""The files' names, which are all that ComfyUI shows of a template; two digits, so that 10 comes after 9."""


def texts_of(name: str, info: dict[str, Any]) -> dict[str, str]:
    """The files of a template, or of a blueprint, by their path below `FOLDER`.

    Args:
        name: one of TEMPLATES or of blueprints.BLUEPRINTS.
        info: the host's /object_info.
    """
    if name in blueprints.BLUEPRINTS:
        forms = {f"../subgraphs/{name}.json": blueprints.form(name, info)}
    else:
        graph = TEMPLATES[name]()
        forms = {f"{TITLES[name]}.json": graph.ui(info, name), f"api/{name}.json": graph.api()}
    return {path: json.dumps(form, indent=1) + "\n" for path, form in forms.items()}
