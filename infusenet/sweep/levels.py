"""levels.json: what a sweep's similarities are held against, by the first recognizer and by the second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ..files import write_atomically
from ..measures import Baseline, FaceMeasure
from ..measures.levels import LEVELS, levels
from ..miniature.people import drawn_again, drawn_strangers

if TYPE_CHECKING:
    from .jobs import SweepPlan
    from .runner import Models

SECOND = "second_"
UNKNOWN: Mapping[str, Baseline | None] = dict.fromkeys([*LEVELS, *(SECOND + name for name in LEVELS)])
_LINE: TypeAdapter[Baseline | None] = TypeAdapter(Baseline | None)


def save_levels(plan: SweepPlan, models: Models, folder: Path, device: str = "auto") -> None:
    """Write a sweep's levels, unless the file is there and of the same people and recognizers."""
    spec, metrics = plan.spec, plan.jobs[0].metrics
    twice = [name for name in metrics if name.startswith("second_similarity ")]  # with its weights' content
    people, weights = [person.digest for person in plan.people], sorted({job.backbone for job in plan.jobs})
    text = json.dumps([people, weights, spec.measure, twice])
    made_of = hashlib.sha256(text.encode()).hexdigest()[:20]
    if _read(folder).get("made_of") == made_of:
        return
    found = dict(UNKNOWN)
    if spec.measure == "face" and isinstance(first := models.load_measure(spec, device), FaceMeasure):
        found |= levels(first, *_pictures(plan))
    if twice:
        second = levels(models.instruments(spec, device).recognizer, *_pictures(plan))
        found |= {SECOND + name: line for name, line in second.items()}
    lines = {name: None if line is None else asdict(line) for name, line in found.items()}
    write_atomically(folder / "levels.json", (json.dumps({"made_of": made_of, **lines}, indent=1) + "\n").encode())


def read_levels(folder: Path) -> dict[str, Baseline | None]:
    """A sweep's levels by name; None where one is unknown, as all are without a file that can be read."""
    data = _read(folder)
    try:
        return {name: _LINE.validate_python(data.get(name)) for name in UNKNOWN}
    except ValueError:
        return dict(UNKNOWN)


def _pictures(plan: SweepPlan) -> tuple[list[Any], tuple[Any, ...]]:
    """Of each person the reference and what else is known, and strangers to all; photos know no strangers."""
    people = [(person.pictures(), [] if person.files else [drawn_again(person.number)]) for person in plan.people]
    return people, drawn_strangers() if plan.spec.people.folder is None else ()


def _read(folder: Path) -> dict[str, Any]:
    """What levels.json holds; nothing where it is missing or damaged."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a level")

    try:
        data = json.loads((folder / "levels.json").read_bytes(), parse_constant=refuse)
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
