"""A sweep's folder: results/ID.json and pictures/ID.png for each job, and sweep.json, what they belong to."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..errors import InfuseNetError
from ..files import save_picture, write_atomically
from ..measures import Baseline
from .figure_spec import FigureSpec
from .jobs import Job, SweepPlan, SweepPoint, unique
from .levels import UNKNOWN, read_levels

log = logging.getLogger(__name__)
_PNG_BEGINS, _PNG_ENDS = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Record(BaseModel):
    """What a file holds; a value of another type is an error, a further one is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Step(_Record):
    """What a probe saw at one step of a run; None where undefined."""

    step: int
    sigma: Number | None = None
    similarity: Number | None
    seen: bool | None = None
    sharpness: Number | None
    contrast: Number | None


class Streams(_Record):
    """Norms at one step of a run, a value a block; residuals are None where none were added."""

    double: list[Number]
    single: list[Number]
    residual_double: list[Number] | None
    residual_single: list[Number] | None

    def fits(self) -> bool:
        """Whether there are as many residuals as blocks."""
        pairs = (self.double, self.residual_double), (self.single, self.residual_single)
        return all(not residuals or len(residuals) == len(blocks) for blocks, residuals in pairs)


class JobResult(_Record):
    """What came of one job. Metrics stand beside these fields under their own names, see `metric`."""

    id: str
    status: Literal["done", "failed"]
    error: str | None = None
    similarity: Number | None = None  # None where undefined, for a reason
    reason: str | None = None
    seconds: Number | None = (
        None  # from the prompt to the picture; this, cpu_seconds and load are a speed.timing.Timing
    )
    alone: bool | None = None  # nothing else of the sweep ran on the device, and on a CPU nothing disturbed it
    cpu_seconds: Number | None = None
    load: Number | None = None
    trajectory: list[Step] | None = None
    streams: list[Streams] | None = None  # of each step, both
    agreement: dict[str, Number | None] | None = None
    """Cosines with the pictures from other noises that were there, by job; None where one shows nothing to compare. The
    later one of each pair knows it."""
    recognizer: str | None = None
    detector: str | None = None
    rule: str | None = None  # how these two measured
    device: str | None = None
    versions: dict[str, str] = {}  # of the libraries

    @model_validator(mode="after")
    def _fits(self) -> JobResult:
        if not all(each.fits() for each in self.streams or ()) or (
            self.trajectory and self.streams and len(self.trajectory) != len(self.streams)
        ):
            raise ValueError("trajectory, streams and residuals of different lengths")
        return self

    def metric(self, name: str) -> float | None:
        """The value of a metric; None where it is undefined or was not measured."""
        value = (self.model_extra or {}).get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def note(self, name: str) -> str | None:
        """What is said of how something was measured, such as "lpips_reason"."""
        value = (self.model_extra or {}).get(name)
        return value if isinstance(value, str) else None


class BrokenResult(InfuseNetError):
    """A result's file that holds no result of its job."""


def _as_asked(figure: Any) -> Any:
    """A figure without the values that it was not asked for, which older records hold."""
    if not isinstance(figure, dict):
        return figure
    given = {key: value for key, value in figure.items() if value not in (None, "", [])}
    return given | ({"paper": dict(given["paper"])} if "paper" in given else {})


class SweepRecord(_Record):
    """What sweep.json says, but for its points."""

    title: str
    about: str
    spec: str
    command: str
    seeds: list[int]
    prompts: list[tuple[str, str]]
    people: list[str]
    dropped: list[tuple[str, str]]
    figures: list[Annotated[FigureSpec, BeforeValidator(_as_asked)]]


@dataclass(frozen=True)
class Results:
    """All that a sweep has written, each file read once."""

    folder: Path
    record: SweepRecord
    points: tuple[SweepPoint, ...]  # all lines of the table
    of: Mapping[str, JobResult]  # by their job's id; jobs without one are not there
    broken: tuple[str, ...]  # ids whose file holds no result
    unpictured: frozenset[str]  # ids of results that are done and whose picture is gone or cut off
    levels: Mapping[str, Baseline | None] = field(default_factory=lambda: UNKNOWN)  # by name; None: unknown


def result_path(folder: Path, job: Job) -> Path:
    """Where a job's result goes."""
    return folder / "results" / f"{job.id}.json"


def picture_path(folder: Path, job: Job) -> Path:
    """Where a job's picture goes."""
    return folder / "pictures" / f"{job.id}.png"


def is_whole(picture: Path) -> bool:
    """Whether a PNG is there from its first to its last bytes."""
    try:
        with picture.open("rb") as file:
            begins = file.read(len(_PNG_BEGINS))
            file.seek(-len(_PNG_ENDS), os.SEEK_END)
            return begins == _PNG_BEGINS and file.read() == _PNG_ENDS
    except OSError:
        return False


def read_result(folder: Path, job: Job) -> JobResult:
    """A job's result.

    Raises:
        BrokenResult: its file is missing, cannot be read, or holds something else.
    """
    path = result_path(folder, job)
    try:
        result = JobResult.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:  # ValidationError is a ValueError
        raise BrokenResult(f"{path} does not hold a result ({_first_line(error)}).") from None
    if result.id != job.id:
        raise BrokenResult(f"{path} holds another job's result.")
    return result


def write_result(folder: Path, job: Job, result: Mapping[str, Any]) -> None:
    """Write a job's result; the file appears whole or not at all."""
    text = json.dumps({"id": job.id, "job": job.record, **result}, indent=1, allow_nan=False) + "\n"
    write_atomically(result_path(folder, job), text.encode())


def save_plan(folder: Path, plan: SweepPlan) -> None:
    """Write sweep.json: what the report needs of a plan; no path of the user's is told."""
    spec = plan.spec
    record = {
        **{name: getattr(spec, name) for name in ("title", "about", "measure", "metrics", "seeds")},
        "spec": spec.source,
        "command": plan.command,
        "prompts": list(spec.prompts.items()),
        "people": [person.name for person in plan.people],
        "dropped": plan.dropped,
        "figures": [figure.model_dump(exclude_defaults=True) for figure in spec.figures],
    }
    head = json.dumps(record, indent=1).removesuffix("\n}")
    points = ",\n".join(json.dumps({**vars(point), "job": point.job.record}) for point in plan.points)
    write_atomically(folder / "sweep.json", f'{head},\n "rows": [\n{points}\n]}}\n'.encode())


def prepare(plan: SweepPlan, folder: Path, *, retry: bool = False) -> list[Job]:
    """Write down what a folder is for, and what is `pending` in it; whoever calls has locked it."""
    (folder / "results").mkdir(exist_ok=True)
    for inside in (folder, *(folder / name for name in ("results", "pictures", "people", "figures"))):
        for draft in inside.glob(".*.part"):  # a killed process was writing it: it never bore its final name
            draft.unlink(missing_ok=True)
    save_plan(folder, plan)
    _save_people(plan, folder)
    return pending(plan, folder, retry=retry, tidy=True)


def _save_people(plan: SweepPlan, folder: Path) -> None:
    """The reference of each person, for the report's grids; small, and no file of the user's is touched."""
    (folder / "people").mkdir(exist_ok=True)
    for person in plan.people:
        path = folder / "people" / f"{person.name}.png"
        if not is_whole(path):
            picture = Image.fromarray(person.pictures()[0])
            picture.thumbnail((512, 512))
            save_picture(picture, path, {"Title": person.name}, generated=False, inputs=person.files)


def pending(plan: SweepPlan, folder: Path, *, retry: bool = False, tidy: bool = False) -> list[Job]:
    """Jobs that have no result, or none with a whole picture, and failed ones to `retry`.

    Results that cannot be read are set aside, and told, with `tidy`.
    """
    settled = set()
    for job, result, lacks_picture in _read_all(folder, plan.jobs):
        if isinstance(result, JobResult):
            if not lacks_picture and (result.status == "done" or not retry):
                settled.add(job.id)
        elif tidy:
            path = result_path(folder, job)
            os.replace(path, aside := path.with_name(f"{path.name}.broken"))
            log.warning("%s It is kept as %s and made again.", result, aside.name)
    return [job for job in plan.jobs if job.id not in settled]


def read_results(folder: Path) -> Results:
    """Read a sweep's folder.

    Raises:
        InfuseNetError: the folder holds no sweep.
    """
    record, points = read_plan(folder)
    found = list(_read_all(folder, unique(points)))
    results = {job.id: result for job, result, _ in found if isinstance(result, JobResult)}
    broken = tuple(job.id for job, result, _ in found if isinstance(result, BrokenResult))
    unpictured = frozenset(job.id for job, _, lacks_picture in found if lacks_picture)
    return Results(folder, record, points, results, broken, unpictured, read_levels(folder))


def _read_all(folder: Path, jobs: Iterable[Job]) -> Iterator[tuple[Job, JobResult | BrokenResult, bool]]:
    """Each job that has a result's file, what that holds or is wrong, and whether its picture is gone or cut off."""
    there = {path.stem for path in (folder / "results").glob("*.json")}  # quicker than trying each
    for job in (job for job in jobs if job.id in there):
        try:
            result = read_result(folder, job)
        except BrokenResult as error:
            yield job, error, False
        else:
            yield job, result, result.status == "done" and not is_whole(picture_path(folder, job))


def read_plan(folder: Path) -> tuple[SweepRecord, tuple[SweepPoint, ...]]:
    """What a sweep's sweep.json says, and all lines of its table.

    Raises:
        InfuseNetError: the folder holds no sweep.
    """
    try:
        data = json.loads((folder / "sweep.json").read_bytes())
        record = SweepRecord.model_validate(data)
        points = TypeAdapter(tuple[SweepPoint, ...]).validate_python(data.get("rows"))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InfuseNetError(
            f"{folder} does not hold a readable sweep (sweep.json: {_first_line(error)}). Name the folder given to "
            "infusenet sweep --out. If sweep.json is damaged, run the same sweep command again."
        ) from None
    return record, points


def _first_line(error: BaseException) -> str:
    """What is wrong, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        words = first.get("ctx", {}).get("words") or first["msg"]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {words}"
    return " ".join(str(error).split())[:120] or type(error).__name__
