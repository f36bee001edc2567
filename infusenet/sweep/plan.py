"""A sweep ready to run: its rows, where its results go, and how long it may take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InfuseNetError
from ..files import write_atomically
from .figure_spec import FigureSpec
from .jobs import Job, Row, expand, unique
from .people import Person, chosen, find_people
from .spec import Spec
from .weights import Weights, check_people, contents, metrics_of

_MINI_STEP = 0.022  # seconds a step of the miniature takes on one of two cores


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        spec: as read.
        people: whom it shows.
        dropped: names of people left out by the filter, and why.
        rows: all lines of its table.
        command: how it was asked for.
    """

    spec: Spec
    people: tuple[Person, ...]
    dropped: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    command: str

    @property
    def jobs(self) -> list[Job]:
        """The pictures to make, each once."""
        return unique(self.rows)

    def person(self, digest: str) -> Person:
        """The person behind a job's `identity`."""
        return next(person for person in self.people if person.digest == digest)


def make_plan(spec: Spec, weights: Weights, command: str) -> Plan:
    """Everything that a sweep will do, before any model is loaded (a filter loads the face detector).

    Raises:
        InfuseNetError: pictures or weights are missing or unreadable.
    """
    check_people(spec, weights)
    candidates = find_people(spec.people)
    people: list[Person] = candidates
    dropped: list[tuple[str, str]] = []
    if spec.people.filter is not None:
        from ..faces import FaceDetector

        detector = FaceDetector.from_pack(weights.files(spec.methods[0].backbone).face_pack)
        people, dropped = chosen(candidates, spec.people.filter, detector.detect)
    rows = expand(spec, people, contents(spec, weights), metrics_of(spec, weights))
    return Plan(spec, tuple(people), tuple(dropped), tuple(rows), command)


def estimate(jobs: Sequence[Job], done: Sequence[tuple[Job, float]], processes: int) -> tuple[float, str] | None:
    """Seconds that jobs will take, and what that rests on; None where nothing is known.

    Args:
        jobs: those to do.
        done: finished ones with their seconds.
        processes: how many work at once.
    """
    cost = sum(job.cost for job in jobs)
    if done:
        pace = sum(seconds for _, seconds in done) / sum(job.cost for job, _ in done)
        return cost * pace / processes, f"by the {len(done)} finished jobs"
    if all(job.backbone.startswith("mini-") for job in jobs):
        return cost * _MINI_STEP / processes, "by the miniature's usual pace on a CPU"
    return None


# -- the folder ----------------------------------------------------------------------------------------------------


def result_path(out: Path, job: Job) -> Path:
    """Where a job's result goes."""
    return out / "results" / f"{job.id}.json"


def picture_path(out: Path, job: Job) -> Path:
    """Where a job's picture goes."""
    return out / "pictures" / f"{job.id}.png"


def read_result(out: Path, job: Job) -> dict[str, Any] | None:
    """A job's result, None where there is none yet. A file that is damaged counts as none."""
    try:
        result = json.loads(result_path(out, job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("id") == job.id else None


def write_result(out: Path, job: Job, result: dict[str, Any]) -> None:
    """Write a job's result; the file appears whole or not at all."""
    text = json.dumps({"id": job.id, "job": asdict(job), **result}, indent=1, allow_nan=False) + "\n"
    write_atomically(result_path(out, job), text.encode())


def save_plan(out: Path, plan: Plan) -> None:
    """Write what the report needs of a plan; no path of the user's is told."""
    data = {
        "title": plan.spec.title,
        "about": plan.spec.about,
        "spec": plan.spec.text,
        "command": plan.command,
        "metrics": plan.spec.metrics,
        "seeds": plan.spec.seeds,
        "prompts": plan.spec.prompts,
        "people": [person.name for person in plan.people],
        "dropped": plan.dropped,
        "figures": [asdict(figure) for figure in plan.spec.figures],
        "rows": [{**asdict(row), "job": asdict(row.job)} for row in plan.rows],
    }
    write_atomically(out / "sweep.json", (json.dumps(data, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Done:
    """A folder that a sweep wrote, for its table and its report.

    Attributes:
        data: what `save_plan` wrote, but for rows and figures.
        rows: all lines.
        figures: what to show.
    """

    data: dict[str, Any]
    rows: tuple[Row, ...]
    figures: tuple[FigureSpec, ...]


def load_plan(out: Path) -> Done:
    """Read what `save_plan` wrote.

    Raises:
        InfuseNetError: the folder holds no sweep.
    """
    try:
        data = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
        rows = tuple(Row(**{**row, "job": _job(row["job"])}) for row in data.pop("rows"))
        figures = tuple(
            FigureSpec(**{key: _frozen(value) for key, value in each.items()}) for each in data.pop("figures")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfuseNetError(
            f"{out} holds no sweep that can be read ({error}). Name the folder given to infusenet sweep --out."
        ) from error
    return Done(data, rows, figures)


def _job(data: dict[str, Any]) -> Job:
    return Job(**{key: _frozen(value) for key, value in data.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
