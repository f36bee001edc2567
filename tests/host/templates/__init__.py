"""The shipped templates, stated once: each becomes a UI form and an API form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .adapter import flux, ksampler, miniature, two_people
from .probe import probe_dev, probe_ksampler, probe_schnell
from .score import score
from .sweep import sweep

FOLDER = Path(__file__).parents[3] / "example_workflows"
TEMPLATES = {
    "miniature": miniature,
    "miniature_ksampler": ksampler,
    "flux_schnell_4_steps": lambda: flux("flux-schnell", "FLUX.1 schnell, 4 steps"),
    "flux_dev_28_steps": lambda: flux("flux-dev", "FLUX.1 dev, 28 steps"),
    "two_people": two_people,
    "probe_schnell": probe_schnell,
    "probe_dev_stop_at_peak": probe_dev,
    "probe_ksampler": probe_ksampler,
    "score": score,
    "sweep_steps": sweep,
}


def write(info: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Write all templates in both forms."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in TEMPLATES.items():
        graph = make()
        for path, form in ((folder / f"{name}.json", graph.ui(info)), (folder / "api" / f"{name}.json", graph.api())):
            path.write_text(json.dumps(form, indent=1) + "\n", encoding="utf-8")
            written.append(path)
    return written
